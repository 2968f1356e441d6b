// Connections into a pod that is isolated for ingress only: without entries where the kernel's conntrack sees them, and none breaks when the pod becomes isolated for egress too.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import { run, track, untrack } from "./conntrack-rules.ts";
import { growth } from "./counted.ts";
import { FRIEND, FRIENDS_IN, SERVER, SERVER_V4, SERVER_V6, STRANGER, smallWorld } from "./small-world.ts";
import { type Kind, type Transfers, transfer } from "./transfers.ts";
import { openWorld, type World } from "./world.ts";

const REACHED_MS = 20_000;
const SILENT_MS = 1_500;

/** As a router of the way, which may report errors about others' packets. */
const ROUTER = "router";

const TABLE = "weir_stateless";
function trackAll(): void {
  track(TABLE);
  run("nft", "add", "chain", "inet", TABLE, "early", "{ type filter hook prerouting priority raw; }");
}
const notrack = (port: number): void => {
  for (const side of ["dport", "sport"])
    run("nft", "add", "rule", "inet", TABLE, "early", "tcp", side, String(port), "notrack");
};

const policy = (spec: string): string =>
  [
    "apiVersion: networking.k8s.io/v1",
    "kind: NetworkPolicy",
    "metadata: { name: more, namespace: shop }",
    `spec: { podSelector: { matchLabels: { role: server } }, ${spec} }`,
    "",
  ].join("\n");
const NO_EGRESS = policy("policyTypes: [Egress]");
const NOBODY_IN = FRIENDS_IN.replace("role: friend", "role: nobody");

let world: World;
let agent: Agent;
let transfers: Transfers | undefined;
let port = 7_000;

beforeAll(async () => {
  world = await openWorld({
    ...smallWorld("wt-less", { "friends.yaml": FRIENDS_IN }),
    machines: [{ name: ROUTER, addresses: ["10.63.61.100"] }],
  });
  agent = await world.start();
});

afterAll(() => world?.close());

beforeEach(() => {
  port += 10;
});

const FAMILIES = [
  { family: 4, address: SERVER_V4 },
  { family: 6, address: SERVER_V6 },
] as const;

/** Of the server's port. */
async function entries(): Promise<number> {
  const { stdout } = await world.weir("conntrack", "list", "-o", "json");
  const flows = JSON.parse(stdout) as { localPort: number }[];
  return flows.filter(({ localPort }) => localPort === port).length;
}

const changed = new Set<string>();
async function put(name: string, text: string): Promise<void> {
  await agent.change(() => world.manifests.put(name, text));
  changed.add(name);
}

const isolateBoth = () => put("more.yaml", NO_EGRESS);

afterEach(async () => {
  await transfers?.close();
  transfers = undefined;
  // A change that changes nothing is not waited for.
  if (changed.size > 0)
    await agent.change(() => {
      if (changed.has("friends.yaml")) world.manifests.put("friends.yaml", FRIENDS_IN);
      if (changed.has("more.yaml")) world.manifests.remove("more.yaml");
    });
  changed.clear();
});

/** Some first, which show the programs that the port has sockets on every CPU; then these. */
const FIRST = 20;
const THEN = 50;
const ALL = FIRST + THEN;

async function open(address: string, kind: Kind): Promise<Transfers> {
  transfers = await transfer(world.lab, { client: FRIEND, server: SERVER, address, port, kind });
  for (const count of [FIRST, THEN]) {
    await transfers.open(count);
    expect(await transfers.progress(REACHED_MS)).toBe(await transfers.count());
  }
  return transfers;
}

describe.each(FAMILIES)("IPv$family", ({ address }) => {
  describe.each(["echo", "push"] as const)("%s", (kind) => {
    describe("with the kernel's conntrack", () => {
      beforeAll(trackAll);
      afterAll(() => untrack(TABLE));

      it("most connections have no entries, and none breaks when the pod becomes isolated for egress too", async () => {
        const running = await open(address, kind);
        expect(await entries()).toBeLessThan(ALL - THEN / 2);
        await isolateBoth();
        expect(await running.progress(REACHED_MS)).toBe(ALL);
        expect(await entries()).toBe(ALL);
      });

      it("none breaks after conntrack has forgotten them all", async () => {
        const running = await open(address, kind);
        run("conntrack", "-F");
        expect(await running.progress(REACHED_MS)).toBe(ALL);
        await expect.poll(entries, { timeout: REACHED_MS }).toBe(ALL);
        await isolateBoth();
        expect(await running.progress(REACHED_MS)).toBe(ALL);
      });

      it("none breaks after a rule has taken them out of conntrack", async () => {
        const running = await open(address, kind);
        notrack(port);
        expect(await running.progress(REACHED_MS)).toBe(ALL);
        await expect.poll(entries, { timeout: REACHED_MS }).toBe(ALL);
        await isolateBoth();
        expect(await running.progress(REACHED_MS)).toBe(ALL);
      });

      it("all have entries where rules in the pod redirect them, and none breaks", async () => {
        const inside = (...args: readonly string[]) =>
          run("ip", "netns", "exec", world.lab.wire(SERVER).netns, "nft", ...args);
        inside("add", "table", "inet", TABLE);
        inside("add", "chain", "inet", TABLE, "in", "{ type nat hook prerouting priority dstnat; }");
        inside(
          "add",
          "rule",
          "inet",
          TABLE,
          "in",
          "tcp",
          "dport",
          String(port),
          "redirect",
          "to",
          `:${port + 1}`,
        );
        try {
          transfers = await transfer(world.lab, {
            client: FRIEND,
            server: SERVER,
            address,
            port,
            kind,
            listens: port + 1,
          });
          await transfers.open(ALL);
          expect(await transfers.progress(REACHED_MS)).toBe(ALL);
          expect(await entries()).toBe(ALL);
          await isolateBoth();
          expect(await transfers.progress(REACHED_MS)).toBe(ALL);
        } finally {
          inside("delete", "table", "inet", TABLE);
        }
      });

      it("all end when policy no longer allows them, and go on when it does again", async () => {
        const running = await open(address, kind);
        await put("friends.yaml", NOBODY_IN);
        // A window of new data may still come, of which nobody hears the acknowledgement.
        await expect.poll(() => running.progress(SILENT_MS, "settled"), { timeout: REACHED_MS }).toBe(0);
        await put("friends.yaml", FRIENDS_IN);
        changed.clear();
        expect(await running.progress(REACHED_MS)).toBe(ALL);
      });
    });

    describe("without", () => {
      it("all connections have entries, and none breaks when the pod becomes isolated for egress too", async () => {
        const running = await open(address, kind);
        expect(await entries()).toBe(ALL);
        await isolateBoth();
        expect(await running.progress(REACHED_MS)).toBe(ALL);
      });
    });
  });
});

