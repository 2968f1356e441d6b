// Audited policies through the loaded programs: what they deny passes, and is counted as audit.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sumCounters } from "../../src/datapath/codec.ts";
import { packet } from "../../src/engines/frame-builder.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { Reason } from "../../src/gen/layout.ts";
import { MODE_KEY } from "../../src/model/enforcement-mode.ts";
import type { Policy } from "../../src/model/network-policy.ts";
import { compile } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import { address, cluster, namespace, pod, pods, policy } from "../support/model.ts";
import { OBJECT } from "../support/object.ts";

const SERVER = pod("shop/server", ["10.0.0.1", "fd00::1"], { labels: { app: "server" } });
const FRIEND = pod("shop/friend", ["10.0.0.2", "fd00::2"], { labels: { app: "friend" } });
const STRANGER = pod("shop/stranger", ["10.0.0.3", "fd00::3"]);

const FRIENDS = policy("shop/friends", { ingress: [{ peers: [pods({ app: "friend" })], ports: "all" }] });
const audited = (of: Policy): Policy => ({ ...of, mode: "audit" });

let bench: Bench;
let numbering = NOTHING_NUMBERED;
let port = 40_000;

beforeAll(async () => {
  bench = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf" });
});

afterAll(() => bench.close());

interface World {
  readonly policies: readonly Policy[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly node?: "audit";
}

async function bring({ policies, labels, node }: World): Promise<void> {
  const world = {
    ...cluster({
      namespaces: [namespace("shop", labels)],
      pods: [SERVER, FRIEND, STRANGER],
      policies: [...policies],
    }),
    ...(node === undefined ? {} : { mode: node }),
  };
  const compiled = compile(world, [{ pod: SERVER, ifindex: bench.devices.at(0) }], numbering);
  numbering = compiled.numbering;
  await bench.bring(compiled.state);
}

function counted(reason: Reason): number {
  const cells = sumCounters(bench.maps.tables.counters.get(1) ?? []).count[0];
  return Number(cells[reason]?.packets ?? 0n);
}

/** A datagram to the server from a port of its own: whether it passes, and which of these counters it moved. */
function send(from: string, to: string, sourcePort = ++port): readonly [verdict: string, reasons: string[]] {
  const reasons = {
    policy: Reason.POLICY,
    audit: Reason.AUDIT,
    denied: Reason.DENIED,
    open: Reason.NOT_ISOLATED,
  };
  const before = Object.values(reasons).map(counted);
  const frame = packet({
    source: address(from),
    destination: address(to),
    protocol: "UDP",
    sourcePort,
    destinationPort: 80,
  });
  const verdict = bench.run({ direction: "ingress", ifindex: bench.devices.at(0), ingressIfindex: 1, frame });
  const moved = Object.keys(reasons).filter(
    (_, at) => counted(Object.values(reasons)[at] as Reason) > (before[at] ?? 0),
  );
  return [verdict, moved];
}

describe.each([
  ["IPv4", "10.0.0.1", "10.0.0.2", "10.0.0.3"],
  ["IPv6", "fd00::1", "fd00::2", "fd00::3"],
] as const)("%s", (_family, server, friend, stranger) => {
  it.each<[string, World, string]>([
    ["enforced", { policies: [FRIENDS] }, "denied"],
    ["audited by itself", { policies: [audited(FRIENDS)] }, "audit"],
    ["audited by its namespace", { policies: [FRIENDS], labels: { [MODE_KEY]: "audit" } }, "audit"],
    ["audited by the node", { policies: [{ ...FRIENDS, mode: "enforce" }], node: "audit" }, "audit"],
    [
      "enforced in a namespace that is audited",
      { policies: [{ ...FRIENDS, mode: "enforce" }], labels: { [MODE_KEY]: "audit" } },
      "denied",
    ],
    ["audited beside one that is enforced", { policies: [FRIENDS, audited(policy("shop/more"))] }, "denied"],
  ])("a policy that is %s", async (_, world, reason) => {
    await bring(world);
    expect(send(friend, server)).toEqual(["pass", ["policy"]]);
    expect(send(stranger, server)).toEqual([reason === "audit" ? "pass" : "drop", [reason]]);
  });

  it("a flow that is audited counts once, again after a change, and ends when the policy is enforced", async () => {
    await bring({ policies: [audited(FRIENDS)] });
    const own = ++port;
    expect(send(stranger, server, own)).toEqual(["pass", ["audit"]]);
    expect(send(stranger, server, own)).toEqual(["pass", []]);
    const more = policy("shop/more", { ingress: [{ peers: [pods({ app: "other" })], ports: "all" }] });
    await bring({ policies: [audited(FRIENDS), audited(more)] });
    expect(send(stranger, server, own)).toEqual(["pass", ["audit"]]);
    await bring({ policies: [FRIENDS] });
    expect(send(stranger, server, own)[0]).toBe("drop");
  });

  it("what cannot be read passes too, and is audited", async () => {
    const cut = (): string => {
      const frame = packet({
        source: address(stranger),
        destination: address(server),
        protocol: "UDP",
        sourcePort: 1,
        destinationPort: 80,
      });
      // Half of UDP's header.
      const short = frame.subarray(0, 14 + (stranger.includes(":") ? 40 : 20) + 4);
      return bench.run({
        direction: "ingress",
        ifindex: bench.devices.at(0),
        ingressIfindex: 1,
        frame: short,
      });
    };
    await bring({ policies: [FRIENDS] });
    expect(cut()).toBe("drop");
    await bring({ policies: [audited(FRIENDS)] });
    const before = counted(Reason.AUDIT);
    expect(cut()).toBe("pass");
    expect(counted(Reason.AUDIT)).toBe(before + 1);
  });
});
