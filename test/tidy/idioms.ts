// Counts the words and phrases that docs/GLOSSARY.md lists as "not", in the documents, in comments, in the strings that
// people read, and in the titles of tests.
//
//   node test/tidy/idioms.ts            per folder: words, idioms, idioms in a thousand words
//   node test/tidy/idioms.ts PATH ...   each place in these files or folders

import { parseSync, Visitor } from "oxc-parser";
import { repositoryFiles, textOf } from "./files.ts";

export interface Count {
  readonly words: number;
  readonly idioms: number;
}

interface Passage {
  readonly line: number;
  readonly text: string;
}

interface Found {
  readonly line: number;
  readonly idiom: string;
  readonly text: string;
}

const GLOSSARY = "docs/GLOSSARY.md";

/** The phrases in backticks in the second column of the table below "## Words to avoid". */
export function idiomsIn(glossary: string): readonly string[] {
  const table = /^## Words to avoid\n([\s\S]*?)(?=^## |(?![\s\S]))/m.exec(glossary)?.[1] ?? "";
  return table
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .flatMap((line) =>
      [...(line.split("|")[2] ?? "").matchAll(/`([^`]+)`/g)].map(([, phrase = ""]) => phrase),
    );
}

/** Matches any of the phrases as whole words, over line breaks too. */
export const patternOf = (idioms: readonly string[]): RegExp =>
  new RegExp(
    `(?<![\\w-])(?:${idioms.map((idiom) => idiom.replaceAll(/ +/g, "\\s+")).join("|")})(?![\\w-])`,
    "gi",
  );

const wordsIn = (text: string): number => text.match(/[A-Za-z][A-Za-z'-]*/g)?.length ?? 0;

function idiomsOf({ line, text }: Passage, pattern: RegExp): Found[] {
  // "A round trip" is not the idiom "round".
  return [...text.replaceAll(/round(?= trip)/g, "-----").matchAll(pattern)].map((match) => ({
    line: line + text.slice(0, match.index).split("\n").length - 1,
    idiom: match[0].replaceAll(/\s+/g, " "),
    text: text.slice(Math.max(0, match.index - 40), match.index + 40).replaceAll(/\s+/g, " "),
  }));
}

/** The prose of a file; none if it is not one that is counted. */
function passagesOf(path: string, text: string): Passage[] {
  if (path === GLOSSARY || /(^|\/)LICENSE/.test(path) || path.startsWith("test/fixtures/")) return [];
  if (path.endsWith(".md"))
    return [{ line: 1, text: text.replaceAll(/^```[\s\S]*?^```|`[^`\n]*`/gm, blank) }];
  if (path.startsWith("test/") || path.startsWith("native/test/")) {
    return path.endsWith(".test.ts") ? typeScript(path, text).titles : [];
  }
  if (!/^(?:src|bpf|native|cni)\//.test(path)) return [];
  if (path.endsWith(".ts")) {
    const { comments, strings } = typeScript(path, text);
    return [...comments, ...strings];
  }
  return /\.(?:c|cc|h)$/.test(path) ? inC(text) : [];
}

const blank = (text: string): string => text.replaceAll(/[^\n]/g, " ");
const lineAt = (text: string, offset: number): number => text.slice(0, offset).split("\n").length;

/** Whether the string is a sentence or a phrase, rather than a name, path or key. */
const isProse = (text: string): boolean => /[a-z] [a-z]/.test(text);

function inC(text: string): Passage[] {
  const pieces = text.matchAll(/\/\*[\s\S]*?\*\/|(?:^[ \t]*\/\/[^\n]*\n)+|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"/gm);
  return [...pieces]
    .filter(([piece]) => !piece.startsWith('"') || isProse(piece))
    .map((match) => ({ line: lineAt(text, match.index), text: match[0] }));
}

function typeScript(path: string, text: string) {
  const { program, comments } = parseSync(path, text);
  const strings: Passage[] = [];
  const titles: Passage[] = [];
  const add = (list: Passage[], start: number, value: string): void => {
    if (isProse(value)) list.push({ line: lineAt(text, start), text: value });
  };
  const pieces: { start: number; value: string }[] = [];
  new Visitor({
    Literal: (node) => {
      if (typeof node.value === "string") pieces.push({ start: node.start, value: node.value });
    },
    TemplateElement: (node) => {
      pieces.push({ start: node.start, value: node.value.raw });
    },
    CallExpression: (node) => {
      const [title] = node.arguments;
      const name = /^\w+/.exec(text.slice(node.callee.start))?.[0] ?? "";
      if (!["describe", "it", "test"].includes(name) || title === undefined) return;
      add(titles, title.start, text.slice(title.start, title.end));
    },
  }).visit(program);
  for (const { start, value } of pieces) add(strings, start, value);
  return { strings, titles, comments: joined(comments, text) };
}

/** Consecutive comments are one text, so that a phrase may go over a line's end. */
function joined(comments: readonly { start: number; end: number; value: string }[], text: string): Passage[] {
  const found: { line: number; text: string; end: number }[] = [];
  for (const { start, end, value } of comments) {
    const last = found.at(-1);
    if (last !== undefined && /^\s*$/.test(text.slice(last.end, start))) {
      last.text += `\n${value}`;
      last.end = end;
    } else {
      found.push({ line: lineAt(text, start), text: value, end });
    }
  }
  return found;
}

/** "README.md", "docs", "src/cli", "bpf", …, "test" for titles. */
function folderOf(path: string): string {
  const [top = "", next = "", ...rest] = path.split("/");
  if (path.startsWith("native/test/")) return "test";
  if (top === "src") return rest.length > 0 ? `src/${next}` : "src";
  return next === "" ? top : top;
}

const patternHere = (): RegExp => patternOf(idiomsIn(textOf(GLOSSARY) ?? ""));

/** Per folder, and for all of them together under "all". */
export function countIdioms(): ReadonlyMap<string, Count> {
  const pattern = patternHere();
  const counts = new Map<string, Count>();
  const add = (name: string, words: number, idioms: number): void => {
    const before = counts.get(name) ?? { words: 0, idioms: 0 };
    counts.set(name, { words: before.words + words, idioms: before.idioms + idioms });
  };
  for (const path of repositoryFiles()) {
    for (const passage of passagesOf(path, textOf(path) ?? "")) {
      const [words, idioms] = [wordsIn(passage.text), idiomsOf(passage, pattern).length];
      for (const name of [folderOf(path), "all"]) add(name, words, idioms);
    }
  }
  return counts;
}

export const perThousand = ({ words, idioms }: Count): number => (1000 * idioms) / Math.max(words, 1);

function main(places: readonly string[]): void {
  if (places.length === 0) {
    for (const [name, count] of [...countIdioms()].sort(([a], [b]) => a.localeCompare(b))) {
      const rate = perThousand(count).toFixed(1).padStart(6);
      console.log(
        `${name.padEnd(16)}${String(count.words).padStart(8)}${String(count.idioms).padStart(6)}${rate}`,
      );
    }
    return;
  }
  const pattern = patternHere();
  for (const path of repositoryFiles()) {
    if (!places.some((place) => path === place || path.startsWith(`${place.replace(/\/$/, "")}/`))) continue;
    for (const passage of passagesOf(path, textOf(path) ?? ""))
      for (const { line, idiom, text } of idiomsOf(passage, pattern))
        console.log(`${path}:${line}: ${idiom}: …${text}…`);
  }
}

if (import.meta.main) main(process.argv.slice(2));
