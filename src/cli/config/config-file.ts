// What a file says of the configuration.

import { readFileSync } from "node:fs";
import { codeOf } from "../../base/errors.ts";
import { mostSimilar } from "../../base/nearest-word.ts";
import { readYaml } from "../../source/manifests/yaml-reader.ts";
import { CommandError, EXIT } from "../environment.ts";
import { type Given, type Layer, OPTIONS, take } from "./config-options.ts";
import type { Key } from "./config-schema.ts";

/** @throws CommandError where the file cannot be read, is no map of options, or a value is wrong */
export function fileLayer(path: string): Layer {
  const [document, second] = [...readYaml(textOf(path))];
  const wrong = (place: string, reason: string) => new CommandError(`${place}: ${reason}`, EXIT.usage);
  if (document === undefined) return new Map();
  if (!document.ok) {
    const [{ place, reason } = { place: {}, reason: "not valid YAML" }] = document.errors;
    throw wrong(placeText(path, place), reason);
  }
  if (second !== undefined) throw wrong(path, "has more than one document; expected one map of options");
  const { value, flaws, where } = document;
  const placeOf = (...at: string[]): string => placeText(path, where(at));
  for (const flaw of flaws)
    throw wrong(`${placeText(path, flaw.place ?? where(flaw.path))}: ${flaw.path.join(".")}`, flaw.reason);
  if (value === null) return new Map();
  if (typeof value !== "object" || Array.isArray(value))
    throw wrong(placeOf(), "expected a map of options, as in docs/configuration.md");
  return new Map(
    Object.entries(value).map(([key, one]): [Key, Given] => {
      const at = placeOf(key);
      const name = `${at}: ${key}`;
      const spec = OPTIONS.find((each) => each.key === key);
      if (spec === undefined) throw wrong(name, `no such option${suggestion(key)}`);
      return [spec.key, take(spec, one, { at, name })];
    }),
  );
}

/** For names of flags, and misspelt ones. */
function suggestion(key: string): string {
  const camel = key
    .replace(/^--/, "")
    .replaceAll(/[-_]([a-z])/gi, (_, letter: string) => letter.toUpperCase());
  const near = mostSimilar(
    camel,
    OPTIONS.map((each) => each.key),
  );
  return `; the nearest is ${near}`;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (thrown) {
    if (codeOf(thrown) === "ENOENT") throw new CommandError(`${path} does not exist`, EXIT.notFound);
    if (codeOf(thrown) === "EISDIR")
      throw new CommandError(`${path} is a directory; expected a file of YAML`, EXIT.usage);
    throw thrown;
  }
}

interface LineAndColumn {
  readonly line?: number | undefined;
  readonly column?: number | undefined;
}

const placeText = (path: string, { line, column }: LineAndColumn): string =>
  [path, line, column].filter((each) => each !== undefined).join(":");
