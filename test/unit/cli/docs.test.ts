// docs/cli.md against the program: the same commands, options, choices and tables, no more and no fewer.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Command, Option } from "commander";
import { describe, expect, it } from "vitest";
import { OPTIONS } from "../../../src/cli/config/config-options.ts";
import { buildProgram } from "../../../src/cli/program.ts";
import { TABLES } from "../../../src/observe/dump/map-tables.ts";
import { ENV_OF_NOTHING, ROOT } from "./world.ts";

const text = readFileSync(join(ROOT, "docs/cli.md"), "utf8");
/** Flags of `weir run` that have a page of their own. */
const CONFIG_FLAGS = OPTIONS.map(({ flags }) => flags);

const program = await buildProgram(ENV_OF_NOTHING, () => async () => undefined);

/** Commands with an action, by their words: groups only hold others. */
function leaves(command: Command, words: string): [words: string, command: Command][] {
  if (command.commands.length === 0) return [[words, command]];
  return command.commands.flatMap((each) => leaves(each, `${words} ${each.name()}`));
}
const COMMANDS = leaves(program, "weir");

/** The text below a heading of the second level, up to the next. */
function sectionOf(heading: string): string {
  const start = text.indexOf(`\n## ${heading}\n`);
  if (start < 0) return "";
  const end = text.indexOf("\n## ", start + 1);
  return text.slice(start, end < 0 ? undefined : end);
}

/** First cell to second cell of the rows of the first table in a text. */
function firstTable(section: string): Map<string, string> {
  const [table = ""] = /^\|.*(?:\n\|.*)*/m.exec(section) ?? [];
  return new Map(
    [...table.matchAll(/^\| `([^`]+)` \| (.*?) \|/gm)].map(([, name = "", about = ""]) => [name, about]),
  );
}

const flagsOf = (options: readonly Option[]): string[] => options.map(({ flags }) => flags);

describe("docs/cli.md", () => {
  it("has a section for each command, and none for others", () => {
    const headings = [...text.matchAll(/^## `([^`]+)`$/gm)].map(([, words]) => words);
    expect(headings).toEqual(COMMANDS.map(([words]) => words));
  });

  it("lists the commands with their own words", () => {
    const listed = [...text.matchAll(/^\| \[`([^`]+)`\]\(#([^)]+)\) \| /gm)];
    expect(listed.map(([, words, anchor]) => [words, anchor])).toEqual(
      COMMANDS.map(([words]) => [words, words.replaceAll(" ", "-")]),
    );
  });

  it("has the options of every command", () => {
    expect([...firstTable(sectionOf("Options of every command")).keys()]).toEqual(flagsOf(program.options));
  });

  it.each(COMMANDS)("%s has its options, and their choices", (words, command) => {
    const table = firstTable(sectionOf(`\`${words}\``));
    const elsewhere = words === "weir run" ? CONFIG_FLAGS : [];
    const options = command.options.filter(({ flags, hidden }) => !hidden && !elsewhere.includes(flags));
    expect([...table.keys()]).toEqual(flagsOf(options));
    for (const { flags, argChoices = [], defaultValue } of options) {
      for (const choice of argChoices) expect(table.get(flags)).toContain(`\`${choice}\``);
      if (argChoices.length > 0 && defaultValue !== undefined)
        expect(table.get(flags)).toContain(`\`${defaultValue}\` (default)`);
    }
  });

  it("documents all flags of `weir run`", () => {
    const run = program.commands.find((each) => each.name() === "run");
    const told = [...firstTable(sectionOf("`weir run`")).keys(), ...CONFIG_FLAGS];
    expect(flagsOf(run?.options.filter(({ hidden }) => !hidden) ?? [])).toEqual(told);
  });

  it.each(COMMANDS)("%s has an example", (words) => {
    expect(sectionOf(`\`${words}\``)).toMatch(new RegExp(`\`\`\`console\n(?:[^\`]*\n)?\\$ ${words}\\b`));
  });

  it("has the tables, in the words of the help", () => {
    const section = sectionOf("`weir maps dump`");
    const table = firstTable(section.slice(section.indexOf("### Tables")));
    expect([...table]).toEqual(TABLES.map(({ name, holds }) => [name, holds]));
  });
});
