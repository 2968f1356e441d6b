// The flow table itself: all CPUs at once on few buckets, and what a pod's flood takes from others.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { BpfObject } from "bpf-ts";
import { afterAll, describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import { BITS, flowsIn, newSecret, SHAPES } from "../../src/datapath/flow-table.ts";
import { ensureSecret, readSecret } from "../../src/datapath/flow-table-pins.ts";
import { FlowState } from "../../src/gen/layout.ts";

const folder = mkdtempSync(join(tmpdir(), "wt-flow-table-"));
afterAll(() => rmSync(folder, { recursive: true }));

const FAMILIES = [
  { family: "v4", name: "conntrack_v4" },
  { family: "v6", name: "conntrack_v6" },
] as const;
type Family = (typeof FAMILIES)[number];

let built = 0;

function build(defines: readonly string[]): string {
  const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));
  const multiarch = execFileSync("gcc", ["-print-multiarch"], { encoding: "utf8" }).trim();
  const compiler = process.env["CLANG"] ?? "clang-19";
  const flags = ["-std=gnu2x", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra", "-Werror"];
  const includes = [
    "-Wno-unused-function",
    "-I",
    file("../../bpf"),
    "-idirafter",
    `/usr/include/${multiarch}`,
  ];
  const output = join(folder, `${built++}.bpf.o`);
  execFileSync(compiler, [...flags, ...defines, ...includes, "-c", file("flow-table.bpf.c"), "-o", output]);
  return output;
}

/** What a run found, since the last order. */
interface Found {
  readonly found: number;
  readonly absent: number;
  readonly wrong: number;
  readonly inserted: number;
  readonly refused: number;
}

interface Order {
  readonly incarnation: number;
  readonly tenant: number;
  readonly state: number;
  /** Units by which its flows expire after those of others that have the same state. */
  readonly later?: number;
  /** The first flow's number. */
  readonly next: number;
}

const NOTHING: Order = { incarnation: 0, tenant: 0, state: 0, next: 0 };
const ORDER_BYTES = 64;

async function openTable(buckets: number, defines: readonly string[] = []) {
  const object = BpfObject.open(build(defines));
  const sizes = { conntrack_v4: buckets, conntrack_v6: buckets };
  for (const { name } of FAMILIES) object.setMaxEntries(name, buckets);
  await object.load();
  const secretMap = object.map("flow_secret");
  ensureSecret(secretMap, sizes);
  const orders = object.map("orders");
  const key = Buffer.alloc(4);
  return {
    give({ incarnation, tenant, state, later = 0, next }: Order): void {
      const bytes = Buffer.alloc(ORDER_BYTES);
      bytes.writeUInt32LE(incarnation, 0);
      bytes.writeUInt32LE(tenant, 4);
      bytes.writeUInt32LE(state, 8);
      bytes.writeUInt32LE(later, 12);
      bytes.writeBigUInt64LE(BigInt(next), 16);
      orders.update(key, bytes);
    },
    async run(program: string, repeat: number): Promise<void> {
      using handle = object.program(program);
      await handle.testRunAsync({ data: Buffer.alloc(64), repeat, dataOutSize: 0 });
    },
    found(): Found {
      const bytes = orders.lookup(key) as Buffer;
      const number = (at: number) => Number(bytes.readBigUInt64LE(at));
      return {
        found: number(24),
        absent: number(32),
        wrong: number(40),
        inserted: number(48),
        refused: number(56),
      };
    },
    /** The map of the buckets. */
    buckets: ({ name }: Family) => object.map(name),
    flows({ name }: Family) {
      using map = object.map(name);
      using memory = map.mmap();
      const source = { memory, secret: readSecret(secretMap), shape: SHAPES[name], bits: BITS };
      const keys: string[] = [];
      // Each view is of one buffer, whose content changes.
      for (const { key: words } of flowsIn(source))
        keys.push(Buffer.from(words.buffer, words.byteOffset, words.byteLength).toString("hex"));
      return keys;
    },
    close(): void {
      orders.close();
      secretMap.close();
      object.close();
    },
  };
}

const RUNS = 2_000_000;

