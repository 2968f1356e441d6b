// What can be written where: the table of commands as plain data, for scripts of shells.

import type { Argument, Command, Option } from "commander";
import { TABLE_NAMES } from "../../observe/dump/tables.ts";

/** What a value is: one of some words, something on disk, or a name that the agent knows. */
export type Value =
  | { readonly kind: "words"; readonly words: readonly string[] }
  | { readonly kind: "file" | "directory" | "pod" | "policy" | "namespace" | "any" };

export interface OptionWords {
  readonly flags: readonly string[];
  readonly about: string;
  /** Undefined where it takes none. */
  readonly value: Value | undefined;
}

export interface CommandWords {
  /** As in "weir maps dump". */
  readonly path: string;
  readonly about: string;
  /** Those of every command included. */
  readonly options: readonly OptionWords[];
  readonly commands: readonly { readonly name: string; readonly about: string }[];
  /** What the arguments are. */
  readonly argument: Value | undefined;
}

/** Every command, the program itself first. */
export function wordsOf(program: Command): readonly CommandWords[] {
  const shared = program.options.map(optionWords);
  const help: OptionWords = { flags: ["-h", "--help"], about: "display help for command", value: undefined };
  const collect = (command: Command, path: string): CommandWords[] => {
    const own = command === program ? [] : command.options.filter(({ hidden }) => !hidden).map(optionWords);
    const words: CommandWords = {
      path,
      about: command.description(),
      options: [...own, ...shared, help],
      commands: command.commands.map((each) => ({ name: each.name(), about: each.description() })),
      argument: argumentValue(command, path),
    };
    return [words, ...command.commands.flatMap((each) => collect(each, `${path} ${each.name()}`))];
  };
  return collect(program, program.name());
}

const optionWords = (option: Option): OptionWords => ({
  flags: [option.short, option.long].filter((flag) => flag !== undefined),
  about: option.description,
  value: option.required || option.optional ? optionValue(option) : undefined,
});

/** The one <name> that does not say of what. */
const optionValue = (option: Option): Value =>
  option.long === "--namespace"
    ? { kind: "namespace" }
    : valueWords(option, /<([^>]+)>/.exec(option.flags)?.[1]);

function argumentValue(command: Command, path: string): Value | undefined {
  const [first] = command.registeredArguments;
  if (path.endsWith(" maps dump")) return { kind: "words", words: TABLE_NAMES };
  return first === undefined ? undefined : valueWords(first, first.name());
}

/** By the name of the placeholder, which commands choose alike. */
const KINDS: Readonly<Record<string, Exclude<Value["kind"], "words">>> = {
  dir: "directory",
  path: "file",
  paths: "file",
  file: "file",
  files: "file",
  "namespace/name": "pod",
  "namespace/pod": "pod",
  end: "pod",
  peer: "pod",
  "namespace/policy": "policy",
};

function valueWords({ argChoices }: Pick<Option | Argument, "argChoices">, placeholder = ""): Value {
  if (argChoices !== undefined) return { kind: "words", words: argChoices };
  return { kind: KINDS[placeholder] ?? "any" };
}

/** The command that lists names of a kind, one a line. */
export const LISTING: Readonly<Partial<Record<Value["kind"], string>>> = {
  pod: "weir get endpoints -o name",
  policy: "weir get policies -o name",
  namespace: "weir get endpoints -o name | cut -d/ -f1 | sort -u",
};

/** For shells: a text between single quotes. */
export const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
