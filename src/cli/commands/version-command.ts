// `weir version`: every part whose version matters when something does not fit.

import { release } from "node:os";
import type { Command } from "commander";
import { messageOf } from "../../base/errors.ts";
import type { StatusView } from "../../observe/api-views.ts";
import { askAgentIfAble, isSilence } from "../agent-client.ts";
import { type Exits, outputOption, writeReport } from "../command.ts";
import { type Context, EXIT, versionOf } from "../environment.ts";

const HELP = `
Layout is the digest of the structs shared by the BPF programs and this command; it names the directory of the pins.

Examples:
  weir version
  weir version -o json | jq -r .weir`;

export function addVersion(parent: Command, exits: Exits): void {
  parent
    .command("version")
    .description("show versions: this command, agent, libbpf, map layout, kernel, Node.js")
    .addOption(outputOption("text", "json", "yaml"))
    .addHelpText("after", HELP)
    .action(exits(version));
}

async function version(
  context: Context,
  { output }: { readonly output: "text" | "json" | "yaml" },
): Promise<number> {
  const versions = await versionsOf(context);
  const text = (): string =>
    Object.entries(versions)
      .map(([name, value]) => `${`${name}:`.padEnd(9)}${value ?? "not running"}\n`)
      .join("");
  await writeReport(context.env, { value: versions, text }, output);
  return EXIT.ok;
}

export interface Versions {
  readonly weir: string;
  /** Null where none runs. */
  readonly agent: string | null;
  readonly libbpf: string;
  readonly layout: string;
  readonly kernel: string;
  readonly node: string;
}

export async function versionsOf(context: Context): Promise<Versions> {
  const [{ LAYOUT_DIGEST }, libbpf, agent] = await Promise.all([
    import("../../gen/layout.ts"),
    libbpfVersion(),
    agentVersion(context),
  ]);
  return {
    weir: versionOf(context.env.root),
    agent,
    libbpf,
    layout: LAYOUT_DIGEST,
    kernel: release(),
    node: process.versions.node,
  };
}

/** Null where no agent listens. The command is for troubleshooting, so an agent without an answer is no error here. */
async function agentVersion(context: Context): Promise<string | null> {
  try {
    const answer = await askAgentIfAble<StatusView>(context, "status");
    if (!isSilence(answer)) return answer.version;
    return answer.hangs ? `unknown (${answer.reason})` : null;
  } catch (thrown) {
    return `unknown (${messageOf(thrown)})`;
  }
}

async function libbpfVersion(): Promise<string> {
  try {
    const { libbpfVersion } = await import("../../datapath/feature-probes.ts");
    return libbpfVersion().replace(/^v/, "");
  } catch (thrown) {
    return `unavailable (${messageOf(thrown)})`;
  }
}