describe("of what others send about such a connection", () => {
  const directory = mkdtempSync(join(tmpdir(), "wt-raw-"));
  const tool = join(directory, "raw");
  const FRIEND_V4 = "10.63.61.2";
  const STRANGER_V4 = "10.63.61.3";

  beforeAll(() => {
    const source = fileURLToPath(new URL("raw.c", import.meta.url));
    run("gcc", "-O1", "-Wall", "-Wextra", "-o", tool, source);
    trackAll();
  });

  afterAll(() => {
    untrack(TABLE);
    rmSync(directory, { recursive: true });
  });

  const send = (from: string, ...words: readonly (string | number)[]): string =>
    run("ip", "netns", "exec", world.lab.wire(from).netns, tool, ...words.map(String));

  /** The client's port of a connection of the friend that has no entry. */
  async function withoutEntry(): Promise<number> {
    const [listed, flows] = [
      run("conntrack", "-L", "-p", "tcp", "--dport", String(port), "--state", "ESTABLISHED"),
      (await world.weir("conntrack", "list", "-o", "json")).stdout,
    ];
    const known = (JSON.parse(flows) as { localPort: number; remotePort: number }[])
      .filter(({ localPort }) => localPort === port)
      .map(({ remotePort }) => remotePort);
    const [found] = [...listed.matchAll(/ sport=([0-9]+) dport=/g)]
      .map(([, client]) => Number(client))
      .filter((client) => client !== port && !known.includes(client));
    return present(found, "a connection without an entry");
  }

  it("ICMP errors pass if conntrack relates them, as long as policy allows the connection; segments of others do not", async () => {
    const running = await open(SERVER_V4, "echo");
    const client = await withoutEntry();
    const error = (from: string, of: number) =>
      send(from, "error", SERVER_V4, SERVER_V4, port, FRIEND_V4, of);
    const KEYS = ["ingress related", "ingress denied", "ingress untracked"] as const;
    const attempts = async () => {
      error(ROUTER, client);
      // Of no connection.
      error(ROUTER, 1);
      send(STRANGER, "tcp", STRANGER_V4, client, SERVER_V4, port, 0x10);
      send(STRANGER, "tcp", STRANGER_V4, client, SERVER_V4, port, 0x12);
      send(STRANGER, "tcp", STRANGER_V4, client, SERVER_V4, port, 0x11);
    };
    expect(await growth(world, SERVER, KEYS, attempts)).toEqual({
      "ingress related": 1,
      "ingress denied": 1,
      "ingress untracked": 3,
    });
    expect(await running.progress(REACHED_MS)).toBe(ALL);
    await put("friends.yaml", NOBODY_IN);
    const after = await growth(world, SERVER, ["ingress related", "ingress denied"], async () => {
      error(ROUTER, client);
      error(FRIEND, client);
    });
    expect(after).toEqual({ "ingress related": 0, "ingress denied": 2 });
  });

  it("another pod sends no ICMP errors about it", async () => {
    await open(SERVER_V4, "echo");
    const client = await withoutEntry();
    const atServer = await growth(world, SERVER, ["ingress related", "ingress denied"], async () => {
      const atStranger = await growth(world, STRANGER, ["egress router"], async () => {
        send(STRANGER, "error", SERVER_V4, SERVER_V4, port, FRIEND_V4, client);
      });
      expect(atStranger).toEqual({ "egress router": 1 });
    });
    expect(atServer).toEqual({ "ingress related": 0, "ingress denied": 0 });
  });

  it("a revoked connection stays revoked, whatever both sides send", async () => {
    const running = await open(SERVER_V4, "echo");
    const client = await withoutEntry();
    await put("friends.yaml", NOBODY_IN);
    // Each by itself would begin, answer or end a connection.
    for (const flags of [0x10, 0x12, 0x02, 0x11, 0x14])
      for (const [from, ends] of [
        [SERVER, [SERVER_V4, port, FRIEND_V4, client]],
        [FRIEND, [FRIEND_V4, client, SERVER_V4, port]],
      ] as const)
        if (from !== SERVER || (flags & 0x02) === 0) send(from, "tcp", ...ends, flags);
    expect(await running.progress(SILENT_MS, "settled")).toBe(0);
  });
});
