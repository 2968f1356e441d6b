// A cluster as JSON and back: for commands that request the agent's cluster, and evaluate it themselves.

import type { Cluster } from "./cluster.ts";

/** Marks a value that JSON has no type for: an object with one property of a name that nothing in the model has. */
export const MAP_KEY = "#map";
const INTEGER = "#integer";

/** A value of the model (plain objects, lists, maps, big integers) as one that JSON can hold. */
export function toWire(value: unknown): unknown {
  if (typeof value === "bigint") return { [INTEGER]: value.toString() };
  if (value instanceof Map) return { [MAP_KEY]: [...value].map(([key, each]) => [key, toWire(each)]) };
  if (Array.isArray(value)) return value.map(toWire);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, toWire(each)]));
}

function fromWire(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromWire);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const [[key, inner] = ["", undefined]] = entries;
  if (key === INTEGER) return BigInt(String(inner));
  if (key === MAP_KEY) {
    return new Map((inner as readonly [string, unknown][]).map(([name, each]) => [name, fromWire(each)]));
  }
  return Object.fromEntries(entries.map(([name, each]) => [name, fromWire(each)]));
}

/** The cluster that an agent of the same version sent. */
export const clusterFromWire = (value: unknown): Cluster => fromWire(value) as Cluster;
