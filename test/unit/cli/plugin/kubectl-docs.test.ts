// docs/kubectl.md against the plugin: the same commands and options, and help with examples and exit codes.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import { buildPlugin } from "../../../../src/cli/program.ts";
import { ENV_OF_NOTHING, ROOT, runIn } from "../world.ts";

const text = readFileSync(join(ROOT, "docs/kubectl.md"), "utf8");
const program = await buildPlugin(ENV_OF_NOTHING, () => async () => undefined);

const leaves = (command: Command, words: string): string[] =>
  command.commands.length === 0
    ? [words]
    : command.commands.flatMap((each) => leaves(each, `${words} ${each.name()}`));
const COMMANDS = leaves(program, "kubectl weir");

const firstCells = (heading: string): string[] => {
  const section = text.slice(text.indexOf(`\n## ${heading}\n`)).split("\n## ")[1] ?? "";
  return [...section.matchAll(/^\| `([^`]+)` \|/gm)].map(([, cell = ""]) => cell);
};

describe("docs/kubectl.md", () => {
  it("has every command", () => {
    expect(firstCells("Commands").sort()).toEqual([...COMMANDS].sort());
  });

  it("has the options of every command", () => {
    expect(firstCells("Options of every command").sort()).toEqual(
      program.options.map(({ flags }) => flags).sort(),
    );
  });
});

describe("the help of kubectl weir", () => {
  it.each(COMMANDS)("%s has examples and exit codes", async (words) => {
    const args = words.split(" ").slice(2);
    const { exitCode, stdout } = await runIn(["__kubectl", ...args, "--help"]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain(`Examples:\n  ${words}`);
    expect(stdout).toContain("Exit codes:\n");
    expect(await runIn(["__kubectl", ...args, "--nonsense"])).toMatchObject({ exitCode: 2, stdout: "" });
  });

  it("refuses help of a command that does not exist", async () => {
    expect(await runIn(["__kubectl", "help", "statsu"])).toMatchObject({
      exitCode: 2,
      stderr: "weir: no command statsu; did you mean status?\n",
    });
  });

  it.each([["0"], ["30"], ["30s"], ["1m30s"], ["24h"]])("--request-timeout %s is taken", async (time) => {
    const given = ["--kubeconfig", "/none", "--request-timeout", time];
    expect((await runIn(["__kubectl", "status", ...given])).exitCode).toBe(1);
  });

  it.each([["x"], ["-1"], ["1d"], ["25h"], ["30ss"], [""]])("--request-timeout %j is not", async (time) => {
    const given = ["--kubeconfig", "/none", "--request-timeout", time];
    expect((await runIn(["__kubectl", "status", ...given])).exitCode).toBe(2);
  });
});
