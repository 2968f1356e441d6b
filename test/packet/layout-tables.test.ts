// Typed tables over maps of the kernel: values that are written are read back, and keys have the meaning that the kernel gives them.

import { BpfMap, possibleCpus } from "bpf-ts";
import { afterAll, describe, expect, it } from "vitest";
import { OperationError } from "../../src/base/errors.ts";
import { parseAddress, parseCidr } from "../../src/base/ip.ts";
import {
  addressV4KeyOf,
  cidrOfV4Key,
  cidrV4KeyOf,
  cidrV6KeyOf,
  rowOf,
  sumCounters,
} from "../../src/datapath/codec.ts";
import { heldInner } from "../../src/datapath/inner-maps.ts";
import { type MapName, nestedTableOf, tableOf } from "../../src/datapath/typed-maps.ts";
import { type Count, type Counters, MAPS, REASONS } from "../../src/gen/layout.ts";

const opened: { close(): void }[] = [];
afterAll(() => {
  for (const map of opened) map.close();
});

function makeMap(name: MapName, maxEntries: number, innerMap?: BpfMap): BpfMap {
  const { type, keySize, valueSize, flags } = MAPS[name];
  const spec = { type, name: `wt_${name}`.slice(0, 15), keySize, valueSize, flags, maxEntries };
  const map = BpfMap.create(innerMap === undefined ? spec : { ...spec, innerMap });
  opened.push(map);
  return map;
}

function address(text: string) {
  const parsed = parseAddress(text);
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
}

function cidr(text: string) {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
}

/** The error with which a call fails. */
async function errorOf(call: () => unknown): Promise<unknown> {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}

describe("a hash", () => {
  const table = tableOf("addresses_v4", makeMap("addresses_v4", 4));
  const [a, b] = [addressV4KeyOf(address("10.0.0.1")), addressV4KeyOf(address("10.0.0.2"))];

  it("returns single values and undefined for absent keys", () => {
    expect(table.get(a)).toBeUndefined();
    table.set(a, { number: [1, 2] });
    table.set(a, { number: [3, 4] });
    expect(table.get(a)).toEqual({ number: [3, 4] });
    expect(table.get(b)).toBeUndefined();
  });

  it("is written, read and emptied in batches", async () => {
    await table.writeBatch([
      [a, { number: [5, 6] }],
      [b, { number: [7, 0xffff_ffff] }],
    ]);
    expect(new Map(await table.read())).toEqual(
      new Map([
        [a, { number: [5, 6] }],
        [b, { number: [7, 0xffff_ffff] }],
      ]),
    );
    expect(await table.deleteBatch([a, addressV4KeyOf(address("10.9.9.9")), b])).toBe(2);
    expect(await table.read()).toEqual([]);
  });

  it("accepts an empty batch", async () => {
    await table.writeBatch([]);
    expect(await table.deleteBatch([])).toBe(0);
  });

  it("reports that it is full, with its limit", async () => {
    const five = Array.from(
      { length: 5 },
      (_, i) => [addressV4KeyOf(address(`10.1.0.${i}`)), { number: [1, 1] }] as const,
    );
    const error = await errorOf(() => table.writeBatch(five));
    expect(error).toBeInstanceOf(OperationError);
    expect(error).toMatchObject({
      code: "E2BIG",
      message: "write map wt_addresses_v4: no room: it has at most 4 entries",
    });
  });

  it("refuses a number that does not fit before anything is written", async () => {
    const before = await table.read();
    const entries = [
      [a, { number: [1, 1] }],
      [b, { number: [1, 2 ** 32] }],
    ] as const;
    expect(await errorOf(() => table.writeBatch(entries))).toBeInstanceOf(RangeError);
    expect(await table.read()).toEqual(before);
  });
});

describe("a trie of prefixes", () => {
  const v4 = tableOf("cidrs_v4", makeMap("cidrs_v4", 3));
  const v6 = tableOf("cidrs_v6", makeMap("cidrs_v6", 3));
  const hostV4 = (text: string) => cidrV4KeyOf(cidr(`${text}/32`));
  const hostV6 = (text: string) => cidrV6KeyOf(cidr(`${text}/128`));

  it("finds the longest prefix that covers an IPv4 address", async () => {
    const prefixes = ["10.0.0.0/8", "10.63.48.0/22", "10.63.49.0/24"];
    await v4.writeBatch(prefixes.map((each, i) => [cidrV4KeyOf(cidr(each)), { number: [i, i] }]));
    expect(v4.get(hostV4("10.1.2.3"))?.number[0]).toBe(0);
    expect(v4.get(hostV4("10.63.51.255"))?.number[0]).toBe(1);
    expect(v4.get(hostV4("10.63.49.7"))?.number[0]).toBe(2);
    expect(v4.get(hostV4("11.0.0.1"))).toBeUndefined();
    const read = (await v4.read()).map(([key]) => cidrOfV4Key(key).text);
    expect(read.sort()).toEqual(prefixes.sort());
  });

  it("and the one that covers an IPv6 address, also if lengths are no multiple of a word", async () => {
    const prefixes = ["::/0", "fd00:63:48::/45", "fd00:63:48:0:8000::/65"];
    await v6.writeBatch(prefixes.map((each, i) => [cidrV6KeyOf(cidr(each)), { number: [i, i] }]));
    expect(v6.get(hostV6("2001:db8::1"))?.number[0]).toBe(0);
    expect(v6.get(hostV6("fd00:63:4f:ffff::1"))?.number[0]).toBe(1);
    expect(v6.get(hostV6("fd00:63:50::1"))?.number[0]).toBe(0);
    expect(v6.get(hostV6("fd00:63:48:0:8000::1"))?.number[0]).toBe(2);
    expect(v6.get(hostV6("fd00:63:48:0:7fff::1"))?.number[0]).toBe(1);
  });

  it("reports that it is full", async () => {
    const error = await errorOf(() => v4.set(cidrV4KeyOf(cidr("12.0.0.0/8")), { number: [1, 1] }));
    expect(error).toMatchObject({ code: "ENOSPC", message: expect.stringContaining("at most 3 entries") });
  });
});

