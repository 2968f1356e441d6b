// The text of a network configuration with Weir's entry and without: nothing else of it may change, whatever its style.

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hasEntry, listOf, readConfiguration, withEntry, withoutEntry } from "../../../src/cni/conflist.ts";

const ENTRY = { socket: "/run/weir/cni.sock" };
const OTHER = { socket: "/elsewhere.sock", timeoutMs: 5_000, failOpen: true as const };

/** JSON as people and programs write it: any indentation, white space anywhere between tokens. */
function spaced(text: string, spaces: readonly string[]): string {
  let next = 0;
  const space = (): string => spaces[next++ % spaces.length] ?? "";
  return text.replaceAll(/"(?:[^"\\]|\\.)*"|[[\]{},:]/g, (token) =>
    token.startsWith('"') ? token : `${space()}${token}${space()}`,
  );
}

const plugin = fc.record({
  type: fc.constantFrom("ptp", "bridge", "portmap", "bandwidth"),
  more: fc.jsonValue({ maxDepth: 3 }),
  '] } , "': fc.string(),
});
const configuration = fc.record({
  cniVersion: fc.constant("1.0.0"),
  'a "plugins" name': fc.string({ unit: "binary" }),
  name: fc.string({ minLength: 1 }),
  plugins: fc.array(plugin, { minLength: 1, maxLength: 4 }),
  after: fc.jsonValue(),
});
const spaces = fc.array(fc.constantFrom("", " ", "\n", "\n\t", "\r\n  "), { minLength: 1, maxLength: 7 });

describe("an entry", () => {
  it("comes last, once, changes nothing else, and is removed without a trace", () => {
    fc.assert(
      fc.property(configuration, fc.constantFrom(0, 2, "\t"), spaces, (value, indent, white) => {
        const text = spaced(JSON.stringify(value, null, indent), white);
        const chained = withEntry(text, ENTRY);
        expect(JSON.parse(chained)).toEqual({
          ...JSON.parse(text),
          plugins: [...JSON.parse(text).plugins, { type: "weir-cni", ...ENTRY }],
        });
        expect(withEntry(chained, ENTRY)).toBe(chained);
        expect(hasEntry(chained)).toBe(true);
        expect(withoutEntry(chained)).toBe(text);
        expect(withoutEntry(withEntry(chained, OTHER))).toBe(text);
      }),
    );
  });

  it("is rewritten if its content differs", () => {
    const text = withEntry('{"name":"x","plugins":[{"type":"ptp"}]}', ENTRY);
    expect(JSON.parse(withEntry(text, OTHER)).plugins[1]).toEqual({ type: "weir-cni", ...OTHER });
  });

  it("stays if another plugin has been put after it, and is never the first", () => {
    const after = '{"name":"x","plugins":[{"type":"ptp"},{"type":"weir-cni","socket":"/a"},{"type":"b"}]}';
    expect(JSON.parse(withEntry(after, ENTRY)).plugins.map(({ type }: { type: string }) => type)).toEqual([
      "ptp",
      "weir-cni",
      "b",
    ]);
    const first = '{"name":"x","plugins":[{"type":"weir-cni"}, {"type":"ptp"}]}';
    expect(withEntry(first, ENTRY)).toBe(
      '{"name":"x","plugins":[{"type":"ptp"},{"type":"weir-cni","socket":"/run/weir/cni.sock"}]}',
    );
  });

  it("makes a list of a single plugin, which stays in it as it is", () => {
    const single = '{ "cniVersion": "0.4.0", "name": "x", "type": "ptp", "mtu": 1400 }';
    const list = listOf(`${single}\n`, ENTRY);
    expect(JSON.parse(list)).toEqual({
      cniVersion: "0.4.0",
      name: "x",
      plugins: [JSON.parse(single), { type: "weir-cni", ...ENTRY }],
    });
    expect(list).toContain(single);
  });
});

describe("an invalid configuration", () => {
  it.each([
    ["", "it is not JSON"],
    ["\ufeff{}", "it is not JSON"],
    ["[]", "expected an object"],
    ["{}", "name: expected a text"],
    ['{"name":"x"}', "expected plugins, or the type of one"],
    ['{"name":"x","plugins":{}}', "plugins: expected one list"],
    ['{"name":"x","plugins":[],"plugins":[{"type":"a"}]}', "plugins: expected one list"],
    ['{"name":"x","plugins":[]}', "plugins: expected one that makes the pod's interface"],
    ['{"name":"x","plugins":[{"type":"weir-cni"}]}', "plugins: expected one that makes the pod's interface"],
  ])("%s: %s", (text, reason) => {
    expect(readConfiguration(text)).toEqual({ kind: "wrong", reason });
    expect(withEntry(text, ENTRY)).toBe(text);
  });

  it("is distinguished from one that calls other plugins", () => {
    expect(readConfiguration('{"name":"m","type":"multus"}')).toEqual({ kind: "single", isMeta: true });
    expect(readConfiguration('{"name":"m","plugins":[{"type":"multus"}]}')).toMatchObject({ isMeta: true });
  });
});
