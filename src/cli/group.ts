// The number of a group of users, by its name or as it is.

import { readFileSync } from "node:fs";
import { codeOf } from "../base/errors.ts";
import { CommandError, EXIT } from "./environment.ts";

/** As in group(5); images without that file have groups by number only. */
const FILE = "/etc/group";

/** @throws CommandError where there is no such group (exit code 4) */
export function groupNumber(text: string): number {
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  for (const line of groupLines()) {
    const [name, , number] = line.split(":");
    if (name === text && /^[0-9]+$/.test(number ?? "")) return Number(number);
  }
  throw new CommandError(
    `no group ${text} in ${FILE}; expected the name of a group there, or its number`,
    EXIT.notFound,
  );
}

function groupLines(): string[] {
  try {
    return readFileSync(FILE, "utf8").split("\n");
  } catch (thrown) {
    if (codeOf(thrown) === "ENOENT") return [];
    throw thrown;
  }
}
