// Two builds whose maps have different layouts, one after the other: connections survive the change, and are judged once more.

import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Probe } from "../../src/lab/pod-protocol.ts";
import { Agent, weir } from "../../src/lab/weir-process.ts";
import { becomeLruLayout, LRU_DIGEST } from "../support/lru-layout.ts";
import { buildRelaid, type Edit } from "../support/relaid.ts";
import { type Held, hold } from "./held.ts";
import {
  BYSTANDER,
  FRIEND,
  FRIENDS_ONLY,
  NOBODY,
  SERVER,
  SERVER_V4,
  SERVER_V6,
  smallWorld,
} from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

/** Other bits for states, and fields of entries at other bits. */
const EDITS: readonly Edit[] = [
  [/FLOW_REPLIED = 1,/, "FLOW_REPLIED = 8,"],
  [/FLOW_FIN_OTHER = 8,/, "FLOW_FIN_OTHER = 1,"],
  [/FLOW_EXPIRES_BITS = 27,/, "FLOW_EXPIRES_BITS = 26,"],
  [/FLOW_STAMP_AT = 27,/, "FLOW_STAMP_AT = 26,"],
  [/FLOW_STATE_AT = 53,/, "FLOW_STATE_AT = 52,"],
  [/FLOW_STATE_BITS = 7,/, "FLOW_STATE_BITS = 8,"],
  [/NAME_SLOTS = 4,/, "NAME_SLOTS = 3,"],
];

const RESOLVER = "10.63.64.53";
const [WWW, OTHER, UNKNOWN] = ["198.51.100.64", "198.51.100.65", "198.51.100.66"] as const;

/** The bystander reaches www.example.com, by name. */
const NAMES = `
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: names }
spec:
  tier: Admin
  priority: 10
  subject: { pods: { namespaceSelector: {}, podSelector: { matchLabels: { role: bystander } } } }
  egress:
  - { name: dns, action: Accept, to: [{ networks: [${RESOLVER}/32] }] }
  - { name: web, action: Accept, to: [{ domainNames: ["*.example.com"] }], protocols: [{ tcp: { destinationPort: { number: 80 } } }] }
  - { name: nothing-else, action: Deny, to: [{ networks: ["0.0.0.0/0", "::/0"] }] }
`;

const FAMILIES = [
  { family: 4, address: SERVER_V4, port: 5004 },
  { family: 6, address: SERVER_V6, port: 5006 },
] as const;

let world: World;
let tree: string;
const held: Held[] = [];

beforeAll(async () => {
  tree = mkdtempSync(join(tmpdir(), "weir-relaid-"));
  buildRelaid(tree, EDITS);
  world = await openWorld({
    ...smallWorld("wt-upgrade", { "friends-only.yaml": FRIENDS_ONLY, "names.yaml": NAMES }),
    machines: [
      {
        name: "resolver",
        addresses: [RESOLVER],
        dns: { "www.example.com": [WWW], "other.example.com": [OTHER] },
      },
      { name: "web", addresses: [WWW, OTHER, UNKNOWN], tcp: [80] },
    ],
  });
}, 240_000);

afterAll(async () => {
  for (const each of held) await each.close();
  world?.close();
  rmSync(tree, { recursive: true });
});

type Build = "this" | "other";
const pathsOf = (build: Build) =>
  build === "this" ? world.paths : { ...world.paths, bin: join(tree, "bin/weir") };

let running: Agent | undefined;

afterEach(() => running?.stop());

async function start(build: Build): Promise<Agent> {
  const agent = Agent.spawn(pathsOf(build), world.manifests.path, []);
  world.lab.defer(() => agent.killNow());
  running = agent;
  await agent.ready();
  return agent;
}

interface Flow {
  readonly incarnation: number;
  readonly protocol: string;
  readonly local: string;
  readonly remote: string;
  readonly localPort: number;
  readonly remotePort: number;
  readonly opener: string;
  readonly state: readonly string[];
}

/** Of the connections that are held open, from this port. */
async function flows(build: Build, port: number): Promise<string[]> {
  const { stdout, stderr } = await weir(pathsOf(build), ["conntrack", "list", "-o", "json"]);
  expect(stderr).toBe("");
  return (JSON.parse(stdout) as Flow[])
    .filter(({ localPort, remotePort }) => remotePort === port && localPort !== port)
    .map(({ incarnation, protocol, local, remote, localPort, remotePort, opener, state }) =>
      [incarnation, protocol, local, localPort, remote, remotePort, opener, [...state].sort().join("+")].join(
        " ",
      ),
    )
    .sort();
}

const all = (from: "client" | "server", withinMs: number) =>
  Promise.all(held.map((each) => each.send(from, withinMs)));

