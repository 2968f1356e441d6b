// Which file may import which: the table of the design, checked on an import graph that knows types as well as values.
import { isBuiltin } from "node:module";
import { posix } from "node:path";
import type { Import, Source } from "./typescript.ts";

export type Sources = ReadonlyMap<string, Source>;

/** Folder of src/ → the folders it may import from, besides itself. A "type:" one may give types only. */
export const IMPORT_TABLE: Readonly<Record<string, readonly string[]>> = {
  base: [],
  gen: [],
  model: ["base"],
  state: ["base"],
  policy: ["base", "model", "state"],
  node: ["base"],
  source: ["base", "model", "node"],
  datapath: ["base", "gen", "state"],
  lab: ["base"],
  cni: ["base", "model"],
  observe: ["base", "gen", "model", "type:datapath"],
};

/** Those that ask the kernel themselves. */
const BINDERS = new Set(["datapath", "node"]);

/** The rest of src/, which joins all the others: the agent, the command line, the engines that decide test cases. */
const IMPORTS_ALL = new Set(["agent.ts", "agent", "cli", "engines"]);

export const PURE_FOLDERS = ["model", "policy", "state"] as const;

/** What a pure file must not name: clocks, randomness, the process and its surroundings. */
const IMPURE_NAMES = new Set([
  ...[
    "Date",
    "performance",
    "setTimeout",
    "setInterval",
    "setImmediate",
    "queueMicrotask",
    "Math.random",
    "crypto",
  ],
  ...["process", "console", "globalThis", "fetch", "require"],
]);

/** The folder of a file below src/ ("policy"), or the file itself where it lies in src/ ("agent.ts"). */
function stationOf(path: string): string | undefined {
  const [top, station] = path.split("/");
  return top === "src" ? station : undefined;
}

/** The path, from the root, that a relative import means; undefined for a package. */
const targetOf = (from: string, specifier: string): string | undefined =>
  specifier.startsWith(".") ? posix.join(posix.dirname(from), specifier) : undefined;

/** One line for each import that the table does not allow. */
export function forbiddenImports(sources: Sources): string[] {
  return [...sources].flatMap(([path, source]) =>
    source.imports.flatMap((each) => {
      const reason = objection(path, each);
      return reason === undefined ? [] : [`${path}:${each.line}: imports ${each.specifier}: ${reason}`];
    }),
  );
}

function objection(path: string, { specifier, typeOnly }: Import): string | undefined {
  const station = stationOf(path);
  const target = targetOf(path, specifier);
  if (path.startsWith("native/") && target !== undefined && !target.startsWith("native/")) {
    return "bpf-ts is a package of its own and knows nothing of Weir";
  }
  if (!path.startsWith("native/") && target?.startsWith("native/"))
    return 'the bindings are imported as "bpf-ts"';
  if (specifier === "bpf-ts" && station !== undefined && !BINDERS.has(station)) {
    return "in src/, only datapath/ and node/ import bpf-ts";
  }
  if (station === undefined) return undefined;
  if (target === undefined) {
    const pure = PURE_FOLDERS.some((folder) => folder === station);
    return pure && isBuiltin(specifier) ? `${station}/ is pure: no module of Node` : undefined;
  }
  const wanted = stationOf(target);
  if (wanted === undefined) return "src/ imports nothing outside src/";
  if (wanted === station || IMPORTS_ALL.has(station)) return undefined;
  const allowed = IMPORT_TABLE[station];
  if (allowed === undefined) return `src/${station} is not in the import table`;
  if (allowed.includes(wanted) || (typeOnly && allowed.includes(`type:${wanted}`))) return undefined;
  return `${station}/ may import ${allowed.join(", ") || "nothing"}`;
}

/** One line for each name in a pure file that stands for a clock, randomness or the outside world. */
export function impureNames(sources: Sources): string[] {
  return [...sources]
    .filter(([path]) => PURE_FOLDERS.some((folder) => path.startsWith(`src/${folder}/`)))
    .flatMap(([path, source]) =>
      source.names
        .filter(({ name }) => IMPURE_NAMES.has(name))
        .map(({ name, line }) => `${path}:${line}: uses ${name} in a pure folder`),
    );
}

/** Every import cycle, once, as "a → b → a"; imports of types count, for they tie files together all the same. */
export function importCycles(sources: Sources): string[] {
  const cycles: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    const seen = trail.indexOf(path);
    if (seen >= 0) {
      cycles.push([...trail.slice(seen), path].join(" → "));
      return;
    }
    if (done.has(path)) return;
    for (const { specifier } of sources.get(path)?.imports ?? []) {
      const target = targetOf(path, specifier);
      if (target !== undefined) visit(target, [...trail, path]);
    }
    done.add(path);
  };
  for (const path of sources.keys()) visit(path, []);
  return cycles;
}
