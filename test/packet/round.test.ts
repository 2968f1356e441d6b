// Reconciliations of the agent against real maps: what stays enforced after an unreadable directory, an exceeded limit and a failed write.

import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Kernel } from "../../src/agent/datapath-handle.ts";
import { readInterfaces } from "../../src/agent/interface-tracking.ts";
import { firstProgress, type Progress, reconcile } from "../../src/agent/reconcile.ts";
import { openLog } from "../../src/base/log.ts";
import { openAttachments } from "../../src/datapath/attachments.ts";
import type { Hook } from "../../src/datapath/hooks.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { EMPTY_CLUSTER, keyOf, type Pod } from "../../src/model/cluster.ts";
import type { ClusterSnapshot } from "../../src/model/cluster-snapshot.ts";
import type { Policy } from "../../src/model/network-policy.ts";
import { problemText } from "../../src/model/problem.ts";
import { EVERYTHING } from "../../src/model/selector.ts";
import { tenantOf } from "../../src/state/desired-state.ts";
import { address } from "../support/model.ts";
import { OBJECT } from "../support/object.ts";

let bench: Bench;
let kernel: Kernel;
let progress: Progress;
let logged: string[];

beforeEach(async () => {
  bench = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf" });
  kernel = kernelOf();
  progress = await firstProgress(kernel);
  logged = [];
});

afterEach(() => kernel.close());

function kernelOf(hook?: Hook): Kernel {
  const { datapath, maps } = bench;
  const attachments = openAttachments(datapath, {}, hook);
  return {
    lock: { renew: () => true, close: () => undefined },
    datapath,
    maps,
    attachments,
    pin: () => datapath.pin() + attachments.pin(),
    close() {
      attachments.close();
      bench.close();
    },
  };
}

const env = () => ({
  now: () => new Date(0),
  log: openLog({ level: "info", format: "text", write: (line) => logged.push(line), now: () => new Date(0) }),
});

/** A pod on a device of the bench, found by its name. */
function pod(name: string, number: number, link: string): Pod {
  return {
    namespace: "shop",
    name,
    labels: new Map([["app", name]]),
    ips: [address(`10.0.0.${number}`)],
    hostNetwork: false,
    finished: false,
    ports: [],
    attachment: { kind: "link", name: link },
  };
}

const denyAll = (namespace: string): Policy => ({
  namespace,
  name: "deny",
  subject: EVERYTHING,
  isolates: { ingress: true, egress: true },
  rules: { ingress: [], egress: [] },
});

function reading(pods: readonly Pod[], policies: readonly Policy[], readable = true): ClusterSnapshot {
  return {
    cluster: {
      ...EMPTY_CLUSTER,
      pods: new Map(pods.map((each) => [keyOf(each), each])),
      policies: new Map(policies.map((each) => [keyOf(each), each])),
    },
    problems: readable ? [] : [{ severity: "error", file: "/somewhere", reason: "cannot be read" }],
    readable,
  };
}

const tc = (...args: string[]): string => execFileSync("tc", args, { encoding: "utf8" }).trim();

async function runs(what: ClusterSnapshot, resync = false): Promise<boolean> {
  const interfaces = await readInterfaces({});
  return reconcile(kernel, progress, { reading: what, interfaces, resync }, env());
}

