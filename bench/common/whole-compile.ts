// Compiling a world of a bench: with the limits of this process's heap, and an error where they leave something out, since the figures
// would be those of another world.

import { getHeapStatistics } from "node:v8";
import type { Compiled, CompileInput, Compiler } from "../../src/policy/compile.ts";
import { capacitiesFor } from "../../src/policy/limits/capacity-fit.ts";

const capacities = capacitiesFor(getHeapStatistics().heap_size_limit);

/** @throws Error if something does not fit */
export function compileWhole(compiler: Compiler, input: Omit<CompileInput, "capacities">): Compiled {
  const compiled = compiler.compile({ ...input, capacities });
  const [excess] = compiled.excesses;
  if (excess === undefined) return compiled;
  throw new Error(`the world does not fit: ${excess.limit}, ${excess.wanted} of ${excess.capacity}`);
}
