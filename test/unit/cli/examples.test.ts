// The examples of docs/cli.md that need no agent: run as written, they print the output shown.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { ROOT } from "./world.ts";

const text = readFileSync(join(ROOT, "docs/cli.md"), "utf8");

/** Command lines with their output, of the blocks in which every command has its own manifests. */
const examples = [...text.matchAll(/^```console\n([\s\S]*?)^```$/gm)]
  .map(([, block = ""]) => block.split(/^\$ /m).slice(1))
  .filter((commands) => commands.every((command) => /^weir [^\n]*--manifests cluster/.test(command)))
  .flat()
  .map((command) => {
    const end = command.indexOf("\n");
    return { line: command.slice(0, end), output: command.slice(end + 1) };
  });

it("has examples of every command that needs no agent", () => {
  const commands = new Set(examples.map(({ line }) => line.split(" --")[0]?.split(" ")[1]));
  expect([...commands]).toEqual(["describe", "trace", "diff"]);
});

it.each(examples)("$line", async ({ line, output }) => {
  const script = `weir() { "${process.execPath}" "${join(ROOT, "src/cli/main.ts")}" "$@"; }; ${line}; true`;
  const { stdout, stderr } = await promisify(execFile)("bash", ["-c", script], {
    cwd: join(ROOT, "test/fixtures/shop"),
  });
  expect({ stdout, stderr }).toEqual({ stdout: output, stderr: "" });
});