describe("a reconciliation", () => {
  it("applies a snapshot, attaches, and logs it once", async () => {
    const link = bench.devices.nameAt(0);
    const what = reading([pod("a", 1, link)], [denyAll("shop")]);
    expect(await runs(what)).toBe(true);
    expect(await runs(what)).toBe(true);
    const { state } = await kernel.maps.read();
    expect([...state.endpoints]).toEqual([
      [
        bench.devices.at(0),
        {
          id: 1,
          incarnation: 1,
          tenant: tenantOf("shop"),
          addresses: ["10.0.0.1"],
          sources: [],
          policy: { ingress: 1, egress: 1 },
        },
      ],
    ]);
    expect(logged).toEqual([
      "1970-01-01T00:00:00.000Z info  enforcing generation=1 endpoints=1 policies=1\n",
    ]);
  });

  it("takes a directory that could never be read for unknown, not for empty", async () => {
    await runs(reading([pod("a", 1, bench.devices.nameAt(0))], [denyAll("shop")]));
    const before = await kernel.maps.read();
    expect(await runs(reading([], [], false))).toBe(true);
    expect(await kernel.maps.read()).toEqual(before);
    expect(kernel.maps.generation()).toBe(1);
    expect(progress.problems.map(problemText)).toEqual(["/somewhere: cannot be read"]);
  });

  it("has all addresses of a pod with many, and names an address that two pods claim", async () => {
    const many = pod("a", 1, bench.devices.nameAt(0));
    const ips = [1, 2, 3, 4, 5].map((number) => address(`10.0.0.${number}`));
    const second = pod("b", 3, bench.devices.nameAt(1));
    await runs(reading([{ ...many, ips }, second], []));
    expect((await kernel.maps.read()).state.endpoints.get(bench.devices.at(0))).toMatchObject({
      addresses: ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"],
      sources: ["10.0.0.5/32"],
    });
    expect(progress.problems.map(problemText)).toEqual([
      "Pod shop/a: address 10.0.0.3 is that of pods shop/a and shop/b: its owner is ambiguous; as a peer it is allowed only what each of them is",
      "Pod shop/b: address 10.0.0.3 is that of pods shop/a and shop/b: its owner is ambiguous; as a peer it is allowed only what each of them is",
    ]);
  });

  it("enforces the other pods if an interface is missing", async () => {
    const pods = [pod("a", 1, bench.devices.nameAt(0)), pod("b", 2, "wt-absent")];
    await runs(reading(pods, [denyAll("shop")]));
    expect((await kernel.maps.read()).state.endpoints.size).toBe(1);
    expect(progress.problems.map(problemText)).toEqual([
      'Pod shop/b: metadata.annotations["weir.dev/interface"]: interface wt-absent does not exist; the pod is not enforced',
    ]);
  });

  it("repairs, at a resync, external changes to the maps", async () => {
    const what = reading([pod("a", 1, bench.devices.nameAt(0))], [denyAll("shop")]);
    await runs(what);
    const before = (await kernel.maps.read()).state;
    kernel.maps.tables.addressesV4.set({ address: 0x0a000001 }, { number: [77, 77] });
    kernel.maps.tables.ports.set(80, { number: [9, 9] });
    expect((await kernel.maps.read()).state).not.toEqual(before);
    await runs(what, true);
    expect((await kernel.maps.read()).state).toEqual(before);
    expect(progress.repaired).toEqual([
      { table: "addresses", key: "10.0.0.1", held: "identity 77" },
      { table: "ports", key: "80-80", wanted: "class 0", held: "class 9", span: { first: 80, last: 80 } },
    ]);
    expect(logged).toContain(
      '1970-01-01T00:00:00.000Z warn  maps were modified externally; repaired entries=2 tables="addresses 1, ports 1"\n',
    );
    await runs(what, true);
    expect(progress.repaired).toEqual([]);
  });

  it("removes, at a resync, an endpoint that is in a slot where it is never looked up", async () => {
    const what = reading([pod("a", 1, bench.devices.nameAt(0))], [denyAll("shop")]);
    await runs(what);
    const before = await kernel.maps.read();
    const { endpoints } = kernel.maps.tables;
    const place = bench.devices.at(0) % 4096;
    const own = endpoints.get(place);
    if (own === undefined) throw new Error("an array has every place");
    endpoints.set(place, { ...own, ifindex: 4_000_000 });
    await runs(what, true);
    expect(await kernel.maps.read()).toEqual(before);
  });

  it("attaches clsact filters if there is no tcx, and removes them and the qdisc again", async () => {
    kernel.attachments.close();
    kernel = kernelOf("clsact");
    const link = bench.devices.nameAt(0);
    const filters = () => ["ingress", "egress"].map((hook) => tc("filter", "show", "dev", link, hook));
    await runs(reading([pod("a", 1, link)], [denyAll("shop")]));
    expect(filters()).toEqual([
      expect.stringMatching(/pref 1 bpf .*handle 0x7e1 .*from_pod.* direct-action/),
      expect.stringMatching(/pref 1 bpf .*handle 0x7e1 .*to_pod.* direct-action/),
    ]);
    await runs(reading([pod("a", 1, link)], []), true);
    expect(filters().map((text) => text.match(/handle/g)?.length)).toEqual([1, 1]);
    await runs(reading([], []));
    expect(filters()).toEqual(["", ""]);
    expect(tc("qdisc", "show", "dev", link)).not.toContain("clsact");
  });

  it("keeps the whole previous state if a map is full, and reports why", async () => {
    const first = reading([pod("a", 1, bench.devices.nameAt(0))], [denyAll("shop")]);
    await runs(first);
    const before = (await kernel.maps.read()).state;
    // Every slot for the next endpoint is taken by interfaces that Weir does not have.
    const next = bench.devices.at(2);
    const { endpoints } = kernel.maps.tables;
    const free = endpoints.get((next + 100) % 4096);
    if (free === undefined) throw new Error("an array has every place");
    for (let probe = 0; probe < 8; probe += 1)
      endpoints.set((next + probe) % 4096, { ...free, ifindex: 4_000_000 + probe });
    const second = reading([pod("b", 2, bench.devices.nameAt(2))], []);
    expect(await runs(second)).toBe(false);
    expect(progress.problems.map(problemText)).toEqual([
      `write endpoint of interface ${next}: its 8 places are taken by other interfaces; the previous state stays in force`,
    ]);
    expect(kernel.maps.generation()).toBe(1);
    const after = (await kernel.maps.read()).state;
    expect(after.addresses).toEqual(before.addresses);
    expect(after.policies).toEqual(before.policies);
  });
});
