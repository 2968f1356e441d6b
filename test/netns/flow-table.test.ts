// The flow table as user space sees it: read through its memory, torn entries left out, its secret nowhere to be seen, another size after a
// restart.

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bucketsFor } from "../../src/datapath/flow-capacity.ts";
import { readFlows, type TableFlow } from "../../src/datapath/flow-reader.ts";
import { SHAPES } from "../../src/datapath/flow-table.ts";
import { readSecret } from "../../src/datapath/flow-table-pins.ts";
import { openPins, type Pins } from "../../src/datapath/pins.ts";
import { tableOf } from "../../src/datapath/typed-maps.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import { type Held, hold } from "./held.ts";
import { mismatchesOf } from "./reach.ts";
import {
  FRIEND,
  FRIENDS_ONLY,
  FRIENDS_ONLY_HOLDS,
  SERVER,
  SERVER_V4,
  SERVER_V6,
  smallWorld,
} from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const FLOWS = 8_192;

let world: World;
let agent: Agent;
const held: Held[] = [];

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-table", { "policy.yaml": FRIENDS_ONLY }));
  agent = await world.start("--conntrack-flows", String(FLOWS));
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  for (const [address, port] of [
    [SERVER_V4, 5004],
    [SERVER_V6, 5006],
  ] as const)
    held.push(await hold(world.lab, { client: FRIEND, server: SERVER, address, port }));
  for (const each of held) expect(await each.send("client", 20_000)).toBe("reached");
  for (const each of held) expect(await each.send("server", 20_000)).toBe("reached");
}, 240_000);

afterAll(async () => {
  for (const each of held) await each.close();
  world?.close();
});

function withPins<T>(use: (pins: Pins) => T): T {
  const pins = openPins(world.paths.bpffs);
  if (pins === undefined) throw new Error("nothing is pinned");
  try {
    return use(pins);
  } finally {
    pins.close();
  }
}

const flowsNow = (): TableFlow[] =>
  withPins((pins) => {
    const node = tableOf("node", pins.map("node")).get(0);
    if (node === undefined) throw new Error("the node has no settings");
    return [...readFlows(pins.map, node)];
  });

const textOf = ({ map, key }: TableFlow): string =>
  JSON.stringify([map, key], (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));

/** Of the connections that are held open. */
const heldFlows = (): TableFlow[] =>
  flowsNow().filter(
    ({ key }) => [5004, 5006].includes(key.localPort) || [5004, 5006].includes(key.remotePort),
  );

interface Occurrence {
  readonly what: string;
  readonly where: string;
}

/** Each way in which a word can be shown. */
function formsOf(word: bigint): Buffer[] {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(word);
  const reversed = Buffer.from(bytes).reverse();
  const texts = [bytes.toString("hex"), reversed.toString("hex"), String(word), word.toString(16)];
  return [bytes, reversed, ...texts.map((text) => Buffer.from(text))];
}

/** What nobody may see: the secret, and the key words of entries as they are stored, which show it to who knows the key. */
function hidden(): { readonly name: string; readonly forms: readonly Buffer[] }[] {
  return withPins((pins) => {
    const { hash, finish, chain, entry } = readSecret(pins.map("flow_secret"));
    const words = [
      ...hash.map((word, at) => [`hash ${at}`, word] as const),
      ["finish", finish] as const,
      ["chain", chain] as const,
      ["entry", entry] as const,
    ];
    const shape = SHAPES.conntrack_v4;
    const memory = pins.map("conntrack_v4").mmap();
    const bytes = Buffer.alloc(memory.byteLength);
    memory.read(bytes);
    memory.close();
    const stored: (readonly [string, bigint])[] = [];
    for (let at = shape.entriesAt; at < bytes.length; at += shape.size)
      for (let place = 0; place < shape.entries; place++) {
        const entryAt = at + place * shape.entrySize;
        if (bytes.readBigUInt64LE(entryAt + shape.dataAt) === 0n) continue;
        stored.push([`key of ${entryAt}`, bytes.readBigUInt64LE(entryAt + shape.keyAt)]);
      }
    expect(stored.length).toBeGreaterThan(0);
    return [...words, ...stored].map(([name, word]) => ({ name, forms: formsOf(word) }));
  });
}

