// Entries of the flow table: decoded from bytes as bpf/layout.h describes them, and left out while they are torn.
import { describe, expect, it } from "vitest";
import { fragmentsFor } from "../../../src/datapath/flow-capacity.ts";
import {
  BITS,
  flowsIn,
  flowsInTurns,
  flowTimeOf,
  generationOf,
  newSecret,
  SHAPES,
  type TableName,
  ticksOf,
  useOf,
} from "../../../src/datapath/flow-table.ts";
import {
  decodeFlowV4Key,
  decodeFlowV6Key,
  encodeFlowV4Key,
  encodeFlowV6Key,
  FLOW_STAMP_AT,
  FLOW_STATE_AT,
  type FlowSecret,
  type FlowV4Key,
  type FlowV6Key,
} from "../../../src/gen/layout.ts";

describe("the map of fragments", () => {
  it("is larger where many CPUs keep free entries from each other", () => {
    expect([1, 2, 32, 64, 256].map(fragmentsFor)).toEqual([8_192, 8_192, 8_192, 16_384, 65_536]);
  });
});

const BUCKETS = 1_000;
const SECRET = newSecret({ conntrack_v4: BUCKETS, conntrack_v6: BUCKETS });

const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
const fold = (value: bigint): bigint => value ^ (value >> 32n);

/** An entry's data: expires 1,000, stamp 7, state 3, opened by the pod. */
const dataOf = (nonce: bigint, expires = 1_000n): bigint =>
  expires | (7n << BigInt(FLOW_STAMP_AT)) | (3n << BigInt(FLOW_STATE_AT)) | (1n << 60n) | (nonce << 61n);

/** The words of an entry, and its two buckets, by the text of bpf/layout.h. */
function stored(words: readonly bigint[], data: bigint, secret: FlowSecret = SECRET) {
  let chain = 0n;
  const key = words.map((word) => {
    const mixed = word ^ chain ^ u64((data >> 60n) * secret.entry);
    chain = fold(u64((chain ^ word) * secret.chain));
    return mixed;
  });
  const half = (value: bigint, at: bigint): bigint => (value >> at) & 0xffff_ffffn;
  const sum = words.reduce((total, word, i) => {
    const part = (at: bigint): bigint => (half(word, at) + half(secret.hash[i] ?? 0n, at)) & 0xffff_ffffn;
    return total + part(0n) * part(32n);
  }, 0n);
  const hash = fold(u64(sum * secret.finish));
  const first = Number((half(hash, 32n) * BigInt(BUCKETS)) >> 32n);
  const second = Number((half(hash, 0n) * BigInt(BUCKETS)) >> 32n);
  return { key, first, second: second !== first ? second : first === 0 ? 1 : first - 1 };
}

class Table {
  readonly bytes: Buffer;
  /** What each further read finds, before the bytes. */
  readonly once: Buffer[] = [];
  reads = 0;
  readonly name: TableName;

  constructor(name: TableName) {
    this.name = name;
    this.bytes = Buffer.alloc(BUCKETS * SHAPES[name].size);
  }

  put(bucket: number, place: number, data: bigint, key: readonly bigint[]): number {
    const { size, entriesAt, entrySize, dataAt, keyAt } = SHAPES[this.name];
    const at = bucket * size + entriesAt + place * entrySize;
    this.bytes.writeBigUInt64LE(data, at + dataAt);
    for (const [i, word] of key.entries()) this.bytes.writeBigUInt64LE(word, at + keyAt + 8 * i);
    return at;
  }

  get source() {
    return {
      secret: SECRET,
      shape: SHAPES[this.name],
      bits: BITS,
      memory: {
        byteLength: this.bytes.length,
        read: (target: Uint8Array, offset = 0) => {
          this.reads += 1;
          (this.once.shift() ?? this.bytes).copy(target, 0, offset, offset + target.byteLength);
        },
      },
    };
  }

  flows() {
    const decode = this.name === "conntrack_v4" ? decodeFlowV4Key : decodeFlowV6Key;
    return [...flowsIn(this.source).map(({ key, ...flow }) => ({ ...flow, key: decode(key, 0) }))];
  }
}

