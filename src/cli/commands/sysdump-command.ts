// `weir sysdump`: the support bundle, one archive for an issue report.

import { hostname } from "node:os";
import type { Command } from "commander";
import { messageOf } from "../../base/errors.ts";
import { printable } from "../../observe/text-output.ts";
import { type Exits, note } from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";
import type { Made } from "../support-bundle.ts";

interface Options {
  readonly output?: string;
}

const HELP = `
The archive (tar, gzip; readable only by its owner) has versions, the preflight checks, the agent's views, state and
recent log lines, every table of the kernel, and the interfaces with the attached programs. contents.txt lists the
files, and why others are missing (no agent answers, a command is not installed).

It has names, addresses and labels of pods, and policies. Weir reads no Secrets; passwords, tokens and keys in log
lines or names are redacted.

Examples:
  weir sysdump                            weir-sysdump-NODE-TIME.tar.gz in this directory
  weir sysdump -o /tmp/dump.tar.gz && tar tzf /tmp/dump.tar.gz
  weir sysdump -o - >dump.tar.gz          without a writable directory, as in the agent's pod:
                                          kubectl -n kube-system exec AGENT -- weir sysdump -o - >dump.tar.gz

Exit codes:
  0 saved, 1 error, 2 wrong usage`;

export function addSysdump(parent: Command, exits: Exits): void {
  parent
    .command("sysdump")
    .description("write a support bundle: state, maps, versions, kernel features and logs")
    .option("-o, --output <file>", "output file, or - for the standard output")
    .addHelpText("after", HELP)
    .action(exits(sysdump));
}

const STDOUT = "-";

async function sysdump(context: Context, options: Options): Promise<number> {
  const { env } = context;
  if (options.output === STDOUT && env.stdout.isTTY)
    throw new CommandError(
      "an archive is not for a terminal: write it to a file (-o FILE, or > FILE)",
      EXIT.usage,
    );
  const [{ makePart, PARTS, tarOf }, { gzipSync }, { renameSync, rmSync, writeFileSync }] = await Promise.all(
    [import("../support-bundle.ts"), import("node:zlib"), import("node:fs")],
  );
  const now = env.now();
  const name = `weir-sysdump-${hostname()}-${now
    .toISOString()
    .replace(/\.\d+Z$/, "Z")
    .replaceAll(/[-:]/g, "")}`;
  const made: Made[] = [];
  for (const part of PARTS) made.push(await makePart(part, context));
  const files = made.flatMap(({ part, content }) =>
    content === undefined ? [] : [{ name: `${name}/${part.name}`, content }],
  );
  const contents = { name: `${name}/contents.txt`, content: Buffer.from(contentsText(made)) };
  const archive = gzipSync(tarOf([contents, ...files], Math.floor(now.getTime() / 1_000)));
  const file = options.output ?? `${name}.tar.gz`;
  if (file === STDOUT) env.stdout.write(archive);
  else {
    const unfinished = `${file}.partial`;
    try {
      writeFileSync(unfinished, archive, { mode: 0o600 });
      renameSync(unfinished, file);
    } catch (thrown) {
      rmSync(unfinished, { force: true });
      const hint =
        options.output === undefined ? "; -o FILE writes another file, -o - to the standard output" : "";
      throw new CommandError(`${file}: ${messageOf(thrown)}${hint}`);
    }
    env.stdout.write(`${file}\n`);
  }
  for (const { part, reason } of made) if (reason !== undefined) note(env, missingText(part.name, reason));
  return EXIT.ok;
}

const missingText = (name: string, reason: string): string =>
  printable(`without ${name}: ${reason.trim().replaceAll(/\s*\n\s*/g, " ")}`);

function contentsText(made: readonly Made[]): string {
  const width = Math.max(...made.map(({ part }) => part.name.length)) + 2;
  const line = ({ part, content, reason }: Made): string =>
    content === undefined
      ? `${part.name.padEnd(width)}missing: ${printable((reason ?? "").trim().replaceAll(/\s*\n\s*/g, " "))}\n`
      : `${part.name.padEnd(width)}${part.holds}\n`;
  return made.map(line).join("");
}