describe("the secret", () => {
  it("is random: words differ, and the multipliers are odd", () => {
    const secret = withPins((pins) => readSecret(pins.map("flow_secret")));
    const words = [...secret.hash, secret.finish, secret.chain, secret.entry];
    expect(new Set(words).size).toBe(words.length);
    expect(words.every((word) => word > 2n ** 32n)).toBe(true);
    expect([secret.finish, secret.chain, secret.entry].map((word) => word & 1n)).toEqual([1n, 1n, 1n]);
    expect(secret.buckets).toEqual(Object.values(bucketsFor(FLOWS)));
  });

  it("is in no dump, snapshot or sysdump, and neither are stored keys", async () => {
    const shown = new Map<string, Buffer>();
    for (const args of [
      ["maps", "list", "-o", "json"],
      ["maps", "dump", "conntrack"],
      ["maps", "dump", "conntrack", "-o", "json"],
      ["maps", "dump", "conntrack", "--raw"],
      ["maps", "dump", "conntrack", "--raw", "-o", "ndjson"],
      ["maps", "dump", "statistics", "--raw", "-o", "json"],
      ["conntrack", "list", "-o", "yaml"],
      ["status", "-o", "json"],
      ["maps", "dump", "--diff", "-o", "json"],
    ]) {
      const { stdout, stderr } = await world.weir(...args);
      expect(stdout.length + stderr.length).toBeGreaterThan(0);
      shown.set(`weir ${args.join(" ")}`, Buffer.from(stdout + stderr));
    }
    const directory = dirname(world.paths.socket);
    const snapshot = join(directory, "snapshot.gz");
    expect(await world.weir("snapshot", "-o", snapshot)).toMatchObject({ status: 0 });
    shown.set("snapshot", gunzipSync(readFileSync(snapshot)));
    const archive = join(directory, "sysdump.tar.gz");
    expect(await world.weir("sysdump", "-o", archive)).toMatchObject({ status: 0 });
    shown.set("sysdump", gunzipSync(readFileSync(archive)));
    const inner = execFileSync("tar", ["xzOf", archive, "--wildcards", "*/kernel/maps.ndjson.gz"], {
      maxBuffer: 2 ** 26,
    });
    shown.set("maps of the sysdump", gunzipSync(inner));
    expect(shown.get("maps of the sysdump")?.toString()).toMatch(/"table":"conntrack"/);
    shown.set("log", Buffer.from(agent.stderr + agent.stdout));
    const found: Occurrence[] = hidden().flatMap(({ name, forms }) =>
      [...shown].flatMap(([where, bytes]) =>
        forms.some((form) => bytes.includes(form)) ? [{ what: name, where }] : [],
      ),
    );
    expect(found).toEqual([]);
    // The search finds what is there.
    const [flow] = heldFlows();
    expect(shown.get("weir conntrack list -o yaml")?.includes(String(flow?.key.remotePort))).toBe(true);
  });

  it("is no table", async () => {
    for (const name of ["flow_secret", "flow-secret", "secret"])
      expect(await world.weir("maps", "dump", name)).toMatchObject({ status: 4 });
  });
});

describe("an entry", () => {
  /** As if `look` happened while a CPU writes a key word of an IPv4 flow's entry, which is put back afterwards. */
  function whileTorn(change: bigint, look: () => void): void {
    withPins((pins) => {
      const shape = SHAPES.conntrack_v4;
      const map = pins.map("conntrack_v4");
      const index = Buffer.alloc(4);
      for (let bucket = 0; bucket < map.info.maxEntries; bucket++) {
        index.writeUInt32LE(bucket);
        const before = map.lookup(index);
        if (before === undefined || before.readBigUInt64LE(shape.entriesAt + shape.dataAt) === 0n) continue;
        const torn = Buffer.from(before);
        const at = shape.entriesAt + shape.keyAt;
        torn.writeBigUInt64LE(torn.readBigUInt64LE(at) ^ change, at);
        map.update(index, torn);
        try {
          look();
        } finally {
          map.update(index, before);
        }
        return;
      }
      throw new Error("there is no flow");
    });
  }

  it("with words of two keys is absent, and is the place of no other flow", () => {
    const before = flowsNow().map(textOf).sort();
    let seen = 0;
    for (let bit = 0n; bit < 64n; bit += 8n)
      whileTorn(1n << bit, () => {
        const others = flowsNow().map(textOf);
        const known = new Set(before);
        expect(others.filter((text) => known.has(text))).toHaveLength(before.length - 1);
        if (others.length === before.length) seen += 1;
      });
    // Another key belongs into the same bucket by chance, here in one of 2,048 cases.
    expect(seen).toBeLessThanOrEqual(1);
    expect(flowsNow().map(textOf).sort()).toEqual(before);
  });
});