function wordsOf<K>(key: K, encode: (key: K, view: DataView, at: number) => void, count: number): bigint[] {
  const view = new DataView(new ArrayBuffer(8 * count));
  encode(key, view, 0);
  return Array.from({ length: count }, (_, i) => view.getBigUint64(8 * i, true));
}

const keyV4 = (number: number): FlowV4Key => ({
  owner: (9 << 8) | 6,
  localPort: 80,
  remotePort: 40_000,
  local: 0x0a000001,
  remote: 0x0b000000 + number,
});
const keyV6 = (number: number): FlowV6Key => ({
  owner: (9 << 8) | 17,
  localPort: 53,
  remotePort: 40_000,
  local: { high: 0xfd00n << 48n, low: 1n },
  remote: { high: 0xfd01n << 48n, low: BigInt(number) },
});
const wordsV4 = (number: number) => wordsOf(keyV4(number), encodeFlowV4Key, 2);
const wordsV6 = (number: number) => wordsOf(keyV6(number), encodeFlowV6Key, 5);

const FLOW = { expires: 1_000, stamp: 7, state: 3, opener: 1 };

describe("flows", () => {
  it("are found in their first and in their second bucket, whatever their nonces", () => {
    const [v4, v6] = [new Table("conntrack_v4"), new Table("conntrack_v6")];
    for (let number = 0; number < 200; number++) {
      const data = dataOf(BigInt(number % 8));
      const [a, b] = [stored(wordsV4(number), data), stored(wordsV6(number), data)];
      v4.put(number % 2 === 0 ? a.first : a.second, number % 5, data, a.key);
      v6.put(number % 2 === 0 ? b.first : b.second, number % 5, data, b.key);
    }
    // Some have taken the places of others.
    for (const [table, key] of [
      [v4, keyV4],
      [v6, keyV6],
    ] as const) {
      const found = table.flows();
      expect(found.length).toBeGreaterThan(150);
      const known = new Set(Array.from({ length: 200 }, (_, number) => textOf(key(number))));
      for (const flow of found) {
        expect(flow).toMatchObject(FLOW);
        expect(known.delete(textOf(flow.key))).toBe(true);
      }
    }
  });

  it("in other buckets than their own are none", () => {
    const table = new Table("conntrack_v4");
    const { key, first, second } = stored(wordsV4(1), dataOf(0n));
    for (let bucket = 0; bucket < BUCKETS; bucket++) table.put(bucket, 0, dataOf(0n), key);
    expect(table.flows()).toHaveLength(first === second ? 1 : 2);
  });

  it("free places and places that an insertion has claimed are none", () => {
    const table = new Table("conntrack_v4");
    const { key, first } = stored(wordsV4(1), dataOf(0n));
    table.put(first, 0, 0n, key);
    table.put(first, 1, 1n << BigInt(FLOW_STAMP_AT), key);
    expect(table.flows()).toEqual([]);
  });
});

const textOf = (key: object): string =>
  JSON.stringify(key, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));

