// The layers of the configuration below the command line.

import type { Env } from "../environment.ts";
import { type Layer, variableLayer } from "./config-layers.ts";

/** What the environment says, then the file: the one given, else that of $WEIR_CONFIG. @throws CommandError */
export async function layersOf(env: Pick<Env, "variables">, file: string | undefined): Promise<Layer[]> {
  const path = file || env.variables["WEIR_CONFIG"];
  const variables = variableLayer(env);
  return path ? [variables, (await import("./config-file.ts")).fileLayer(path)] : [variables];
}
