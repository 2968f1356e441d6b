// `weir __complete WORD ...`: the candidates for the last word of a command line, which the shells' completion
// functions request (src/cli/commands/completion-command.ts). A line for each candidate: the whole word, a tab, a description. A line ":files" or
// ":directories" leaves it to the shell to complete a path.

import type { Argument, Command, Option } from "commander";
import type { EndpointView, PolicyView } from "../observe/api-views.ts";
import { TABLE_NAMES } from "../observe/dump/map-tables.ts";
import { askAgent } from "./agent-client.ts";
import type { Context } from "./environment.ts";

interface Candidate {
  readonly word: string;
  readonly about?: string;
}

const PATHS = {
  dir: ":directories",
  path: ":files",
  paths: ":files",
  file: ":files",
  files: ":files",
} as const;

/** The names that a command's placeholder means, from the agent: `--pod <namespace/name>`. */
const NAMES: Readonly<Record<string, (context: Context) => Promise<string[]>>> = {
  "namespace/name": podNames,
  "namespace/pod": podNames,
  end: podNames,
  peer: podNames,
  "namespace/policy": policyNames,
  namespace: async (context) => (await podNames(context)).map((name) => name.replace(/\/.*/, "")),
};

/** Shells wait for this while a person types. */
const TIMEOUT_MS = 1_000;

/** @param words the command line after "weir", up to the cursor; the last one may be empty */
export async function complete(
  program: Command,
  words: readonly string[],
  contextWith: (options: { readonly socket?: string }) => Context,
): Promise<string> {
  const { command, argument, option, given } = walk(program, words.slice(0, -1));
  const last = words.at(-1) ?? "";
  const context = contextWith(given);
  const valuesOf = (each: Option | Argument): Promise<Candidate[]> => values(each, context);
  const equals = /^(--[^=]+=)/.exec(last)?.[1];
  let candidates: Candidate[];
  if (option !== undefined) {
    candidates = await valuesOf(option);
  } else if (equals !== undefined) {
    const named = optionsOf(command).find(({ long }) => `${long}=` === equals);
    candidates = named === undefined ? [] : await valuesOf(named);
    candidates = candidates.map(({ word, ...rest }) => ({
      word: word.startsWith(":") ? word : `${equals}${word}`,
      ...rest,
    }));
  } else if (last.startsWith("-")) {
    candidates = optionsOf(command).flatMap(({ short, long, description }) =>
      [short, long].flatMap((flag) => (flag === undefined ? [] : [{ word: flag, about: description }])),
    );
  } else if (command.commands.length > 0) {
    candidates = command.commands.map((each) => ({ word: each.name(), about: each.description() }));
  } else {
    candidates = argument === undefined ? [] : await valuesOf(argument);
  }
  return candidates
    .filter(({ word }) => word.startsWith(":") || word.startsWith(last))
    .map(({ word, about }) => `${word}${about === undefined ? "" : `\t${about}`}\n`)
    .join("");
}

interface Place {
  readonly command: Command;
  /** The argument that the next word is, unless it is the value of `option`. */
  readonly argument: Argument | undefined;
  readonly option: Option | undefined;
  readonly given: { readonly socket?: string };
}

/** Reads the words before the one to complete. */
function walk(program: Command, words: readonly string[]): Place {
  let command = program;
  let count = 0;
  let option: Option | undefined;
  let given: { readonly socket?: string } = {};
  const give = (each: Option, value: string): void => {
    if (each.long === "--socket") given = { socket: value };
  };
  for (const word of words) {
    if (option !== undefined) {
      give(option, word);
      option = undefined;
      continue;
    }
    const below = command.commands.find((each) => each.name() === word || each.aliases().includes(word));
    if (word.startsWith("-")) {
      const [flag, value] = word.split(/=(.*)/s);
      const named = optionsOf(command).find(({ short, long }) => flag === short || flag === long);
      if (named !== undefined && value !== undefined) give(named, value);
      option = value === undefined && named?.required === true ? named : undefined;
    } else if (below !== undefined) {
      command = below;
    } else {
      count += 1;
    }
  }
  const all = command.registeredArguments;
  const argument = all[count] ?? (all.at(-1)?.variadic === true ? all.at(-1) : undefined);
  return { command, argument, option, given };
}

/** Those of the command, then those that all commands take. */
function optionsOf(command: Command): readonly Option[] {
  const help = command.createHelp();
  return [...help.visibleOptions(command), ...help.visibleGlobalOptions(command)];
}

async function values(each: Option | Argument, context: Context): Promise<Candidate[]> {
  if (each.argChoices !== undefined) return each.argChoices.map((word) => ({ word }));
  const placeholder = "flags" in each ? /<([^>]+)>/.exec(each.flags)?.[1] : each.name();
  if (placeholder === "table") return TABLE_NAMES.map((word) => ({ word }));
  const path = PATHS[placeholder as keyof typeof PATHS];
  if (path !== undefined) return [{ word: path }];
  const kind = "long" in each && each.long === "--namespace" ? "namespace" : (placeholder ?? "");
  const names = new Set(await NAMES[kind]?.(context));
  return [...names].sort().map((word) => ({ word }));
}

async function podNames(context: Context): Promise<string[]> {
  const endpoints = await askAgent<readonly EndpointView[]>(context, "endpoints", { timeoutMs: TIMEOUT_MS });
  return (endpoints ?? []).map(({ namespace, name }) => `${namespace}/${name}`);
}

async function policyNames(context: Context): Promise<string[]> {
  const policies = await askAgent<readonly PolicyView[]>(context, "policies", { timeoutMs: TIMEOUT_MS });
  return (policies ?? []).map(({ namespace, name }) => `${namespace}/${name}`);
}