describe("an entry that is torn", () => {
  it.each([0, 1])("with word %i of another flow is absent", (which) => {
    let seen = 0;
    for (let number = 0; number < 200; number++) {
      const table = new Table("conntrack_v4");
      const data = dataOf(1n);
      const mine = stored(wordsV4(number), data);
      const other = stored(wordsV4(number + 1_000), dataOf(2n));
      table.put(mine.first, 2, data, mine.key.with(which, other.key[which] as bigint));
      seen += table.flows().length;
    }
    // Two buckets of a thousand are the right ones for any key.
    expect(seen).toBeLessThan(6);
  });

  it("with the data of another insertion is absent, although it is the same flow", () => {
    let seen = 0;
    for (let number = 0; number < 200; number++) {
      const table = new Table("conntrack_v4");
      const { key, first } = stored(wordsV4(number), dataOf(1n));
      table.put(first, 2, dataOf(2n), key);
      seen += table.flows().length;
    }
    expect(seen).toBeLessThan(6);
  });

  it("is read again, and then found", () => {
    const table = new Table("conntrack_v4");
    const data = dataOf(1n);
    const { key, first } = stored(wordsV4(3), data);
    const at = table.put(first, 2, data, key);
    const torn = Buffer.from(table.bytes);
    torn.writeBigUInt64LE(5n, at + SHAPES.conntrack_v4.keyAt);
    // Where two copies differ, neither counts, not even the one that is whole.
    const chunkBytes = 64 * 1024;
    const chunks = Math.ceil(table.bytes.length / chunkBytes);
    for (let read = 0; read < 2 * (Math.floor(at / chunkBytes) + 1); read++)
      table.once.push(read % 2 === 0 ? torn : table.bytes);
    expect(table.flows()).toMatchObject([{ ...FLOW, key: keyV4(3) }]);
    expect(table.reads).toBeGreaterThan(2 * chunks);
  });
});

describe("flows in turns", () => {
  it("are the same, and others have their turn between chunks where nothing is", async () => {
    const table = new Table("conntrack_v6");
    const data = dataOf(0n);
    const { key, first } = stored(wordsV6(1), data);
    table.put(first, 0, data, key);
    let pauses = 0;
    const found: FlowV6Key[] = [];
    for await (const flow of flowsInTurns(table.source, async () => {
      pauses += 1;
    }))
      found.push(decodeFlowV6Key(flow.key, 0));
    expect(found).toEqual([keyV6(1)]);
    expect(pauses).toBe(Math.ceil(table.bytes.length / (64 * 1024)));
  });
});

describe("how full it is", () => {
  it("counts flows that have not expired, without the secret", async () => {
    const table = new Table("conntrack_v6");
    for (let number = 0; number < 100; number++) {
      const data = dataOf(0n, BigInt(number + 1));
      table.put(number * 7, number % 5, data, stored(wordsV6(number), data).key);
    }
    let pauses = 0;
    const pause = async () => {
      pauses += 1;
    };
    expect(await useOf(table.source, 0, pause)).toEqual({ live: 100, places: 5 * BUCKETS });
    expect(await useOf(table.source, 40, pause)).toEqual({ live: 60, places: 5 * BUCKETS });
    expect(await useOf(table.source, 100, pause)).toEqual({ live: 0, places: 5 * BUCKETS });
    expect(pauses).toBe(3 * Math.ceil(table.bytes.length / (64 * 1024)));
  });
});

describe("flow time and stamps", () => {
  it.each([7, 8, 10])("units of 2^%i ticks round down, and come back as their first tick", (shift) => {
    const ticks = 2n ** 32n + 123_456_789n;
    const back = ticksOf(flowTimeOf(ticks, shift), shift);
    expect(back <= ticks && ticks - back < 1n << BigInt(shift)).toBe(true);
    expect(flowTimeOf(back, shift)).toBe(flowTimeOf(ticks, shift));
  });

  it.each([
    [5, 5, 5],
    [4, 5, 4],
    [0, 2 ** 26, 2 ** 26],
    [2 ** 26 - 1, 2 ** 26, 2 ** 26 - 1],
    [7, 2 ** 27 + 6, 2 ** 26 + 7],
    [2 ** 26 - 2, 2 ** 32 - 1, 2 ** 32 - 2],
  ])("stamp %i at generation %i is of generation %i", (stamp, current, generation) => {
    expect(generationOf(stamp, current)).toBe(generation);
  });
});

it("secrets differ, and their multipliers are odd", () => {
  const other = newSecret({ conntrack_v4: BUCKETS, conntrack_v6: BUCKETS });
  for (const { hash, finish, chain, entry } of [SECRET, other]) {
    expect(new Set([...hash, finish, chain, entry]).size).toBe(8);
    expect([finish, chain, entry].map((word) => word & 1n)).toEqual([1n, 1n, 1n]);
  }
  expect(other.hash).not.toEqual(SECRET.hash);
});
