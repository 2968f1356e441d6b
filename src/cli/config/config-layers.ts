// What the command line and the environment say of the configuration.

import type { Command } from "commander";
import { distance, nearestWord } from "../../base/nearest-word.ts";
import { CommandError, type Env, EXIT } from "../environment.ts";
import { checked, OPTIONS, type OptionSpec, valueOfText } from "./config-options.ts";
import type { Key } from "./config-schema.ts";

export interface Given {
  readonly value: unknown;
  /** Where it is set: "--mode", "WEIR_MODE", "FILE:3:1". */
  readonly at: string;
  /** As errors name it: with the key, in a file. */
  readonly name: string;
}

export type Layer = ReadonlyMap<Key, Given>;

/** What the command line says; commander has checked the values. */
export function flagLayer(command: Command): Layer {
  const given = OPTIONS.flatMap(({ key, flags }): [Key, Given][] => {
    if (command.getOptionValueSource(key) !== "cli") return [];
    const value: unknown = command.getOptionValue(key);
    const flag = flagOf(flags, value);
    return [[key, { value, at: flag, name: flag }]];
  });
  return new Map(given);
}

/** The flag as it must have been written. */
function flagOf(flags: string, value: unknown): string {
  const [flag = flags] = flags.split(" ");
  if (typeof value !== "boolean") return flag;
  return value ? flag.replace("--no-", "--") : flag.replace(/^--(?:no-)?/, "--no-");
}

/**
 * What the variables WEIR_* say; an empty one says nothing.
 * @throws CommandError where a value is wrong
 */
export function variableLayer({ variables }: Pick<Env, "variables">): Layer {
  const given = OPTIONS.flatMap((spec): [Key, Given][] => {
    const text = variables[spec.variable];
    if (text === undefined || text === "") return [];
    return [[spec.key, take(spec, valueOfText(spec, text), { at: spec.variable })]];
  });
  return new Map(given);
}

/** Kubernetes sets variables with that prefix too (WEIR_SERVICE_HOST): only likely misspellings are reported. */
export function misspeltVariables({ variables }: Pick<Env, "variables">): readonly string[] {
  const known = [...OPTIONS.map(({ variable }) => variable), ...OTHER_VARIABLES];
  return Object.keys(variables).flatMap((name) => {
    if (!name.startsWith("WEIR_") || known.includes(name)) return [];
    const near = nearestWord(name, known);
    if (near === undefined || distance(name, near) > MISSPELT_MAX) return [];
    return [`${name} means nothing to Weir; ${near} does`];
  });
}

const OTHER_VARIABLES = ["WEIR_BPFFS", "WEIR_SOCKET", "WEIR_DEBUG", "WEIR_CONFIG"];
const MISSPELT_MAX = 2;

/** @throws CommandError if the value does not match the schema */
export function take(spec: OptionSpec, value: unknown, { at, name = at }: Said): Given {
  const result = checked(spec, value);
  if (result.ok) return { value: result.value, at, name };
  throw new CommandError(`${name}: expected ${spec.expected}, not ${JSON.stringify(value)}`, EXIT.usage);
}

interface Said {
  readonly at: string;
  readonly name?: string;
}