describe("an array", () => {
  it("leaves out zeros on request", async () => {
    const rows = tableOf("rows", makeMap("rows", 8));
    const [row, last] = [rowOf([0, 70]), rowOf([4095])];
    await rows.writeBatch([
      [2, row],
      [7, last],
    ]);
    expect(await rows.read({ skipZero: true })).toEqual([
      [2, row],
      [7, last],
    ]);
    const all = await rows.read();
    expect(all.map(([place]) => place)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(all[3]?.[1]).toEqual(rowOf([]));
  });

  it("has no entry beyond its end", async () => {
    const ports = tableOf("ports", makeMap("ports", 2));
    const error = await errorOf(() => ports.set(2, { number: [1, 1] }));
    expect(error).toMatchObject({ code: "E2BIG", message: expect.stringContaining("at most 2 entries") });
  });
});

describe("the counters", () => {
  it("are the values of all CPUs, and sum up", async () => {
    const table = tableOf("counters", makeMap("counters", 4));
    const cells = (packets: number): Count[] =>
      Array.from({ length: REASONS }, (_, i) => ({ packets: BigInt(packets + i), bytes: 100n }));
    const perCpu = Array.from(
      { length: possibleCpus() },
      (_, cpu): Counters => ({
        count: [
          [cells(cpu), cells(cpu * 1000)],
          [cells(cpu * 2), cells(7)],
        ],
      }),
    );
    table.set(3, perCpu);
    expect(await table.read({ skipZero: true })).toEqual([[3, perCpu]]);
    const total = perCpu.reduce((sum, _, cpu) => sum + cpu * 1000 + 5 + 7 + 5, 0);
    expect(sumCounters(table.get(3) ?? []).count[1][5]).toEqual({
      packets: BigInt(total),
      bytes: BigInt(200 * perCpu.length),
    });
    expect(() => table.set(1, [])).toThrow(`0 values for ${perCpu.length} CPUs`);
  });
});

describe("the policies", () => {
  const { type, keySize, valueSize, flags } = MAPS.policy.inner;
  const template = BpfMap.create({ type, name: "wt_rows", keySize, valueSize, flags, maxEntries: 1 });
  const inners = heldInner();
  opened.push(template, inners);
  const policies = nestedTableOf("policy", makeMap("policy", 8, template), inners);

  it("are inserted whole, opened, replaced and removed", async () => {
    expect(await policies.numbers()).toEqual([]);
    await policies.put(3, 5, [
      [0, 1],
      [4, 77],
    ]);
    await policies.put(6, 1, []);
    expect(await policies.numbers()).toEqual([3, 6]);
    {
      using rows = policies.open(3);
      expect([rows?.maxEntries, rows?.get(4), rows?.get(1)]).toEqual([5, 77, 0]);
      expect(await rows?.read({ skipZero: true })).toEqual([
        [0, 1],
        [4, 77],
      ]);
      rows?.set(1, 9);
    }
    {
      using rows = policies.open(3);
      expect(rows?.get(1)).toBe(9);
    }
    await policies.put(3, 100_000, [[99_999, 8]]);
    {
      using rows = policies.open(3);
      expect([rows?.maxEntries, rows?.get(99_999), rows?.get(4)]).toEqual([100_000, 8, 0]);
    }
    expect(await policies.deleteBatch([3, 5])).toBe(1);
    expect(await policies.numbers()).toEqual([6]);
    expect(policies.open(3)).toBeUndefined();
  });

  it("leave the previous state if new rows cannot be created", async () => {
    await policies.put(1, 2, [[1, 42]]);
    const error = await errorOf(() => policies.put(1, 2, [[2, 43]]));
    expect(error).toMatchObject({ code: "E2BIG", object: "map policy_rows" });
    using rows = policies.open(1);
    expect(rows?.get(1)).toBe(42);
  });
});

describe("a map of another shape", () => {
  it("is refused", () => {
    const map = makeMap("addresses_v4", 1);
    expect(() => tableOf("cidrs_v4", map)).toThrow(
      "open map cidrs_v4: type 1 with keys of 4 and values of 8 bytes, instead of type 11, 8 and 8",
    );
    expect(() => nestedTableOf("policy", map, heldInner())).toThrow("open map policy: type 1");
  });
});

describe("a closed map", () => {
  it("returns an operation error that names it", async () => {
    const map = makeMap("ports", 1);
    const table = tableOf("ports", map);
    map.close();
    for (const call of [() => table.get(0), () => table.read(), () => table.deleteBatch([0])]) {
      expect(await errorOf(call)).toMatchObject({ code: "CLOSED", object: "map wt_ports" });
    }
  });
});