describe("how full it is", () => {
  it("is in status, maps list and statistics", async () => {
    const { stdout } = await world.weir("status", "-o", "json");
    const { flows } = JSON.parse(stdout) as { flows: Record<string, unknown>[] };
    const { conntrack_v4, conntrack_v6 } = bucketsFor(FLOWS);
    expect(flows).toMatchObject([
      { family: "ipv4", max: 5 * conntrack_v4, evicted: { sameOwner: 0, unconfirmed: 0 }, refused: 0 },
      { family: "ipv6", max: 5 * conntrack_v6, evicted: { sameOwner: 0, unconfirmed: 0 }, refused: 0 },
    ]);
    expect((await world.weir("status")).stdout).toMatch(
      /^flows: {6}IPv4 \d+ of 20480 places, IPv6 \d+ of 10240 places; evicted 0 of the same pod, 0 unconfirmed of others; refused 0$/m,
    );
    const listed = JSON.parse((await world.weir("maps", "list", "-o", "json")).stdout) as {
      map: string;
      entries: number;
      max: number;
    }[];
    const shown = JSON.parse((await world.weir("conntrack", "list", "-o", "json")).stdout) as {
      local: string;
    }[];
    const of = (map: string) => listed.find((each) => each.map === map);
    expect(of("conntrack_v4")).toMatchObject({ max: 20_480 });
    expect((of("conntrack_v4")?.entries ?? 0) + (of("conntrack_v6")?.entries ?? 0)).toBe(shown.length);
    const counts = JSON.parse((await world.weir("maps", "dump", "statistics", "-o", "json")).stdout) as {
      inserted: number;
    }[];
    expect(counts).toHaveLength(2);
    expect(counts.every(({ inserted }) => inserted > 0)).toBe(true);
  });
});

describe("another size", () => {
  it.each([2 * FLOWS, FLOWS])(
    "of %i flows has the live flows after a restart, and a secret of its own",
    async (flows) => {
      const before = heldFlows().map(textOf).sort();
      const secret = withPins((pins) => readSecret(pins.map("flow_secret")));
      expect(before.length).toBeGreaterThan(0);
      await agent.stop();
      agent = await world.start("--conntrack-flows", String(flows));
      expect(agent.stderr).toMatch(
        /flows of another layout migrated layout=\S+\/earlier\/\d+ flows=[1-9]\d*/,
      );
      expect(heldFlows().map(textOf).sort()).toEqual(before);
      const after = withPins((pins) => ({
        secret: readSecret(pins.map("flow_secret")),
        buckets: [pins.map("conntrack_v4").info.maxEntries, pins.map("conntrack_v6").info.maxEntries],
      }));
      expect(after.buckets).toEqual(Object.values(bucketsFor(flows)));
      expect(after.secret.buckets).toEqual(after.buckets);
      expect(after.secret.entry).not.toBe(secret.entry);
      const [digest = ""] = readdirSync(world.paths.bpffs).filter((name) => name !== "links");
      expect(readdirSync(join(world.paths.bpffs, digest))).not.toContain("earlier");
      // The server may send nothing but answers.
      for (const each of held) expect(await each.send("server", 20_000)).toBe("reached");
      for (const each of held) expect(await each.send("client", 20_000)).toBe("reached");
    },
  );

  it("of the same number of flows leaves the tables as they are", async () => {
    const ids = () => withPins((pins) => [pins.map("conntrack_v4").info.id, pins.map("flow_secret").info.id]);
    const before = ids();
    await agent.stop();
    agent = await world.start("--conntrack-flows", String(FLOWS));
    expect(ids()).toEqual(before);
    for (const each of held) expect(await each.send("server", 20_000)).toBe("reached");
  });
});
