// The configuration in force: of each option the value of the place that goes first, and which place that was.

import type { Env } from "../environment.ts";
import { type Layer, OPTIONS, variableLayer } from "./config-options.ts";
import type { Config, Key } from "./config-schema.ts";

export interface Resolved {
  readonly config: Config;
  /** Where a value is set, for errors; the flag that would set it if it is not. */
  readonly nameOf: (key: Key) => string;
  /** Lines "key: value # from where", which are a file for --config too. */
  readonly text: string;
}

/** The layers in their order: what an earlier one says goes first. */
export function resolveConfig(layers: readonly Layer[]): Resolved {
  const rows = OPTIONS.map((spec) => {
    const given = layers.map((layer) => layer.get(spec.key)).find((each) => each !== undefined);
    const value = given === undefined ? spec.default : given.value;
    const [flag = spec.flags] = spec.flags.split(" ");
    return { key: spec.key, value, at: given?.at, name: given?.name ?? flag };
  });
  // Every value was checked on its way in, or is a default of the schema.
  const config = Object.fromEntries(
    rows.flatMap(({ key, value }) => (value === undefined ? [] : [[key, value]])),
  ) as unknown as Config;
  return {
    config,
    nameOf: (key) => rows.find((each) => each.key === key)?.name ?? key,
    text: rows.map(lineOf).join(""),
  };
}

/** JSON is YAML too. Options without a value are comments. */
function lineOf({
  key,
  value,
  at = "default",
}: {
  key: Key;
  value: unknown;
  at: string | undefined;
}): string {
  if (value === undefined) return `# ${key}: not set\n`;
  return `${`${key}: ${JSON.stringify(value)}`.padEnd(VALUE_WIDTH)}  # ${at}\n`;
}

const VALUE_WIDTH = 36;

// The layers of the configuration below the command line.

/** What the environment says, then the file: the one given, else that of $WEIR_CONFIG. @throws CommandError */
export async function layersOf(env: Pick<Env, "variables">, file: string | undefined): Promise<Layer[]> {
  const path = file || env.variables["WEIR_CONFIG"];
  const variables = variableLayer(env);
  return path ? [variables, (await import("./config-file.ts")).fileLayer(path)] : [variables];
}
