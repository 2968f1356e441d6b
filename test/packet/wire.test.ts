// What a test run cannot show: packets in parts, and packets that the kernel itself has reassembled and fragmented again.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FROM_POD_HOOKS } from "../../src/base/direction.ts";
import { openWire, type Wire } from "./wire.ts";

let wire: Wire;

beforeAll(() => {
  wire = openWire();
});

afterAll(() => wire?.close());

type Reasons = Readonly<Record<string, number>>;

describe("packets with only their first bytes linear", () => {
  it.each(FROM_POD_HOOKS)(
    "are what they are in one part: headers and quotes are made linear (%s)",
    (hook) => {
      const { count, whole, cut } = wire.run("wire-linear.ts", hook) as {
        count: number;
        whole: Reasons;
        cut: Readonly<Record<number, Reasons>>;
      };
      expect(Object.values(whole).reduce((sum, each) => sum + each, 0)).toBe(count);
      expect(whole["egress related"]).toBeGreaterThan(0);
      expect(Object.keys(cut)).not.toEqual([]);
      for (const [linear, reasons] of Object.entries(cut))
        expect(reasons, `${linear} bytes linear`).toEqual(whole);
    },
  );
});

describe("IPv6 fragments that the kernel reassembled and fragmented again to forward them", () => {
  it("are not this node's own, which pass", () => {
    const toThePod = (reasons: Reasons) =>
      Object.fromEntries(
        Object.entries(reasons).filter(
          ([reason]) => reason.startsWith("ingress") && reason !== "ingress neighbour",
        ),
      );
    const seen = wire.run("wire-refragmented.ts") as Readonly<Record<string, Reasons>>;
    // What kernels send by themselves (listener reports, solicitations) comes at any time.
    expect(Object.fromEntries(Object.entries(seen).map(([who, said]) => [who, toThePod(said)]))).toEqual({
      stranger: { "ingress denied": 1 },
      friend: { "ingress policy": 1, "ingress established": 2 },
      node: { "ingress node": 3 },
      "stranger, in one": { "ingress denied": 1 },
    });
  });
});

describe("checksums that are written behind the hook, at a place that a raw socket of the pod chooses", () => {
  it("go to the transport header's field or the payload, or the packet is dropped", () => {
    const reasons = Object.entries(wire.run("wire-checksum.ts") as Readonly<Record<string, string>>);
    expect(reasons.length).toBeGreaterThan(30);
    for (const [name, reason] of reasons)
      expect(reason, name).toBe(name.includes(", right: ") ? "egress not-isolated" : "egress malformed");
  });
});
