// `weir trace` of an agent and its kernel: what it reports, that it changes nothing there, and that it notices when the kernel
// differs from the policies.

import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { detachLink } from "../../src/datapath/hooks.ts";
import { linkPath, openPins } from "../../src/datapath/pins.ts";
import { tableOf } from "../../src/datapath/typed-maps.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import {
  BYSTANDER,
  BYSTANDER_V4,
  FRIEND,
  FRIENDS_ONLY,
  NOBODY,
  SERVER,
  SERVER_V4,
  STRANGER,
  smallWorld,
} from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

/** A Service with the server and the bystander behind it, and a client that may go to one of them only. */
const PAIR = `
apiVersion: v1
kind: Service
metadata: { name: pair, namespace: shop }
spec: { clusterIP: 10.96.61.1, ports: [{ port: 8000, targetPort: 80 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: pair-a, namespace: shop, labels: { kubernetes.io/service-name: pair } }
addressType: IPv4
ports: [{ name: "", port: 80, protocol: TCP }]
endpoints: [{ addresses: [${SERVER_V4}] }, { addresses: [${BYSTANDER_V4}] }]
`;
const STRANGER_TO_SERVER = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: stranger-out, namespace: shop }
spec:
  podSelector: { matchLabels: { role: stranger } }
  policyTypes: [Egress]
  egress: [{ to: [{ podSelector: { matchLabels: { role: server } } }] }]
`;

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld(
    smallWorld("wt-trace", {
      "policy.yaml": FRIENDS_ONLY,
      "stranger.yaml": STRANGER_TO_SERVER,
      "service.yaml": PAIR,
    }),
  );
  agent = await world.start();
});

afterAll(() => world?.close());

const trace = (from: string, to: string, ...args: readonly string[]) =>
  world.weir("trace", "--from", from, "--to", to, "--port", "80", ...args);

const link = (name: string) => world.lab.wire(name).link;

async function indexOf(name: string): Promise<number> {
  const { stdout } = await world.weir("get", "endpoints", "--pod", name, "-o", "json");
  return JSON.parse(stdout)[0].ifindex;
}

type Rows = readonly Readonly<Record<string, unknown>>[];

/** All flows, and what was judged on the way to the server: nothing of that happens by itself. */
async function traces(): Promise<unknown> {
  const dump = async (name: string): Promise<Rows> =>
    JSON.parse((await world.weir("maps", "dump", name, "-o", "json")).stdout);
  const flows = (await dump("conntrack")).map(({ expiresMs: _, ...flow }) => flow);
  const judged = (await dump("counters")).filter(
    ({ pod, direction, reason }) =>
      pod === SERVER && direction === "ingress" && (reason === "policy" || reason === "denied"),
  );
  return { flows, judged };
}

/** A trace after an entry was corrupted; repeated if the agent's resync has repaired it before. */
async function spoilt(spoil: () => unknown) {
  for (let attempt = 1; ; attempt++) {
    await spoil();
    const result = await trace(STRANGER, SERVER);
    if (result.status === 5 || attempt === 4) return result;
  }
}

it("the first loads the shadow instance, the next ones use it and are quicker", async () => {
  const timed = async (): Promise<number> => {
    const begun = performance.now();
    expect((await trace(STRANGER, SERVER)).status).toBe(3);
    return performance.now() - begun;
  };
  const first = await timed();
  const later: number[] = [];
  for (let count = 0; count < 5; count += 1) later.push(await timed());
  // Loading the programs takes seconds of the processor; the median, since the machine may do something else as well.
  expect(later.sort((a, b) => a - b)[2]).toBeLessThan(first / 2);
});

describe("a live trace", () => {
  it("names the rule, and the kernel agrees", async () => {
    expect(await trace(FRIEND, SERVER)).toMatchObject({
      status: 0,
      stdout: `allowed: TCP/80 from shop/friend (10.63.61.2, fd63:61::2) to shop/server (10.63.61.1, fd63:61::1)
  egress of shop/friend: not isolated
  ingress of shop/server: isolated by shop/friends-only
    allowed by shop/friends-only ingress[0].from[0]
  kernel: from_pod on ${link(FRIEND)} passes it (not-isolated)
  kernel: to_pod on ${link(SERVER)} passes it (policy)
