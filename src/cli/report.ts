// Writing a result that is a text of its own form for people, and data for programs.

import { jsonText } from "./command.ts";
import type { Env } from "./environment.ts";

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
