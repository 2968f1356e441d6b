// Which folder of src/ may import which. This is the only copy of the table: the documents point here.
// Import cycles and the purity of model/, policy/ and state/ are rules of biome.json.
import { posix } from "node:path";
import { parseSync, Visitor } from "oxc-parser";

/** Folder of src/ → the folders it may import from, besides itself. From a "type:" folder only types. */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
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
  events: ["base", "gen", "model", "datapath", "policy", "observe"],
  history: ["base", "model", "observe", "events"],
  // Runs in a browser: nothing of Node.
  ui: ["observe", "type:cli"],
};

/** The rest of src/, which may import from all folders. */
const IMPORTS_ALL = new Set(["agent", "cli", "engines"]);

/** The folders of src/ that may import the bindings. */
const IMPORTS_BPF = new Set(["datapath", "events", "node"]);

interface Import {
  readonly specifier: string;
  readonly line: number;
  readonly typeOnly: boolean;
  /** `import("…")` as a type. */
  readonly inline: boolean;
}

/** One line for each import that the table does not allow, types included. */
export const forbiddenImports = (path: string, text: string): string[] =>
  importsOf(path, text).flatMap((each) => {
    const reason = objection(path, each);
    return reason === undefined ? [] : [`${path}:${each.line}: imports ${each.specifier}: ${reason}`];
  });

function objection(path: string, { specifier, typeOnly, inline }: Import): string | undefined {
  const from = folderOf(path);
  const target = specifier.startsWith(".") ? posix.join(posix.dirname(path), specifier) : undefined;
  if (path.startsWith("native/") && target !== undefined && !target.startsWith("native/")) {
    return "bpf-ts is a package of its own and does not depend on Weir";
  }
  if (!path.startsWith("native/") && target?.startsWith("native/")) {
    return 'import the bindings as "bpf-ts"';
  }
  if (specifier === "bpf-ts" && from !== undefined && !IMPORTS_BPF.has(from)) {
    return `in src/, only ${[...IMPORTS_BPF].join(" and ")} import bpf-ts`;
  }
  if (target === undefined) return undefined;
  if (inline) return "Biome's cycle check does not see this form: use `import type`";
  if (from === undefined) return undefined;
  const to = folderOf(target);
  if (to === undefined) return "src/ imports nothing outside src/";
  if (to === from || IMPORTS_ALL.has(from)) return undefined;
  const allowed = MAY_IMPORT[from];
  if (allowed === undefined) return `src/${from} is missing in the table`;
  if (allowed.includes(to) || (typeOnly && allowed.includes(`type:${to}`))) return undefined;
  return `${from}/ may import ${allowed.join(", ") || "nothing"}`;
}

/** The folder of a file below src/ ("policy"), or the file itself if it is in src/ ("agent.ts"). */
function folderOf(path: string): string | undefined {
  const [top, folder] = path.split("/");
  return top === "src" ? folder : undefined;
}

/**
 * Static and dynamic imports, re-exports, and `import("…")` as a type.
 * @throws Error if the text is not TypeScript
 */
function importsOf(path: string, text: string): Import[] {
  const { program, errors } = parseSync(path, text);
  if (errors[0] !== undefined) throw new Error(`${path}: ${errors[0].message}`);
  const found: Import[] = [];
  const add = (
    source: { value?: unknown; start: number } | null,
    kind: Pick<Import, "typeOnly" | "inline">,
  ): void => {
    if (typeof source?.value !== "string") return;
    found.push({
      specifier: source.value,
      line: text.slice(0, source.start).split("\n").length,
      ...kind,
    });
  };
  const typeOnly = (whole: string | undefined, parts: readonly (string | undefined)[]) => ({
    typeOnly: whole === "type" || (parts.length > 0 && parts.every((kind) => kind === "type")),
    inline: false,
  });
  new Visitor({
    ImportDeclaration: (node) =>
      add(
        node.source,
        typeOnly(
          node.importKind,
          node.specifiers.map((each) => (each.type === "ImportSpecifier" ? each.importKind : undefined)),
        ),
      ),
    ExportNamedDeclaration: (node) =>
      add(
        node.source,
        typeOnly(
          node.exportKind,
          node.specifiers.map((each) => each.exportKind),
        ),
      ),
    ExportAllDeclaration: (node) => add(node.source, typeOnly(node.exportKind, [])),
    ImportExpression: (node) => add(node.source as { start: number }, typeOnly(undefined, [])),
    TSImportType: (node) => add(node.source, { typeOnly: true, inline: true }),
  }).visit(program);
  return found;
}
