// What the commands show of real maps: with an agent in names, without one the same in numbers.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Agent } from "../../src/lab/weir-process.ts";
import { TABLE_NAMES } from "../../src/observe/dump/map-tables.ts";
import type { EndpointRow } from "../../src/observe/endpoints-table.ts";
import { mismatchesOf } from "./reach.ts";
import { FRIENDS_ONLY_HOLDS, SERVER_V4, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

/** The friend may connect on every port, an outside block with an exception on some, and no egress is allowed. */
const POLICY = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: friends-and-block, namespace: shop }
spec:
  podSelector: { matchLabels: { role: server } }
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{ podSelector: { matchLabels: { role: friend } } }]
  - from: [{ ipBlock: { cidr: 198.51.100.0/24, except: [198.51.100.64/26] } }]
    ports: [{ port: 8000, endPort: 8080 }, { protocol: UDP, port: 53 }]
`;
const NAME = "shop/friends-and-block";

type Rows = readonly Readonly<Record<string, unknown>>[];

let world: World;
let agent: Agent;
/** Every table as JSON, while the agent answers. */
let named: ReadonlyMap<string, unknown>;

const json = async (...args: readonly string[]): Promise<unknown> => {
  const { status, stdout, stderr } = await world.weir(...args, "-o", "json");
  expect({ args, status, stderr }).toEqual({ args, status: 0, stderr: "" });
  return JSON.parse(stdout);
};

async function dumpAll(): Promise<Map<string, unknown>> {
  const dumps = new Map<string, unknown>();
  for (const name of TABLE_NAMES) dumps.set(name, await json("maps", "dump", name));
  return dumps;
}

const rows = (name: string): Rows => named.get(name) as Rows;
const find = (name: string, field: string, value: unknown) => rows(name).find((row) => row[field] === value);

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-dump", { "policy.yaml": POLICY }));
  agent = await world.start();
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  named = await dumpAll();
});

afterAll(() => world?.close());

describe("maps dump", () => {
  it("cidrs shows each prefix of the block, and what it means", () => {
    const where = `${NAME} ingress[1].from`;
    expect(rows("cidrs")).toEqual([
      {
        cidr: "198.51.100.0/24",
        identity: expect.any(Number),
        meaning: [`${where}[0]: in the block`],
        matches: [where],
      },
      {
        cidr: "198.51.100.64/26",
        identity: expect.any(Number),
        meaning: [`${where}[0]: excepted`],
        matches: [],
      },
    ]);
  });

  it("addresses and endpoints name the pods", () => {
    expect(find("addresses", "address", "10.63.61.2")).toMatchObject({
      pod: "shop/friend",
      matches: [`${NAME} ingress[0].from`],
    });
    expect(find("endpoints", "pod", "shop/server")).toMatchObject({
      interface: world.lab.wire("shop/server").link,
      addresses: ["10.63.61.1", "fd63:61::1"],
      policy: { ingress: expect.any(Number), egress: expect.any(Number) },
    });
    expect(find("endpoints", "pod", "shop/stranger")).toMatchObject({ policy: { ingress: 0, egress: 0 } });
  });

  it("policy says which peers have which ports", () => {
    const { policy } = find("endpoints", "pod", "shop/server") as {
      policy: { ingress: number; egress: number };
    };
    const nothing = { identity: 0, row: 0, ports: "nothing" };
    expect(find("policy", "policy", policy.egress)).toMatchObject({
      of: ["egress of shop/server"],
      from: [NAME],
      cells: [nothing],
    });
    const ingress = find("policy", "policy", policy.ingress) as { cells: readonly { ports: string }[] };
    expect(ingress).toMatchObject({ of: ["ingress of shop/server"], from: [NAME] });
    expect(ingress.cells).toContainEqual(expect.objectContaining(nothing));
    expect(ingress.cells).toContainEqual(
      expect.objectContaining({ ports: "all", peers: [`${NAME} ingress[0].from`] }),
    );
    expect(ingress.cells).toContainEqual(
      expect.objectContaining({ ports: "TCP/8000-8080,UDP/53", peers: [`${NAME} ingress[1].from`] }),
    );
  });

  it("ports are shown as ranges, rows as their ports", () => {
    expect(rows("ports").map(({ ports }) => ports)).toEqual(["TCP/8000-8080", "UDP/53"]);
    expect(rows("rows").map(({ ports }) => ports)).toEqual(["TCP/8000-8080,UDP/53"]);
  });

  it("conntrack shows the flows that were allowed, and none that was denied", () => {
    const flows = rows("conntrack").filter(
      ({ pod, state }) => pod === "shop/server" && !(state as readonly string[]).includes("node"),
    );
    expect(new Set(flows.map(({ peer }) => peer))).toEqual(new Set(["shop/friend"]));
    expect(flows).toContainEqual(
      expect.objectContaining({
        protocol: "UDP",
        protocolNumber: 17,
        local: SERVER_V4,
        localPort: 80,
        opener: "ingress",
      }),
    );
    const left = flows.map(({ expiresMs }) => Number(expiresMs) / 1_000);
    expect(Math.max(...left)).toBeGreaterThan(0);
    expect(Math.max(...left)).toBeLessThan(5 * 24 * 3_600);
  });

  it("counters show what was dropped, and why", () => {
    const own = { pod: "shop/server", verdict: "dropped", reason: "denied" };
    for (const direction of ["ingress", "egress"]) {
      const found = rows("counters").find((row) =>
        Object.entries({ ...own, direction }).every(([field, value]) => row[field] === value),
      );
      expect(found?.["packets"]).toBeGreaterThan(0);
    }
  });

  it("--pod shows one pod's own, and -o ndjson a line for each entry", async () => {
    // No rule names the server: its addresses need no entry.
    const withoutEntries = ["fragments", "addresses"];
    for (const name of ["endpoints", "addresses", "policy", "conntrack", "counters", "fragments"]) {
      const args = ["maps", "dump", name, "--pod", "shop/server", "-o", "ndjson"];
      const { status, stdout } = await world.weir(...args);
      const own = stdout
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line));
      expect({ name, status }).toEqual({ name, status: 0 });
      const of = (row: { pod?: string; of?: readonly string[] }) =>
        row.pod ?? row.of?.find((side) => side.endsWith(" of shop/server"))?.replace(/.* /, "");
      expect(own.map(of)).toEqual(own.map(() => "shop/server"));
      if (!withoutEntries.includes(name)) expect(own).not.toEqual([]);
    }
    const friends = await world.weir("maps", "dump", "addresses", "--pod", "shop/friend", "-o", "json");
    expect(JSON.parse(friends.stdout)).not.toEqual([]);
    expect(await world.weir("maps", "dump", "rows", "--pod", "shop/server")).toMatchObject({
      status: 2,
      stderr: "weir: --pod: nothing in rows belongs to a pod\n",
    });
    expect(await world.weir("maps", "dump", "endpoints", "--pod", "shop/nobody")).toMatchObject({
      status: 4,
      stderr: "weir: no pod shop/nobody is known to the agent\n",
    });
  });

  it("node is at the generation that status reports", async () => {
    const { generation } = (await json("status")) as { generation: { applied: number } };
    expect(named.get("node")).toMatchObject({ generation: generation.applied });
  });

  it("of bytes has as many entries as the list counts", async () => {
    const listed = (await json("maps", "list")) as readonly { map: string; entries: number; max: number }[];
    for (const table of ["cidrs", "addresses", "endpoints", "ports", "rows", "node"]) {
      const maps = (await json("maps", "dump", table, "--raw")) as readonly {
        map: string;
        entries: unknown[];
      }[];
      for (const { map, entries } of maps) {
        expect({ map, entries: entries.length }).toEqual({
          map,
          entries: listed.find((each) => each.map === map)?.entries,
        });
      }
    }
    expect(listed.find(({ map }) => map === "cidrs_v4")).toMatchObject({ entries: 2, max: 524_288 });
  });

  it.each(TABLE_NAMES)("%s as a table and as bytes is readable too", async (name) => {
    for (const more of [[], ["--raw"]]) {
      const { status, stdout, stderr } = await world.weir("maps", "dump", name, ...more);
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      expect(stdout).toMatch(more.length === 0 ? /^ *[A-Z-]+( +[A-Z-]+)+\n/ : /^# \S+: \S+, key .*\n/);
      expect(stdout).not.toMatch(/undefined|\[object|NaN/);
    }
  });
});

it("get endpoints counts packets by verdict", async () => {
  const [server] = (await json("get", "endpoints", "--pod", "shop/server")) as Rows;
  expect(server).toMatchObject({ state: "enforced", ingress: { isolatedBy: [NAME] } });
  const counted = { packets: expect.any(Number), bytes: expect.any(Number) };
  expect(server?.["traffic"]).toMatchObject({
    ingress: { allowed: counted, dropped: counted },
    egress: { allowed: counted, dropped: counted },
  });
  const traffic = server?.["traffic"] as EndpointRow["traffic"];
  for (const counts of [traffic?.ingress.allowed, traffic?.ingress.dropped, traffic?.egress.dropped]) {
    expect(counts?.packets).toBeGreaterThan(0);
  }
});

describe("without an agent", () => {
  /** Fields that only the agent can fill, and the one that changes with time. */
  const NAMED = ["meaning", "matches", "pod", "peer", "peers", "of", "from", "expiresMs"];
  const withoutNames = (value: unknown): unknown =>
    JSON.parse(JSON.stringify(value, (field, each: unknown) => (NAMED.includes(field) ? undefined : each)));

  /** These are the programs' own: other packets pass meanwhile. */
  const OF_PROGRAMS = new Set([
    "conntrack",
    "statistics",
    "counters",
    "fragments",
    "events",
    "known",
    "denied",
    "uplinks",
  ]);

  beforeAll(() => agent.kill());

  it("every table shows the same, in numbers", async () => {
    for (const [name, value] of await dumpAll()) {
      if (OF_PROGRAMS.has(name)) continue;
      expect({ name, value }).toEqual({ name, value: withoutNames(named.get(name)) });
    }
  });

  it("status is down, and summarizes what the kernel goes on enforcing", async () => {
    const { status, stdout } = await world.weir("status");
    expect(status).toBe(8);
    expect(stdout).toMatch(/^down: no agent answers; the kernel enforces/);
    expect(stdout).toContain("4 endpoints, 1 isolated for ingress, 1 for egress");
  });

  it("get endpoints shows what the kernel enforces, by the names that the agent has recorded, and reports why", async () => {
    const { status, stdout, stderr } = await world.weir("get", "endpoints", "-o", "wide");
    expect({ status, lines: stdout.trimEnd().split("\n").length }).toEqual({ status: 0, lines: 5 });
    expect(stdout).toContain("10.63.61.1,fd63:61::1");
    expect(stderr).toMatch(
      /^weir: no agent answers at \S+; shown is what the kernel enforces, with the pods that the last agent recorded\n$/,
    );
    expect(stdout).toMatch(
      /^shop +server +\S+ +\d+ +10\.63\.61\.1,fd63:61::1 +policy \d+ +policy \d+ +enforced /m,
    );
    const named = async (...args: readonly string[]) =>
      (await world.weir("get", "pods", "-o", "name", ...args)).stdout;
    expect(await named("-l", "role=server")).toBe("shop/server\n");
    expect(await named("-n", "none")).toBe("");
    expect((await world.weir("get", "pods", "absent")).status).toBe(4);
  });
});