/** Two CPUs insert, refresh, evict and find 64 flows in two buckets of five places. */
async function hammer({ family }: Family, defines: readonly string[], runs = RUNS) {
  const table = await openTable(2, defines);
  try {
    table.give(NOTHING);
    await Promise.all([table.run(`hammer_${family}`, runs), table.run(`hammer_${family}`, runs)]);
    return {
      ...table.found(),
      flows: table.flows(FAMILIES.find((each) => each.family === family) as Family),
    };
  } finally {
    table.close();
  }
}

describe.each(FAMILIES)("on all CPUs at once, the table of IP$family", (each) => {
  it("never gives a flow the data of another, and has each flow once", { timeout: 120_000 }, async () => {
    const { found, absent, wrong, flows } = await hammer(each, []);
    expect(wrong).toBe(0);
    expect(found).toBeGreaterThan(RUNS / 20);
    expect(absent).toBeGreaterThan(RUNS / 20);
    expect(flows.length).toBeGreaterThan(0);
    expect(new Set(flows).size).toBe(flows.length);
  });

  it("would fail if places were not claimed and words not mixed", { timeout: 240_000 }, async () => {
    for (let attempt = 0; attempt < 5; attempt++) {
      const { wrong } = await hammer(each, ["-DCLAIMED=0", "-DMIXED=0"]);
      if (wrong > 0) return;
    }
    expect.fail("two CPUs that write over each other's entries went unnoticed");
  });
});

describe.each(FAMILIES)("in the table of IP$family, a flow", (each) => {
  const { family } = each;
  const order = (next: number): Order => ({ ...NOTHING, incarnation: 9, next });

  it("that two CPUs have inserted at once is found, and is there once", async () => {
    const table = await openTable(64);
    try {
      table.give(order(1));
      await table.run(`twice_${family}`, 1);
      expect(table.found()).toMatchObject({ inserted: 1 });
      table.give(order(1));
      await table.run(`get_${family}`, 1);
      expect(table.found()).toMatchObject({ found: 1 });
      expect(table.flows(each)).toHaveLength(1);
    } finally {
      table.close();
    }
  });

  it("takes no place that another insertion has claimed", async () => {
    const table = await openTable(2);
    try {
      using map = table.buckets(each);
      const { entriesAt, dataAt } = SHAPES[each.name];
      const keys = [0, 1].map((bucket) => Buffer.from(Uint32Array.of(bucket).buffer));
      const claimed = 1n << BigInt(BITS.stampAt);
      for (const key of keys) {
        const bucket = Buffer.from(present(map.lookup(key), "a bucket"));
        bucket.writeBigUInt64LE(claimed, entriesAt + dataAt);
        map.update(key, bucket);
      }
      table.give(order(0));
      await table.run(`put_${each.family}`, 8);
      expect(table.found().inserted).toBe(8);
      for (const key of keys)
        expect(Buffer.from(present(map.lookup(key), "a bucket")).readBigUInt64LE(entriesAt + dataAt)).toBe(
          claimed,
        );
    } finally {
      table.close();
    }
  });

  it("that has been removed is found after it has been inserted again, whatever is removed with it", async () => {
    const table = await openTable(2);
    try {
      for (let last = 0; last < 4; last++) {
        table.give(order(0));
        await table.run(`put_${family}`, 4);
        expect(table.found()).toMatchObject({ inserted: 4 });
        table.give(order(0));
        await table.run(`drop_${family}`, 4);
        expect(table.flows(each)).toEqual([]);
        // Now each in turn is the first to be there again.
        for (let i = 0; i < 4; i++) {
          table.give(order((last + i) % 4));
          await table.run(`put_${family}`, 1);
          table.give(order((last + i) % 4));
          await table.run(`get_${family}`, 1);
          expect(table.found()).toMatchObject({ found: 1 });
        }
      }
    } finally {
      table.close();
    }
  });
});

/** 8,192 flows of IPv4: as `conntrack-flows` has it. */
const BUCKETS = 4_096;
const FLOOD = 1_000_000;

