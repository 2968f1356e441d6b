// What `weir monitor --since` prints: the history by the minute, one line for each kind of packet.

import type { HistoryRowView, HistoryView } from "../observe/history-views.ts";
import { countText, printable } from "../observe/text-output.ts";
import { jsonText, note, type PodName } from "./command.ts";
import { type Context, EXIT } from "./environment.ts";
import { askHistory, noteCoverage, type Parameters, requireKnown } from "./history-client.ts";

type HistoryOutput = "compact" | "wide" | "json" | "yaml";

/** `whole`: the agent's answer as it is, for `kubectl weir`. @throws CommandError (exit code 4) if nothing has the names */
export async function showHistory(
  context: Context,
  parameters: Parameters,
  named: { readonly pod?: PodName; readonly policy?: string },
  output: HistoryOutput | "whole",
): Promise<number> {
  const view = await askHistory<HistoryView>(context, "", { ...parameters, by: "minute" });
  if (view.rows.length === 0) await requireKnown(context, named);
  if (output === "whole") {
    context.env.stdout.write(jsonText(view, 0));
    return EXIT.ok;
  }
  noteCoverage(context.env, view);
  const textOf = await historyText(output);
  for (const row of view.rows) context.env.stdout.write(textOf(row));
  const { omitted } = view;
  if (omitted !== undefined)
    note(
      context.env,
      `${countText(omitted.rows, "earlier line")} with ${countText(omitted.packets, "packet")} left out`,
    );
  return EXIT.ok;
}

/** A row as the output has it. */
export async function historyText(output: HistoryOutput): Promise<(row: HistoryRowView) => string> {
  const { yamlText } = output === "yaml" ? await import("./yaml-output.ts") : { yamlText: () => "" };
  return (row) => {
    if (output === "json") return jsonText(row, 0);
    return output === "yaml" ? `---\n${yamlText(row)}` : `${historyLine(row)}\n`;
  };
}

/** "2026-11-30T01:02Z denied ingress shop/web <- shop/client TCP/80: 12 packets, 888 B (shop/web-ingress)". One line. */
export function historyLine(row: HistoryRowView): string {
  const { time = "", reason, direction, pod, peer, port = "", policies = [], packets, bytes } = row;
  const arrow = direction === "ingress" ? "<-" : "->";
  const words = [`${time.slice(0, 16)}Z`, reason, direction, pod, arrow, peer, port].filter(
    (word) => word !== "",
  );
  const by = policies.length === 0 ? "" : ` (${policies.join(", ")})`;
  return printable(`${words.join(" ")}: ${countText(packets, "packet")}, ${bytes} B${by}`);
}
