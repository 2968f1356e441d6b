// What the tidy test asks of a TypeScript file: its imports, its functions and the globals it uses, from its syntax tree.
import { parseSync, visitorKeys } from "oxc-parser";

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

export interface Import {
  readonly specifier: string;
  readonly typeOnly: boolean;
  readonly line: number;
}

/** A function or a method; `lines` from the first to the last of its own, `suite` where it is the body of a describe(). */
export interface FunctionShape {
  readonly name: string;
  readonly line: number;
  readonly lines: number;
  readonly parameters: number;
  readonly suite: boolean;
}

export interface Use {
  readonly name: string;
  readonly line: number;
}

export interface Source {
  readonly imports: readonly Import[];
  readonly functions: readonly FunctionShape[];
  /** Every name that is read from some scope, and `Math.random` as one name; property names do not count. */
  readonly names: readonly Use[];
  readonly opensWithComment: boolean;
}

const isNode = (value: unknown): value is Node =>
  typeof value === "object" && value !== null && typeof (value as Node).type === "string";

/** All children of a node, in the order of the text. */
const childrenOf = (node: Node): Node[] =>
  (visitorKeys[node.type] ?? []).flatMap((key) => node[key]).filter(isNode);

const identifier = (value: unknown): string | undefined =>
  isNode(value) && (value.type === "Identifier" || value.type === "PrivateIdentifier")
    ? String(value["name"])
    : undefined;

const FUNCTIONS = new Set(["FunctionDeclaration", "FunctionExpression", "ArrowFunctionExpression"]);

/** @throws Error where the text is not TypeScript */
export function readTypeScript(path: string, text: string): Source {
  const parsed = parseSync(path, text);
  const [error] = parsed.errors;
  if (error !== undefined) throw new Error(`${path}: ${error.message}`);

  const starts = [0, ...[...text.matchAll(/\n/g)].map((match) => match.index + 1)];
  const lineAt = (offset: number): number => {
    const after = starts.findIndex((start) => start > offset);
    return after < 0 ? starts.length : after;
  };
  const imports: Import[] = [];
  const functions: FunctionShape[] = [];
  const names: Use[] = [];
  const visit = (node: Node, parents: readonly Node[]): void => {
    const imported = importOf(node);
    if (imported !== undefined) imports.push({ ...imported, line: lineAt(node.start) });
    if (FUNCTIONS.has(node.type)) {
      const line = lineAt(node.start);
      functions.push({ ...shapeOf(node, parents), line, lines: lineAt(node.end - 1) - line + 1 });
    }
    const name = nameRead(node, parents.at(-1));
    if (name !== undefined) names.push({ name, line: lineAt(node.start) });
    for (const child of childrenOf(node)) visit(child, [...parents, node]);
  };
  visit(parsed.program as unknown as Node, []);

  const first = parsed.program.hashbang?.end ?? 0;
  return { imports, functions, names, opensWithComment: /^\s*\/[/*]/.test(text.slice(first)) };
}

/** Static and dynamic imports, re-exports, and `import("…")` as a type. */
function importOf(node: Node): Omit<Import, "line"> | undefined {
  const source = node.type === "TSImportType" ? (node["source"] ?? node["argument"]) : node["source"];
  if (!isNode(source)) return undefined;
  const literal = source.type === "TSLiteralType" ? (source["literal"] as Node) : source;
  if (typeof literal["value"] !== "string") return undefined;
  const specifiers = (node["specifiers"] ?? []) as readonly Node[];
  const kinds = specifiers.map((each) => each["importKind"] ?? each["exportKind"]);
  const typeOnly =
    node.type === "TSImportType" ||
    node["importKind"] === "type" ||
    node["exportKind"] === "type" ||
    (kinds.length > 0 && kinds.every((kind) => kind === "type"));
  return { specifier: literal["value"], typeOnly };
}

function shapeOf(node: Node, parents: readonly Node[]): Pick<FunctionShape, "name" | "parameters" | "suite"> {
  const parent = parents.at(-1);
  const name =
    identifier(node["id"]) ?? identifier(parent?.["key"]) ?? identifier(parent?.["id"]) ?? "(anonymous)";
  const parameters = (node["params"] as readonly Node[]).filter((each) => identifier(each) !== "this").length;
  return { name, parameters, suite: parent?.type === "CallExpression" && calleeRoot(parent) === "describe" };
}

/** The first name of what a call calls: `describe` for `describe.each(table)(…)`. */
function calleeRoot(call: Node): string | undefined {
  let at: unknown = call;
  while (isNode(at)) {
    if (at.type === "CallExpression") at = at["callee"];
    else if (at.type === "MemberExpression") at = at["object"];
    else if (at.type === "TaggedTemplateExpression") at = at["tag"];
    else return identifier(at);
  }
  return undefined;
}

function nameRead(node: Node, parent: Node | undefined): string | undefined {
  if (node.type === "MemberExpression" && node["computed"] === false) {
    const [object, property] = [identifier(node["object"]), identifier(node["property"])];
    return object === "Math" ? `Math.${property}` : undefined;
  }
  const name = node.type === "Identifier" ? identifier(node) : undefined;
  if (name === undefined || parent === undefined) return undefined;
  const isPropertyName =
    (parent["property"] === node || parent["key"] === node) &&
    parent["computed"] !== true &&
    parent["shorthand"] !== true;
  return isPropertyName ? undefined : name;
}
