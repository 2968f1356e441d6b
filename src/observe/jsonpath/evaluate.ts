// Templates filled in from a value: what `-o jsonpath=` writes. What is not there gives nothing, as with kubectl.

import { assertNever } from "../../base/assert.ts";
import type { Operand, Operator, Part, Step, Test } from "./parse.ts";

/** Several results of one path stand apart by a space; objects and lists come as JSON. */
export function fillTemplate(parts: readonly Part[], root: unknown): string {
  return parts
    .map((part) => {
      switch (part.kind) {
        case "text":
          return part.text;
        case "path":
          return valuesAt(root, part.steps).map(resultText).join(" ");
        case "range":
          return valuesAt(root, part.steps)
            .map((each) => fillTemplate(part.body, each))
            .join("");
        default:
          return assertNever(part, "part of a template");
      }
    })
    .join("");
}

const resultText = (value: unknown): string =>
  typeof value === "object" && value !== null ? JSON.stringify(value, bigIntText) : String(value);

const bigIntText = (_: string, value: unknown): unknown =>
  typeof value === "bigint" ? String(value) : value;

export function valuesAt(root: unknown, steps: readonly Step[]): unknown[] {
  let values: unknown[] = [root];
  for (const step of steps) values = values.flatMap((value) => taken(value, step));
  return values.filter((value) => value !== undefined);
}

function taken(value: unknown, step: Step): unknown[] {
  switch (step.kind) {
    case "names":
      return step.names.flatMap((name) => memberOf(value, name));
    case "all":
      return membersOf(value);
    case "descend":
      return [value, ...membersOf(value).flatMap((each) => taken(each, step))];
    case "indexes":
      return step.indexes.flatMap((index) => (Array.isArray(value) ? [value.at(index)] : []));
    case "slice":
      return Array.isArray(value)
        ? value.slice(step.from, step.to).filter((_, at) => at % step.step === 0)
        : [];
    case "filter":
      return membersOf(value).filter((each) => passes(each, step.left, step.test));
    default:
      return assertNever(step, "step of a path");
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const memberOf = (value: unknown, name: string): unknown[] =>
  isObject(value) && Object.hasOwn(value, name) ? [value[name]] : [];

function membersOf(value: unknown): unknown[] {
  if (Array.isArray(value)) return value;
  return isObject(value) ? Object.values(value) : [];
}

function passes(value: unknown, left: Operand, test: Test | undefined): boolean {
  const found = operandOf(value, left);
  if (test === undefined) return found !== undefined;
  return compared(found, operandOf(value, test.right), test.operator);
}

/** The first of the values that a path gives. */
const operandOf = (value: unknown, operand: Operand): unknown =>
  operand.kind === "value" ? operand.value : valuesAt(value, operand.steps)[0];

/** Numbers and texts have an order, each among themselves; other values are only equal or not. */
function compared(left: unknown, right: unknown, operator: Operator): boolean {
  const [a, b] = [left, right].map((each) => (typeof each === "bigint" ? Number(each) : each));
  const order = orderOf(a, b);
  switch (operator) {
    case "==":
      return a === b;
    case "!=":
      return a !== b;
    case "<":
      return order < 0;
    case "<=":
      return order <= 0;
    case ">":
      return order > 0;
    case ">=":
      return order >= 0;
    default:
      return assertNever(operator, "operator");
  }
}

/** NaN, which no operator takes for true, where there is no order. */
function orderOf(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "string" && typeof b === "string") return a < b ? -1 : a > b ? 1 : 0;
  return Number.NaN;
}
