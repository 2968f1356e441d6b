// What `weir monitor --since` prints: the history by the minute, one line for each kind of packet.

import type { HistoryRowView, HistoryView } from "../observe/history-views.ts";
import { countText, printable } from "../observe/text-output.ts";
import { jsonText, note } from "./command.ts";
import { type Context, EXIT } from "./environment.ts";
import { askHistory, noteCoverage, type Parameters } from "./history-client.ts";

export async function showHistory(
  context: Context,
  parameters: Parameters,
  output: "compact" | "wide" | "json" | "yaml",
): Promise<number> {
  const view = await askHistory<HistoryView>(context, "", { ...parameters, by: "minute" });
  noteCoverage(context.env, view);
  const { yamlText } = output === "yaml" ? await import("./yaml-output.ts") : { yamlText: () => "" };
  const textOf = (row: HistoryRowView): string => {
    if (output === "json") return jsonText(row, 0);
    return output === "yaml" ? `---\n${yamlText(row)}` : `${historyLine(row)}\n`;
  };
  for (const row of view.rows) context.env.stdout.write(textOf(row));
  const { omitted } = view;
  if (omitted !== undefined)
    note(
      context.env,
      `${countText(omitted.rows, "earlier line")} with ${countText(omitted.packets, "packet")} left out`,
    );
  return EXIT.ok;
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