describe.each<[Build, Build, number]>([
  ["other", "this", 26_001],
  ["this", "other", 26_002],
])("connections under the %s build, then under the %s", (before, after, localPort) => {
  it("continue, with the state that they had", async () => {
    const first = await start(before);
    for (const { address, port } of FAMILIES)
      held.push(await hold(world.lab, { client: FRIEND, server: SERVER, address, port, localPort }));
    expect(await all("client", 20_000)).toEqual(["reached", "reached"]);
    expect(await all("server", 20_000)).toEqual(["reached", "reached"]);
    expect(await all("client", 20_000)).toEqual(["reached", "reached"]);
    const known = await flows(before, localPort);
    expect(known.map((each) => each.split(" ").at(-1))).toEqual(["confirmed+replied", "confirmed+replied"]);
    await first.stop();
    await start(after);
    expect(await flows(after, localPort)).toEqual(known);
    // The server may send nothing but answers.
    expect(await all("server", 20_000)).toEqual(["reached", "reached"]);
    expect(readdirSync(world.paths.bpffs).length).toBe(2);
  });

  it("end if the policy has ended meanwhile", async () => {
    world.manifests.put("friends-only.yaml", NOBODY);
    await start(before);
    expect(await all("client", 1_500)).toEqual(["silent", "silent"]);
    for (const each of held.splice(0)) await each.close();
    world.manifests.put("friends-only.yaml", FRIENDS_ONLY);
  });
});

describe.each<[Build, Build, string, readonly string[]]>([
  ["other", "this", "www.example.com", [WWW]],
  ["this", "other", "other.example.com", [OTHER, WWW]],
])("addresses that are resolved under the %s build, then under the %s", (before, after, name, known) => {
  const reach = async (address: string, more: Partial<Probe>): Promise<string> =>
    (await world.lab.probe(BYSTANDER, { kind: "tcp", address, port: 80, timeoutMs: 20_000, ...more })).result;

  it("are known to the pod as before, and no others", async () => {
    const first = await start(before);
    expect(await reach(known[0] as string, { lookup: { name, resolver: RESOLVER } })).toBe("reached");
    await first.stop();
    const second = await start(after);
    expect(second.stderr).toMatch(
      new RegExp(`resolved addresses of another layout migrated layout=\\w+ addresses=${known.length}`),
    );
    for (const address of known) expect(await reach(address, {})).toBe("reached");
    expect(await reach(UNKNOWN, { timeoutMs: 1_500 })).toBe("silent");
    const { stdout } = await weir(pathsOf(after), ["maps", "dump", "names", "-o", "json"]);
    const shown = JSON.parse(stdout) as {
      readonly address: string;
      readonly name: string;
      readonly pod: string;
    }[];
    expect(shown.map(({ address }) => address).sort()).toEqual(known.toSorted());
    for (const each of shown) expect(each).toMatchObject({ name: "*.example.com", pod: BYSTANDER });
  });
});

describe("connections under a version with LRU hashes of the kernel", () => {
  it("continue under this one, with the state that they had", async () => {
    const localPort = 26_003;
    const first = await start("this");
    for (const { address, port } of FAMILIES)
      held.push(await hold(world.lab, { client: FRIEND, server: SERVER, address, port, localPort }));
    expect(await all("client", 20_000)).toEqual(["reached", "reached"]);
    expect(await all("server", 20_000)).toEqual(["reached", "reached"]);
    expect(await all("client", 20_000)).toEqual(["reached", "reached"]);
    const known = await flows("this", localPort);
    expect(known.map((each) => each.split(" ").at(-1))).toEqual(["confirmed+replied", "confirmed+replied"]);
    await first.stop();
    expect(becomeLruLayout(world.paths.bpffs)).toBeGreaterThan(0);
    const second = await start("this");
    expect(second.stderr).toMatch(
      new RegExp(`flows of another layout migrated layout=${LRU_DIGEST} flows=[1-9]`),
    );
    expect(second.stderr).not.toMatch(/flows of another layout cannot be migrated/);
    expect(await flows("this", localPort)).toEqual(known);
    // The server may send nothing but answers.
    expect(await all("server", 20_000)).toEqual(["reached", "reached"]);
    expect(readdirSync(world.paths.bpffs).length).toBe(2);
    for (const each of held.splice(0)) await each.close();
  });
});

it("are lost if the other build has left no description of its layout, which is reported", async () => {
  const first = await start("other");
  for (const { address, port } of FAMILIES)
    held.push(await hold(world.lab, { client: FRIEND, server: SERVER, address, port }));
  await first.stop();
  const [digest = ""] = readdirSync(world.paths.bpffs).filter((name) => name !== "links");
  rmSync(join(world.paths.bpffs, digest, "layout"));
  const second = await start("this");
  expect(second.stderr).toMatch(
    /flows of another layout cannot be migrated .*flows=[1-9]\d* reason="its layout is not known"/,
  );
  expect(await all("server", 1_500)).toEqual(["silent", "silent"]);
  // A rule allows the friend's own segments: they bring their connections back.
  expect(await all("client", 20_000)).toEqual(["reached", "reached"]);
});
