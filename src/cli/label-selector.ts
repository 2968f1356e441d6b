// `-l`: a label selector as kubectl takes it ("app=web,tier in (a,b),!old").

import { InvalidArgumentError } from "commander";
import type { Requirement, Selector } from "../model/selector.ts";

/** @throws InvalidArgumentError */
export function selectorFrom(text: string): Selector {
  return { requirements: partsOf(text).map(requirementFrom) };
}

/** Cut at commas outside parentheses. */
const partsOf = (text: string): string[] =>
  text
    .split(/,(?![^(]*\))/)
    .map((part) => part.trim())
    .filter((part) => part !== "");

const KEY = "(?<key>[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?)";
const IN = new RegExp(String.raw`^${KEY}\s+(?<word>in|notin)\s*\((?<values>[^()]*)\)$`);
const EQUALS = new RegExp(String.raw`^${KEY}\s*(?<sign>==?|!=)\s*(?<value>[A-Za-z0-9._-]*)$`);
const EXISTS = new RegExp(String.raw`^(?<not>!?)\s*${KEY}$`);

function requirementFrom(part: string): Requirement {
  const equals = EQUALS.exec(part)?.groups;
  if (equals !== undefined) {
    const { key = "", sign, value = "" } = equals;
    return { operator: sign === "!=" ? "NotIn" : "In", key, values: [value] };
  }
  const among = IN.exec(part)?.groups;
  if (among !== undefined) {
    const { key = "", word, values = "" } = among;
    return {
      operator: word === "in" ? "In" : "NotIn",
      key,
      values: values.split(",").map((value) => value.trim()),
    };
  }
  const exists = EXISTS.exec(part)?.groups;
  if (exists !== undefined) {
    const { key = "", not } = exists;
    return { operator: not === "!" ? "DoesNotExist" : "Exists", key };
  }
  throw new InvalidArgumentError(
    `${JSON.stringify(part)} is none of KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY, !KEY.`,
  );
}