`,
      stderr: "",
    });
  });

  it("names what the nearest rule requires, and the kernel agrees", async () => {
    const { status, stdout } = await trace(STRANGER, SERVER_V4);
    expect(status).toBe(3);
    expect(stdout).toContain("a pod with role=friend (shop/stranger has role=stranger)\n");
    expect(stdout).toContain(`  kernel: to_pod on ${link(SERVER)} drops it (denied)\n`);
  });

  it("supports outside addresses, other protocols and both directions", async () => {
    expect(await trace("192.0.2.1", SERVER)).toMatchObject({ status: 3 });
    expect(await trace(SERVER, "192.0.2.1", "--protocol", "UDP")).toMatchObject({ status: 3 });
    expect(await trace(FRIEND, "192.0.2.1")).toMatchObject({ status: 0 });
    const ping = await world.weir("trace", "--from", FRIEND, "--to", SERVER, "--protocol", "ICMP");
    expect(ping).toMatchObject({ status: 0 });
    expect(ping.stdout).toContain(`to_pod on ${link(SERVER)} passes it (policy)`);
  });

  it("follows a Service to every backend, and queries the kernel for both ends of each", async () => {
    const all = await world.weir("trace", "--from", FRIEND, "--to", "shop/pair");
    expect(all.stdout).not.toContain("DISAGREES");
    expect(all.status).toBe(0);
    expect(all.stdout).toContain(`  kernel: to_pod on ${link(SERVER)} passes it (policy)\n`);
    const mixed = await world.weir("trace", "--from", STRANGER, "--to", "shop/pair", "--port", "8000");
    expect(mixed.stdout).not.toContain("DISAGREES");
    expect(mixed.status).toBe(3);
    expect(mixed.stdout).toContain(
      "Service shop/pair: other backends are allowed; this one's end drops what comes from this client\n",
    );
    expect(mixed.stdout).toContain(`  kernel: from_pod on ${link(STRANGER)} passes it (policy)\n`);
    expect(mixed.stdout).toContain(`  kernel: to_pod on ${link(BYSTANDER)} drops it (denied)\n`);
  });

  it("leaves nothing behind", async () => {
    const before = await traces();
    const first = await trace(FRIEND, SERVER);
    await trace(STRANGER, SERVER);
    // Not even in the shadow instance, which the agent keeps: the same packet is not of a connection that is known now.
    expect(await trace(FRIEND, SERVER)).toEqual(first);
    expect(await traces()).toEqual(before);
  });

  it("of a change does not query the kernel", async () => {
    const file = "/run/wt-trace/new.yaml";
    writeFileSync(file, NOBODY);
    const { status, stdout } = await trace(FRIEND, SERVER, "-f", file);
    expect(status).toBe(3);
    expect(stdout).toMatch(/^denied \(allowed before\): /);
    expect(stdout).not.toContain("kernel");
  });

  it("is 5 if the kernel differs", async () => {
    const pins = openPins(world.paths.bpffs);
    if (pins === undefined) throw new Error("nothing is pinned");
    try {
      const endpoints = tableOf("endpoints", pins.map("endpoints"));
      const index = await indexOf(SERVER);
      const entry = (await endpoints.read()).find(([, { ifindex }]) => ifindex === index);
      if (entry === undefined) throw new Error("the server is no endpoint");
      const [place, value] = entry;
      const open = [0, 0] as const;
      const wrong = await spoilt(() => endpoints.set(place, { ...value, policy: [[...open], [...open]] }));
      endpoints.set(place, value);
      expect(wrong.status).toBe(5);
      expect(wrong.stdout).toContain(
        `  kernel: to_pod on ${link(SERVER)} passes it (not-isolated): DISAGREES\n`,
      );
      expect(await trace(STRANGER, SERVER)).toMatchObject({ status: 3 });
    } finally {
      pins.close();
    }
  });

  it("is 5 if no program is attached to the interface", async () => {
    const path = linkPath(world.paths.bpffs, await indexOf(SERVER), "ingress");
    // Again and again: the agent attaches it again within a second.
    let spoiling: Promise<void> = Promise.resolve();
    const timer = setInterval(() => {
      spoiling = spoiling.then(() => detachLink(path)).catch(() => undefined);
    }, 10);
    const { status, stdout } = await spoilt(() => detachLink(path)).finally(() => clearInterval(timer));
    await spoiling;
    expect(status).toBe(5);
    expect(stdout).toContain(`  kernel: to_pod on ${link(SERVER)} passes it (not-attached): DISAGREES\n`);
  });

  it("queries the XDP program if that filters", async () => {
    agent.killNow();
    agent = await world.start("--from-pod-hook", "xdp");
    const { status, stdout } = await trace(SERVER, STRANGER);
    expect(status).toBe(3);
    expect(stdout).toContain(`  kernel: from_pod_xdp on ${link(SERVER)} drops it (denied)\n`);
    expect(stdout).toContain(`  kernel: to_pod on ${link(STRANGER)} passes it (not-isolated)\n`);
  });
});
