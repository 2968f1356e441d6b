// What the tidy test asks of a C or C++ file: its functions, their length and their parameters, found by their braces.

export interface CFunction {
  readonly name: string;
  readonly line: number;
  readonly lines: number;
  readonly parameters: number;
  /** Stands in an ELF section of its own, as the programs do that the kernel calls. */
  readonly entryPoint: boolean;
}

/** The text with comments, literals and preprocessor lines blanked out, at the same offsets and line breaks. */
function codeOf(text: string): string {
  const skipped =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|R"\([\s\S]*?\)"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'|^[ \t]*#(?:\\\n|[^\n])*/gm;
  return text.replace(skipped, (match) => match.replace(/[^\n]/g, " "));
}

/** What a pair of braces holds: members of a namespace or class, the body of a function, or anything else. */
type Kind = "container" | "function" | "other";

const CONTAINER = /^\s*(?:inline\s+)?(?:namespace|class|struct|union|extern)\b[^()=]*$/;

/** Functions that have a body; those inside a function (lambdas) are part of it. */
export function readC(text: string): CFunction[] {
  const code = codeOf(text);
  const found: CFunction[] = [];
  const open: { kind: Kind; header: string; start: number }[] = [];
  let headerStart = 0;
  let parentheses = 0;
  for (let at = 0; at < code.length; at++) {
    const character = code[at];
    if (character === "(") parentheses++;
    if (character === ")") parentheses--;
    // A brace in parentheses is a default value or a lambda, a semicolon there belongs to a for().
    if (parentheses > 0 || character === undefined || !"{};".includes(character)) continue;
    if (character === "{") {
      const header = code.slice(headerStart, at);
      open.push({ kind: kindOf(header, open), header, start: headerStart + header.search(/\S|$/) });
    } else if (character === "}") {
      const closed = open.pop();
      if (closed?.kind === "function") found.push(functionOf(code, closed, at));
    }
    headerStart = at + 1;
  }
  return found;
}

function kindOf(header: string, open: readonly { kind: Kind }[]): Kind {
  if (!open.every(({ kind }) => kind === "container")) return "other";
  if (CONTAINER.test(header)) return "container";
  return isFunction(header) ? "function" : "other";
}

/** Parameters in parentheses, and no initialiser outside them. */
function isFunction(header: string): boolean {
  let outside = header;
  for (let before = ""; before !== outside; ) {
    before = outside;
    outside = before.replace(/\([^()]*\)/g, " @ ");
  }
  return outside.includes("@") && !outside.includes("=");
}

function functionOf(
  code: string,
  { header, start }: { header: string; start: number },
  end: number,
): CFunction {
  const signature = header
    .replace(/\b(?:public|private|protected)\s*:(?!:)/g, " ")
    // The initialisers of a C++ constructor, and attributes after the parameters.
    .replace(/\)\s*:(?!:)[\s\S]*$/, ")")
    .replace(/__attribute__\s*\(\(.*?\)\)/g, " ");
  const last = lastGroup(signature);
  const lineOf = (offset: number): number => code.slice(0, offset).split("\n").length;
  return {
    name: /([\w:~]+)\s*$/.exec(signature.slice(0, last.start))?.[1] ?? "?",
    line: lineOf(start),
    lines: lineOf(end) - lineOf(start) + 1,
    parameters: parameterCount(last.text),
    entryPoint: /\bSEC\s*\(/.test(signature),
  };
}

/** The last pair of parentheses that is not inside another, and what stands in it. */
function lastGroup(signature: string): { start: number; text: string } {
  let depth = 0;
  let start = 0;
  let text = "";
  for (let at = 0; at < signature.length; at++) {
    if (signature[at] === "(" && depth++ === 0) start = at;
    if (signature[at] === ")" && --depth === 0) text = signature.slice(start + 1, at);
  }
  return { start, text };
}

function parameterCount(list: string): number {
  if (/^\s*(?:void)?\s*$/.test(list)) return 0;
  let depth = 0;
  let count = 1;
  for (const character of list) {
    if ("(<[{".includes(character)) depth++;
    else if (")>]}".includes(character)) depth--;
    else if (character === "," && depth === 0) count++;
  }
  return count;
}
