// The table of options in docs/configuration.md.

import { OPTIONS, type OptionSpec } from "../../src/cli/config/config-options.ts";

const BEGIN = "<!-- The table is written by: node tools/config.ts -->\n";
const END = "<!-- end of the table -->\n";

/** The page with the table as the schema has it. */
export function withTable(page: string): string {
  const begin = page.indexOf(BEGIN);
  const end = page.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`no place for the table: expected ${BEGIN}and ${END}`);
  return `${page.slice(0, begin + BEGIN.length)}\n${table()}\n${page.slice(end)}`;
}

const table = (): string =>
  [
    "| flag | environment | file | default | meaning |",
    "|---|---|---|---|---|",
    ...OPTIONS.map(row),
    "",
  ].join("\n");

function row(spec: OptionSpec): string {
  const { flags, variable, key, description, more } = spec;
  const meaning = [description, takes(spec), more];
  const cells = [
    code(flags),
    code(variable),
    code(key),
    defaultText(spec),
    meaning.filter(Boolean).join("; "),
  ];
  return `| ${cells.join(" | ")} |`;
}

/** What the description and the default do not say. */
function takes({ type, choices, expected, placeholder }: OptionSpec): string | undefined {
  if (choices !== undefined) return choices.map(code).join(", ");
  return type === "integer" ? `${expected}${placeholder === "MiB" ? " (MiB)" : ""}` : undefined;
}

const code = (text: string): string => `\`${text}\``;

const defaultText = (spec: OptionSpec): string =>
  spec.default === undefined ? "none" : code(String(spec.default));
