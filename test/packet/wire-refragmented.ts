// In a namespace that forwards IPv6 as a node does: big datagrams to a pod, from elsewhere and from the node itself; as JSON, the
// reasons counted for each.

import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Address } from "../../src/base/ip.ts";
import { openAttachments } from "../../src/datapath/attachments.ts";
import { bytes, udp } from "../../src/engines/frame-builder.ts";
import { ipBatch, ipJson } from "../../src/lab/iproute.ts";
import { chained, EXTENSION, fragment, fragmentHeader, frame } from "./frames.ts";
import { send } from "./wire.ts";
import { openWorld, POD_NAMES, V6 } from "./world.ts";

const MAC = "02:00:00:00:00:01"; // the destination of every frame of these tests
const PART_BYTES = 1_400;
const PATIENCE_MS = 3_000;

const sender = process.argv[2] ?? "";
const world = await openWorld();
/** Of the pairs, one is an uplink and its other end, the other the pod's interface and its end in the pod. */
const [farEnd, uplink, inPod, pod] = POD_NAMES.map((_, at) => world.bench.devices.at(at)) as [
  number,
  number,
  number,
  number,
];
const names = new Map(
  ipJson(["link", "show"]).map((link) => [Number(link["ifindex"]), String(link["ifname"])]),
);
const nameOf = (ifindex: number): string => names.get(ifindex) ?? "";

/** A bridge with a tunnel in the pod needs headroom before every packet: the kernel then copies fragments instead of keeping them. */
ipBatch([
  "link set lo up",
  `link set ${nameOf(uplink)} address ${MAC}`,
  "link add wt-bridge type bridge",
  "link add wt-tunnel type vxlan id 9 dstport 4789 remote 192.0.2.1",
  "link set wt-tunnel master wt-bridge",
  `link set ${nameOf(inPod)} master wt-bridge`,
  // Without addresses of their own they send nothing by themselves.
  ...[farEnd, uplink, inPod, pod].map((each) => `link set ${nameOf(each)} addrgenmode none up`),
  `addr add ${V6.node.text}/128 dev lo`,
  `route add ${V6.pods.both.text}/128 dev ${nameOf(pod)}`,
  `neigh add ${V6.pods.both.text} lladdr 02:00:00:00:00:02 dev ${nameOf(pod)}`,
]);
for (const setting of ["all/forwarding", "default/forwarding"])
  writeFileSync(`/proc/sys/net/ipv6/conf/${setting}`, "1");
// Connection tracking, as kube-proxy uses it, reassembles what it is to track.
execFileSync("nft", [
  "add table inet wt; add chain inet wt f { type filter hook forward priority 0; }; add rule inet wt f ct state new accept",
]);
await world.enforce();
const attachments = openAttachments(world.bench.datapath);
await attachments.attach(pod);

/** A datagram in three fragments from elsewhere. */
function fromElsewhere(source: Address, id: number): void {
  const whole = udp(40_000, 53, new Uint8Array(3 * PART_BYTES - 8));
  const parts = [0, 1, 2].map((part) =>
    fragment(
      source,
      V6.pods.both,
      { number: 17, payload: whole.subarray(part * PART_BYTES, (part + 1) * PART_BYTES) },
      { id, offset: (part * PART_BYTES) / 8, more: part < 2 },
    ),
  );
  send({ sender, ifindex: farEnd, linear: 0 }, parts);
}

/**
 * A datagram in two fragments, the first with so many bytes of options that the whole is no longer than that: it goes on as one
 * fragment, which is atomic.
 */
function asOneFragment(source: Address, id: number): void {
  const whole = udp(40_000, 53, new Uint8Array(100));
  const cut = 56;
  const part = (offset: number, payload: Uint8Array) =>
    bytes(fragmentHeader(17, { id, offset: offset / 8, more: offset === 0 }), payload);
  const first = { number: EXTENSION.FRAGMENT, payload: part(0, whole.subarray(0, cut)) };
  const second = { number: EXTENSION.FRAGMENT, payload: part(cut, whole.subarray(cut)) };
  send({ sender, ifindex: farEnd, linear: 0 }, [
    frame(source, V6.pods.both, chained([EXTENSION.DESTINATION], first, 64)),
    frame(source, V6.pods.both, second),
  ]);
}

async function fromNode(): Promise<void> {
  const socket = createSocket("udp6");
  await new Promise<void>((resolve, reject) => {
    socket.send(new Uint8Array(3 * PART_BYTES - 8), 53, V6.pods.both.text, (error) =>
      error ? reject(error) : resolve(),
    );
  });
  socket.close();
}

/** The reasons given since the last call, once there are as many as expected. */
let seen = world.countedByReason("both");
async function reasons(due: number): Promise<Record<string, number>> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(5)) {
    const now = world.countedByReason("both");
    const moved = [...now].flatMap(([key, { packets }]) => {
      const count = packets - (seen.get(key)?.packets ?? 0);
      return count === 0 ? [] : [[key, count] as const];
    });
    if (moved.reduce((sum, [, count]) => sum + count, 0) < due && Date.now() < deadline) continue;
    seen = now;
    return Object.fromEntries(moved);
  }
}

try {
  // The kernel sends no further fragment if the first one was dropped.
  fromElsewhere(V6.stranger, 1);
  const stranger = await reasons(1);
  fromElsewhere(V6.friend, 2);
  const friend = await reasons(3);
  await fromNode();
  const node = await reasons(3);
  asOneFragment(V6.stranger, 3);
  process.stdout.write(JSON.stringify({ stranger, friend, node, "stranger, in one": await reasons(1) }));
} finally {
  world.close();
}
