// The options of the configuration: how each is called and checked in each place, the flags of `weir run`, and the values
// that the command line and the environment set.

import { type Command, InvalidArgumentError, Option } from "commander";
import * as z from "zod";
import { distance, mostSimilar } from "../../base/nearest-word.ts";
import { CommandError, type Env, EXIT } from "../environment.ts";
import { CONFIG, type Key, OPTION_META, type OptionMeta } from "./config-schema.ts";

type Type = "string" | "integer" | "boolean" | "array";

export interface OptionSpec extends OptionMeta {
  /** In a file: "metricsListen". */
  readonly key: Key;
  /** On the command line: "--metrics-listen <address>", "--no-metrics-policies". */
  readonly flags: string;
  /** In the environment: "WEIR_METRICS_LISTEN". */
  readonly variable: string;
  readonly type: Type;
  readonly choices?: readonly string[];
  readonly default?: unknown;
  /** What a right value looks like: "enforce or audit". */
  readonly expected: string;
}

/** What z.toJSONSchema makes of one option. */
interface Property extends OptionMeta {
  readonly type: Type;
  readonly enum?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly default?: unknown;
}

/** `metricsListen` → `metrics-listen`. */
const dashed = (key: string): string => key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** The JSON Schema is the one description of a zod type that is plain data. */
function optionSpecs(): OptionSpec[] {
  const { properties } = z.toJSONSchema(CONFIG, { metadata: OPTION_META, io: "input" });
  return Object.entries(properties as unknown as Record<Key, Property>).map(([key, property]) => ({
    key: key as Key,
    flags: flagsOf(key, property),
    variable: `WEIR_${dashed(key).replaceAll("-", "_").toUpperCase()}`,
    type: property.type,
    description: property.description,
    expected: property.expected ?? expectedOf(property),
    helm: property.helm,
    ...(property.enum === undefined ? {} : { choices: property.enum }),
    ...(property.default === undefined ? {} : { default: property.default }),
    ...(property.off === undefined ? {} : { off: property.off }),
    ...(property.more === undefined ? {} : { more: property.more }),
    ...(property.placeholder === undefined ? {} : { placeholder: property.placeholder }),
  }));
}

/** A switch that is on by default is there to be turned off. */
const flagsOf = (key: string, property: Property): string =>
  property.type === "boolean"
    ? `--${property.default === true ? "no-" : ""}${dashed(key)}`
    : `--${dashed(key)} <${property.placeholder ?? "value"}>`;

function expectedOf({ type, enum: words, minimum, maximum }: Property): string {
  if (words !== undefined) return `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
  if (type === "boolean") return "true or false";
  if (type === "integer") return `a number from ${minimum} to ${maximum}`;
  return type === "array" ? "a list of texts" : "a text";
}

export const OPTIONS: readonly OptionSpec[] = optionSpecs();

// Values of single options: from the texts of flags and variables, checked against the schema.

export type Checked = { readonly ok: true; readonly value: unknown } | { readonly ok: false };

/** A value as a file would have it. What cannot be one stays a text, which the schema refuses. */
export function valueOfText({ type }: Pick<OptionSpec, "type">, text: string): unknown {
  switch (type) {
    case "string":
      return text;
    case "integer":
      return /^-?\d{1,15}$/.test(text) ? Number(text) : text;
    case "boolean":
      return text === "true" || (text === "false" ? false : text);
    case "array":
      return text.split(",").map((each) => each.trim());
  }
}

export function checked({ key }: Pick<OptionSpec, "key">, value: unknown): Checked {
  if (value === undefined) return { ok: false };
  const result = CONFIG.shape[key].safeParse(value);
  return result.success ? { ok: true, value: result.data } : { ok: false };
}

// The options of the configuration as flags of `weir run`.

/** For the command `run`, in the order of its help. */
export const configFlags = (): readonly Option[] =>
  OPTIONS.flatMap((spec) => (spec.type === "boolean" ? switches(spec) : [valued(spec)]));

/** The one for what is not so anyway; the other, hidden one overrules a file or the environment. */
function switches({ flags, description, off }: OptionSpec): readonly Option[] {
  const opposite = flags.startsWith("--no-") ? flags.replace("--no-", "--") : flags.replace("--", "--no-");
  return [new Option(flags, off ?? description), new Option(opposite).hideHelp()];
}

function valued(spec: OptionSpec): Option {
  const option = new Option(spec.flags, spec.description).default(spec.default);
  if (spec.choices !== undefined) return option.choices(spec.choices);
  return option.argParser((text) => {
    const result = checked(spec, valueOfText(spec, text));
    if (result.ok) return result.value;
    throw new InvalidArgumentError(`Expected ${spec.expected}.`);
  });
}

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
    const near = mostSimilar(name, known);
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
