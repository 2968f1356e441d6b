// In a namespace: the samples run through the program in one part, then sent to it cut into parts; as JSON, the reasons counted.

import { setTimeout as sleep } from "node:timers/promises";
import { openAttachments } from "../../src/datapath/attachments.ts";
import { bytes } from "../../src/engines/frame-builder.ts";
import { ipBatch, ipJson } from "../../src/lab/iproute.ts";
import { frame, icmpError, ip, tcpSegment, udpSegment } from "./frames.ts";
import { SAMPLES } from "./samples.ts";
import { send } from "./wire.ts";
import { BOTH_FAMILIES, openWorld, POD_NAMES } from "./world.ts";

/** More than a page: shorter frames are always linear. */
const FRAME_BYTES = 5_000;
/** As much of it as a test run takes; the rest is padding. */
const WHOLE_BYTES = 3_000;
const PATIENCE_MS = 2_000;
/** Ethernet header; IPv4 and IPv6 header behind it; with 8 bytes of ICMP. */
const LINEAR = [14, 34, 42, 54, 62];

const sender = process.argv[2] ?? "";
const overXdp = process.argv[3] === "xdp";
const world = await openWorld();
const ifindex = world.ifindexOf("both");
/** "both" is the last one of the devices that are each other's peers. */
const peer = world.bench.devices.at(POD_NAMES.indexOf("out"));

const names = new Map(
  ipJson(["link", "show"]).map((link) => [Number(link["ifindex"]), String(link["ifname"])]),
);
ipBatch([ifindex, peer].map((each) => `link set ${names.get(each)} mtu 9000 addrgenmode none up`));
await world.enforce();
const { datapath, guard } = world.bench;
const fromPodXdp = overXdp ? guard?.programs.fromPod : undefined;
const attachments = openAttachments(datapath, fromPodXdp && { fromPodXdp });
const attached = await attachments.attach(ifindex);
if ((attached.egress === "xdp") !== overXdp) throw new Error(`no XDP: ${attached.refused}`);

/** The kernel removes the first tag before the program sees the frame. */
const isTagged = (frame: Uint8Array): boolean => frame[12] === 0x81 || frame[12] === 0x88;

const cases = [
  ...SAMPLES.filter((sample) => sample.direction === "egress" && !isTagged(sample.frame)).map(
    (sample) => sample.frame,
  ),
  ...BOTH_FAMILIES.map((a) =>
    icmpError(a.pods.both, a.friend, "unreachable", ip(a.friend, a.pods.both, udpSegment(40_000, 53))),
  ),
].map((each) => bytes(each, new Uint8Array(FRAME_BYTES - each.length)));

/** Only the flows that replies and errors belong to are in the table. */
async function startAnew(): Promise<void> {
  await world.forget();
  for (const a of BOTH_FAMILIES) {
    for (const segment of [udpSegment(40_000, 53), tcpSegment(40_000, 80)]) {
      world.ask({ pod: "both", direction: "ingress", frame: frame(a.friend, a.pods.both, segment) });
    }
  }
}

/** How often each reason was given while an action was run on all cases, once all are counted. */
async function reasonsOf(act: () => void): Promise<Record<string, number>> {
  const before = world.countedByReason("both");
  const moved = () =>
    [...world.countedByReason("both")].flatMap(([key, { packets }]) => {
      const count = packets - (before.get(key)?.packets ?? 0);
      return count === 0 ? [] : [[key, count] as const];
    });
  const total = () => moved().reduce((sum, [, count]) => sum + count, 0);
  act();
  for (const deadline = Date.now() + PATIENCE_MS; total() < cases.length && Date.now() < deadline; )
    await sleep(5);
  return Object.fromEntries(moved());
}

try {
  await startAnew();
  const whole = await reasonsOf(() => {
    for (const each of cases)
      world.ask({ pod: "both", direction: "egress", frame: each.subarray(0, WHOLE_BYTES) });
  });
  const cut: Record<number, Record<string, number>> = {};
  for (const linear of LINEAR) {
    await startAnew();
    cut[linear] = await reasonsOf(() => send({ sender, ifindex: peer, linear }, cases));
  }
  process.stdout.write(JSON.stringify({ count: cases.length, whole, cut }));
} finally {
  world.close();
}
