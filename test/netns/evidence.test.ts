// Connections that are older than the isolation of their pod: the kernel's conntrack and the pod's socket show who opened them, or nothing does.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Agent } from "../../src/lab/weir-process.ts";
import { run, track, untrack } from "./conntrack-rules.ts";
import { type Held, hold, type Side } from "./held.ts";
import { FRIEND, SERVER, SERVER_V4, SERVER_V6, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

/** The pod that becomes isolated is the server's. */
const POD = SERVER;
const OTHER = FRIEND;
const FAMILIES = [
  { family: 4, pod: SERVER_V4, other: "10.63.61.2" },
  { family: 6, pod: SERVER_V6, other: "fd63:61::2" },
] as const;
type Family = (typeof FAMILIES)[number];

const SILENT_MS = 1_500;
const REACHED_MS = 20_000;

const isolated = (...directions: readonly ("Ingress" | "Egress")[]): string =>
  [
    "apiVersion: networking.k8s.io/v1",
    "kind: NetworkPolicy",
    "metadata: { name: isolated, namespace: shop }",
    `spec: { podSelector: { matchLabels: { role: server } }, policyTypes: [${directions.join(", ")}] }`,
    "",
  ].join("\n");

const TABLE = "weir_evidence";

/** Of nf_conntrack_tcp.h and nf_conntrack_common.h. */
const STATES = {
  SYN_SENT: 1,
  SYN_RECV: 2,
  ESTABLISHED: 3,
  FIN_WAIT: 4,
  CLOSE_WAIT: 5,
  LAST_ACK: 6,
  TIME_WAIT: 7,
  CLOSE: 8,
} as const;
const SEEN_REPLY = 2;
const ASSURED = 4;
const GOOD = SEEN_REPLY | ASSURED;
/** The kernel accepts no other. */
const CONFIRMED = 8;
const LIBERAL = 0x08;

interface Entry {
  readonly state: keyof typeof STATES;
  readonly status: number;
  readonly flags: number;
  readonly zone: number;
  readonly originalZone: number;
  readonly sourcePort: number;
  readonly isReversed: boolean;
}

const directory = mkdtempSync(join(tmpdir(), "wt-entry-"));
const entryTool = join(directory, "entry");

beforeAll(() => {
  const source = fileURLToPath(new URL("entry.c", import.meta.url));
  run("gcc", "-O1", "-Wall", "-Wextra", "-o", entryTool, source);
});

afterAll(() => rmSync(directory, { recursive: true }));

let world: World;
let agent: Agent;
let held: Held | undefined;
let port = 6_000;
/** Below those that the kernel chooses: another connection might have it. */
let localPort = 26_000;

type EntryCase = [name: string, entry: Partial<Entry> | undefined, result: "reached" | "silent"];
/** What is looked up: each hook has a function of its own for that. */
const FOUND: readonly EntryCase[] = [
  ["none", undefined, "silent"],
  ["as conntrack makes it", {}, "reached"],
  ["in another zone", { zone: 5 }, "silent"],
  ["in another zone in the opener's direction", { originalZone: 5 }, "silent"],
  ["of another port", { sourcePort: 9 }, "silent"],
  ["of the other direction", { isReversed: true }, "silent"],
];
/** What counts of an entry that is found: one function for both hooks. */
const CONDITIONS: readonly EntryCase[] = [
  ["that allows selective acknowledgements and scales windows", { flags: 0x03 }, "reached"],
  ["of a connection that one side has ended", { state: "FIN_WAIT" }, "reached"],
  ["of one that the other has ended", { state: "CLOSE_WAIT" }, "reached"],
  ["that was picked up in mid-stream", { flags: LIBERAL }, "silent"],
  ["that has seen the first segment only", { state: "SYN_SENT", status: SEEN_REPLY }, "silent"],
  ["that claims more than a first segment shows", { state: "SYN_SENT" }, "silent"],
  ["without the last of the handshake", { state: "SYN_RECV" }, "silent"],
  ["that has seen no answer", { status: ASSURED }, "silent"],
  ["that is not assured", { status: SEEN_REPLY }, "silent"],
  ["that both sides have ended", { state: "LAST_ACK" }, "silent"],
  ["in TIME_WAIT", { state: "TIME_WAIT" }, "silent"],
  ["that a reset has closed", { state: "CLOSE" }, "silent"],
];

describe.each(["tc", "xdp"] as const)("by %s", (hook) => {
  beforeAll(async () => {
    world = await openWorld(smallWorld("wt-evid"));
    track(TABLE);
    agent = await world.start("--from-pod-hook", hook);
  });

  afterAll(() => {
    untrack(TABLE);
    world?.close();
  });

  beforeEach(() => {
    port += 1;
    localPort += 1;
  });

  afterEach(async () => {
    await held?.close();
    held = undefined;
    await isolate();
    run("conntrack", "-F");
  });

  let isIsolated = false;

  /** For no direction: removes the isolation. */
  async function isolate(...directions: readonly ("Ingress" | "Egress")[]): Promise<void> {
    const wants = directions.length > 0;
    if (wants) await agent.change(() => world.manifests.put("isolated.yaml", isolated(...directions)));
    else if (isIsolated) await agent.change(() => world.manifests.remove("isolated.yaml"));
    isIsolated = wants;
  }

  /** Opened by the pod, or by the other. */
  async function open({ pod, other }: Family, opener: "pod" | "other"): Promise<Held> {
    const [client, server, address] = opener === "pod" ? [POD, OTHER, other] : [OTHER, POD, pod];
    held = await hold(world.lab, { client, server, address, port, localPort });
    for (const side of ["client", "server", "client"] as const)
      expect(await held.send(side, REACHED_MS)).toBe("reached");
    return held;
  }

  const sideOf = (who: "pod" | "other", opener: "pod" | "other"): Side =>
    who === opener ? "client" : "server";

  describe.each(FAMILIES)("IPv$family", (family) => {
    it.each([
      { opener: "pod", directions: ["Ingress"], first: "other", result: "reached" },
      { opener: "pod", directions: ["Ingress"], first: "pod", result: "reached" },
      { opener: "other", directions: ["Egress"], first: "pod", result: "reached" },
      { opener: "other", directions: ["Egress"], first: "other", result: "reached" },
      { opener: "pod", directions: ["Egress"], first: "pod", result: "silent" },
      { opener: "other", directions: ["Ingress"], first: "other", result: "silent" },
      { opener: "pod", directions: ["Ingress", "Egress"], first: "pod", result: "silent" },
      { opener: "other", directions: ["Ingress", "Egress"], first: "pod", result: "silent" },
      { opener: "other", directions: ["Ingress", "Egress"], first: "other", result: "silent" },
    ] as const)(
      "opened by the $opener, then isolated for $directions: what the $first sends is $result",
      async (each) => {
        const { opener, directions, first, result } = each;
        const connection = await open(family, opener);
        await isolate(...directions);
        const within = result === "reached" ? REACHED_MS : SILENT_MS;
        expect(await connection.send(sideOf(first, opener), within)).toBe(result);
        // Once it has passed, both sides go on.
        const back = first === "pod" ? "other" : "pod";
        if (result === "reached") expect(await connection.send(sideOf(back, opener), within)).toBe("reached");
      },
    );

    /** Replaces the kernel's own entry: one of the other's connection to the pod, except for these fields. */
    function replace(facts: Partial<Entry> | undefined): void {
      run("conntrack", "-F");
      if (facts === undefined) return;
      const { state = "ESTABLISHED", status = GOOD, flags = 0, zone = 0, originalZone = 0, ...rest } = facts;
      const { sourcePort = localPort, isReversed = false } = rest;
      const ends = [family.other, String(sourcePort), family.pod, String(port)];
      const numbers = [STATES[state], status | CONFIRMED, flags, zone, originalZone].map(String);
      run(entryTool, ...(isReversed ? [...ends.slice(2), ...ends.slice(0, 2)] : ends), ...numbers);
    }

    it.each(hook === "tc" ? [...FOUND, ...CONDITIONS] : FOUND)("an entry %s", async (_, facts, result) => {
      const connection = await open(family, "other");
      await isolate("Egress");
      replace(facts);
      expect(await connection.send("server", result === "reached" ? REACHED_MS : SILENT_MS)).toBe(result);
    });

    it.each([
      // The pod sends first, and looks as if it had opened the connection, which is the other's.
      { opener: "other", first: "pod", directions: ["Ingress"], later: "other" },
      { opener: "pod", first: "other", directions: ["Egress"], later: "pod" },
      { opener: "pod", first: "pod", directions: ["Ingress"], later: "other" },
    ] as const)(
      "is ignored if conntrack has picked it up in mid-stream: opened by the $opener, the $first spoke first, isolated for $directions",
      async ({ opener, first, directions, later }) => {
        const connection = await open(family, opener);
        run("conntrack", "-F");
        const back = first === "pod" ? "other" : "pod";
        for (const side of [first, back, first] as const)
          expect(await connection.send(sideOf(side, opener), REACHED_MS)).toBe("reached");
        expect(run("conntrack", "-L", "-f", `ipv${family.family}`)).toMatch(/ESTABLISHED.*\[ASSURED\]/);
        await isolate(...directions);
        expect(await connection.send(sideOf(later, opener), SILENT_MS)).toBe("silent");
      },
    );

    it("is ignored if the pod has no such socket: the address was another pod's", async () => {
      const connection = await open(family, "other");
      const { netns } = world.lab.wire(POD);
      const inside = (...args: readonly string[]) => run("ip", "netns", "exec", netns, ...args);
      // The other side does not learn that the socket is gone.
      inside("nft", "add", "table", "inet", TABLE);
      inside("nft", "add", "chain", "inet", TABLE, "out", "{ type filter hook output priority 0; }");
      inside("nft", "add", "rule", "inet", TABLE, "out", "tcp", "flags", "&", "rst", "==", "rst", "drop");
      inside("ss", "-K", "state", "established", "sport", "=", `:${port}`);
      inside("nft", "delete", "table", "inet", TABLE);
      await isolate("Egress");
      replace({});
      // Its kernel answers with a reset.
      expect(await connection.send("client", SILENT_MS)).toBe("silent");
      const { stdout } = await world.weir("conntrack", "list", "-o", "json");
      const ports = (JSON.parse(stdout) as { remotePort: number }[]).map(({ remotePort }) => remotePort);
      expect(ports).not.toContain(localPort);
    });
  });
});
