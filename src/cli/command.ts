// What the commands share: how they are added, the options that several take, and how they write what they found.

import { type Command, InvalidArgumentError, Option } from "commander";
import { fitted, type Table, tableText } from "../observe/text-output.ts";
import { CommandError, type Context, type Env, EXIT } from "./environment.ts";

/** Makes of what does a command's work, and gives its exit code, what commander calls with the command's arguments. */
export type Exits = <A extends readonly unknown[]>(
  work: (context: Context, ...values: A) => Promise<number>,
) => (...values: A) => Promise<void>;

/** Adds one command to its parent: description, options and help; the work is imported when it runs. */
export type Adder = (parent: Command, exits: Exits) => void;

export type Format = "table" | "wide" | "json" | "ndjson" | "yaml" | "name" | "text" | "junit";

export const outputOption = (...formats: readonly [Format, ...Format[]]): Option =>
  new Option("-o, --output <format>", "output format").choices(formats).default(formats[0]);

export const watchOption = (): Option =>
  new Option("-w, --watch", "keep running and print changes until stopped");

export const headersOption = (): Option => new Option("--no-headers", "omit the header line");

export const namespaceOption = (): Option => new Option("-n, --namespace <name>", "only this namespace");

export const allNamespacesOption = (): Option =>
  new Option("-A, --all-namespaces", "all namespaces, which is the default").conflicts("namespace");

export const sortOption = (): Option =>
  new Option("--sort-by <field>", "order by a field of the JSON, such as name or .ingress.policy");

/** An object of a list, as requested: NAMESPACE/NAME, or NAME in whichever namespace. */
export interface NamedObject {
  readonly namespace?: string;
  readonly name: string;
}

/** @throws CommandError where the namespaces of the name and of -n differ, or the name has more than two parts */
export function namedObject(
  text: string | undefined,
  { namespace, pod }: { readonly namespace?: string; readonly pod?: PodName },
): NamedObject | undefined {
  if (text === undefined) return pod;
  if (pod !== undefined) throw new CommandError("a name and --pod exclude each other", EXIT.usage);
  const [first = "", second, ...rest] = text.split("/");
  const own = second === undefined ? namespace : first;
  const name = second ?? first;
  if (name === "" || own === "" || rest.length > 0)
    throw new CommandError(`${text} is not NAMESPACE/NAME`, EXIT.usage);
  if (namespace !== undefined && own !== namespace)
    throw new CommandError(`${text} is not of namespace ${namespace}`, EXIT.usage);
  return { name, ...(own === undefined ? {} : { namespace: own }) };
}

export const isNamed = (
  each: { readonly namespace?: string; readonly name?: string },
  wanted: NamedObject | undefined,
): boolean =>
  wanted === undefined ||
  (each.name === wanted.name && (wanted.namespace === undefined || each.namespace === wanted.namespace));

export const nameText = ({ namespace, name }: NamedObject): string =>
  namespace === undefined ? name : `${namespace}/${name}`;

export interface PodName {
  readonly namespace: string;
  readonly name: string;
}

export const podOption = (about: string): Option =>
  new Option("--pod <namespace/name>", about).argParser((text: string): PodName => {
    const [namespace, name, ...rest] = text.split("/");
    if (!namespace || !name || rest.length > 0) throw new InvalidArgumentError("Write it as NAMESPACE/NAME.");
    return { namespace, name };
  });

export const manifestsOption = (): Option =>
  new Option(
    "--manifests <dir>",
    "use the manifests of a directory instead of the agent; needs no privilege",
  );

/** Of manifests that a command reads; repeatable. */
export const filenameOption = (about: string): Option =>
  new Option(
    "-f, --filename <path>",
    `${about}; file or directory, - for the standard input; repeatable`,
  ).argParser((value: string, before: readonly string[] = []): readonly string[] => [...before, value]);

/** JSON as people can read it, or in one line (0); counters wider than a double keep all their digits. */
export const jsonText = (value: unknown, indentation = 2): string =>
  `${JSON.stringify(value, (_, each: unknown) => (typeof each === "bigint" ? rawNumber(each) : each), indentation)}\n`;

/** JSON.rawJSON of ECMAScript 2025, which the compiler's library does not have yet. */
const rawNumber = (value: bigint): unknown =>
  (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(value.toString());

/** One result in the formats that commands offer. */
export interface Result {
  readonly table: (wide: boolean) => Table;
  readonly value: unknown;
  /** What `-o name` writes. */
  readonly names?: () => string;
}

export interface WriteOptions {
  readonly output: Format;
  readonly headers: boolean;
}

/** Where the output is no terminal. */
export const WIDTH_MAX = 100;

export async function write(env: Env, result: Result, { output, headers }: WriteOptions): Promise<void> {
  switch (output) {
    case "json":
      env.stdout.write(jsonText(result.value));
      return;
    case "ndjson":
      for (const each of Array.isArray(result.value) ? result.value : [result.value])
        env.stdout.write(jsonText(each, 0));
      return;
    case "yaml": {
      const { yamlText } = await import("./yaml-output.ts");
      env.stdout.write(yamlText(result.value));
      return;
    }
    case "name":
      env.stdout.write(result.names?.() ?? "");
      return;
    case "wide":
      env.stdout.write(tableText(result.table(true), headers));
      return;
    default: {
      const table = result.table(false);
      // Without a heading it is for a program, which counts columns.
      env.stdout.write(tableText(headers ? fitted(table, env.stdout.columns ?? WIDTH_MAX) : table, headers));
    }
  }
}

/** Whether the output has no colours: it is no terminal, or NO_COLOR says so (no-color.org: any text but the empty one). */
export const isPlain = ({ stdout, variables }: Env): boolean =>
  stdout.isTTY !== true || (variables["NO_COLOR"] ?? "") !== "";

/** A remark beside the result, on stderr. */
export const note = (env: Env, text: string): void => {
  env.stderr.write(`weir: ${text}\n`);
};

// Writing a result that is a text of its own form for people, and data for programs.

export interface Report {
  readonly value: unknown;
  readonly text: () => string;
}

export async function writeReport(
  { stdout }: Env,
  { value, text }: Report,
  output: "text" | "json" | "yaml",
): Promise<void> {
  if (output === "json") stdout.write(jsonText(value));
  else if (output === "yaml") stdout.write((await import("./yaml-output.ts")).yamlText(value));
  else stdout.write(text());
}
