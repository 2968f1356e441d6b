// `weir sysdump`: the support bundle, one archive for an issue report.

import { closeSync, openSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
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
  const [{ makeParts }, { tarOf }, { gzipSync }] = await Promise.all([
    import("../support-bundle.ts"),
    import("../tar-archive.ts"),
    import("node:zlib"),
  ]);
  const now = env.now();
  const name = `weir-sysdump-${hostname()}-${now
    .toISOString()
    .replace(/\.\d+Z$/, "Z")
    .replaceAll(/[-:]/g, "")}`;
  const out = options.output === STDOUT ? undefined : openFile(options.output ?? `${name}.tar.gz`, options);
  try {
    const made = await makeParts(context);
    const files = made.flatMap(({ part, content }) =>
      content === undefined ? [] : [{ name: `${name}/${part.name}`, content }],
    );
    const contents = { name: `${name}/contents.txt`, content: Buffer.from(contentsText(made)) };
    const archive = gzipSync(tarOf([contents, ...files], Math.floor(now.getTime() / 1_000)));
    if (out === undefined) env.stdout.write(archive);
    else env.stdout.write(`${out.finish(archive)}\n`);
    for (const { part, reason } of made) if (reason !== undefined) note(env, missingText(part.name, reason));
    return EXIT.ok;
  } finally {
    out?.close();
  }
}

interface OutputFile {
  /** Writes all of it, and returns its path. */
  finish(content: Buffer): string;
  /** Removes what is unfinished. Idempotent. */
  close(): void;
}

/** Opened before the work begins, which takes seconds. @throws CommandError where it cannot be written */
function openFile(file: string, { output }: Options): OutputFile {
  const unfinished = `${file}.partial`;
  const orFail = <T>(step: () => T): T => {
    try {
      return step();
    } catch (thrown) {
      const hint = output === undefined ? "; -o FILE writes another file, -o - to the standard output" : "";
      throw new CommandError(`${file}: ${messageOf(thrown)}${hint}`);
    }
  };
  if (statSync(file, { throwIfNoEntry: false })?.isDirectory() === true)
    throw new CommandError(`${file} is a directory; write a file in it: -o ${join(file, "dump.tar.gz")}`);
  const descriptor = orFail(() => openSync(unfinished, "w", 0o600));
  let isOpen = true;
  return {
    finish(content) {
      orFail(() => {
        writeFileSync(descriptor, content);
        renameSync(unfinished, file);
      });
      return file;
    },
    close() {
      if (!isOpen) return;
      isOpen = false;
      closeSync(descriptor);
      rmSync(unfinished, { force: true });
    },
  };
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