describe.each(FAMILIES)("shares of the table of IP$family", ({ family }) => {
  const idle = (pod: number): Order => ({
    incarnation: 100 + pod,
    tenant: 1 + (pod % 50),
    state: FlowState.REPLIED | FlowState.CONFIRMED,
    next: 7_000_000 + pod,
  });
  // They come after the flood's. Flows of the same unit are taken in turn: a pod's would take another pod's in one of 15 runs.
  const dns = (pod: number): Order => ({ ...idle(pod), state: 0, later: 1, next: 8_000_000 + pod });
  const flood = (pod: number): Order => ({ incarnation: 10 + pod, tenant: 60, state: 0, next: 0 });

  const putAll = async (table: Awaited<ReturnType<typeof openTable>>, orders: readonly Order[]) => {
    for (const order of orders) {
      table.give(order);
      await table.run(`put_${family}`, 1);
      expect(table.found()).toMatchObject({ inserted: 1 });
    }
  };
  const expectAll = async (table: Awaited<ReturnType<typeof openTable>>, orders: readonly Order[]) => {
    for (const order of orders) {
      table.give(order);
      await table.run(`get_${family}`, 1);
      expect(table.found()).toMatchObject({ found: 1 });
    }
  };
  const pods = Array.from({ length: 50 }, (_, pod) => pod);

  it.each([1, 10])(
    "leave others' flows alone through a million flows of each of %i pods of a namespace",
    { timeout: 240_000 },
    async (floods) => {
      const table = await openTable(BUCKETS);
      try {
        await putAll(table, pods.map(idle));
        for (let pod = 0; pod < floods; pod++) {
          table.give(flood(pod));
          await table.run(`put_${family}`, FLOOD);
          expect(table.found().inserted + table.found().refused).toBe(FLOOD);
        }
        await expectAll(table, pods.map(idle));
        // What is new and unconfirmed finds places in the flooded table, and keeps them.
        await putAll(table, pods.map(dns));
        table.give({ ...flood(0), next: FLOOD });
        await table.run(`put_${family}`, FLOOD);
        await expectAll(table, [...pods.map(dns), ...pods.map(idle)]);
      } finally {
        table.close();
      }
    },
  );

  it("refuse a flow rather than take a confirmed one of another pod", { timeout: 120_000 }, async () => {
    const table = await openTable(2);
    try {
      // Ten places, ten pods.
      const owners = Array.from({ length: 10 }, (_, pod) => idle(pod));
      await putAll(table, owners);
      table.give({ ...flood(0), state: FlowState.REPLIED });
      await table.run(`put_${family}`, 1_000);
      expect(table.found()).toMatchObject({ inserted: 0, refused: 1_000 });
      await expectAll(table, owners);
    } finally {
      table.close();
    }
  });
});

/** As in flow-table.bpf.c. */
const PATTERNS = [
  "the next port",
  "the next address",
  "the highest bit of the ports",
  "the highest bit of the address",
  "the same hash but for the secret",
];
const PAIRS = 400_000;
/** By chance, one pair in so many. */
const COLLIDING = 4_096;

describe.each(FAMILIES)(
  "under a random secret, two keys of IP$family that an attacker chooses",
  ({ family }) => {
    it.each(PATTERNS.map((pattern, next) => ({ pattern, next })))(
      "are in one bucket by chance only, and never alike to a find: $pattern",
      async ({ next }) => {
        const table = await openTable(4_096);
        try {
          table.give({ ...NOTHING, next });
          await table.run(`collide_${family}`, PAIRS);
          const { found: first, absent: second, wrong: alike } = table.found();
          // Twice what chance makes is ten standard deviations above it. None at all would be a test that sees nothing.
          for (const together of [first, second]) {
            expect(together).toBeGreaterThan(0);
            expect(together).toBeLessThan((2 * PAIRS) / COLLIDING);
          }
          expect(alike).toBe(0);
        } finally {
          table.close();
        }
      },
    );
  },
);

it("has another secret each time", () => {
  const sizes = { conntrack_v4: 8, conntrack_v6: 8 };
  expect(newSecret(sizes)).not.toEqual(newSecret(sizes));
});
