// The layers of the configuration below the command line.

import type { Env } from "../env.ts";
import { type Layer, variableLayer } from "./layers.ts";

/** What the environment says, then the file: the one given, else that of $WEIR_CONFIG. @throws CommandError */
export async function layersOf(env: Pick<Env, "variables">, file: string | undefined): Promise<Layer[]> {
  const path = file || env.variables["WEIR_CONFIG"];
  const variables = variableLayer(env);
  return path ? [variables, (await import("./file.ts")).fileLayer(path)] : [variables];
}
