// Objects that are small alone, and large as a product of each other: the agent's memory suffices, and other namespaces have what
// they had.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const PROGRAM = fileURLToPath(new URL("../support/compile-product.ts", import.meta.url));
/** Less than the agent has in the chart's container. */
const HEAP_MB = 192;

const MATCHES = "greedy: matches of selectors and prefixes";
const RULES = "greedy: rules and ports of pods";
const SHAPES: readonly (readonly [shape: string, limited: string])[] = [
  ["rules that nearly all pods match", MATCHES],
  ["selectors that no pod matches, and each has to be compared with", MATCHES],
  ["selectors of namespaces", MATCHES],
  ["policies, for each of many pods", RULES],
  ["rules, for each of many pods", RULES],
  ["port names of many rules, on many pods", RULES],
  ["prefixes with ranges of ports in one another", RULES],
  ["prefixes in one another", MATCHES],
  ["prefixes with pods in them", MATCHES],
];

describe("products of one namespace's objects", { timeout: 300_000 }, () => {
  test.each(SHAPES)("%s", (shape, limited) => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [`--max-old-space-size=${HEAP_MB}`, PROGRAM, shape],
      { encoding: "utf8" },
    );
    expect(status, stderr.slice(-2_000)).toBe(0);
    const results = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { friend: string; limited: string[] });
    expect(results.map(({ friend }) => friend)).toEqual(["allowed", "denied"]);
    for (const each of results) {
      expect(each.limited).toContain(limited);
      expect(each.limited.filter((text) => !text.startsWith("greedy: "))).toEqual([]);
    }
  });
});
