// In a namespace: frames of a pod whose checksum the device behind the hook is to write, to places that a raw socket chooses; as JSON, the
// reason counted for each.

import { setTimeout as sleep } from "node:timers/promises";
import { openAttachments } from "../../src/datapath/attachments.ts";
import { ipBatch, ipJson } from "../../src/lab/iproute.ts";
import { arp, echo, frame, type Segment, sctpSegment, tcpSegment, udpSegment } from "./frames.ts";
import { sendSummed } from "./wire.ts";
import { type Addresses, BOTH_FAMILIES, openWorld, POD_NAMES, V4 } from "./world.ts";

const PATIENCE_MS = 3_000;
const ETHERNET = 14;
const IP_BYTES = { 4: 20, 6: 40 } as const;
const PAYLOAD = new Uint8Array(64);

const sender = process.argv[2] ?? "";
const world = await openWorld();
/** "open" and "in" are the first of the devices that are each other's peers. */
const [ifindex = 0, peer = 0] = [world.ifindexOf("open"), world.bench.devices.at(POD_NAMES.indexOf("in"))];
const names = new Map(
  ipJson(["link", "show"]).map((link) => [Number(link["ifindex"]), String(link["ifname"])]),
);
ipBatch([ifindex, peer].map((each) => `link set ${names.get(each)} addrgenmode none up`));
await world.enforce();
await openAttachments(world.bench.datapath).attach(ifindex);

/** From the transport header on: where the sum starts, and where it goes from there. */
type Place = readonly [start: number, offset: number];

/** Of a packet to elsewhere, with places that are right, and others at which what was judged would be written over. */
interface Case {
  readonly name: string;
  readonly segment: (family: 4 | 6) => Segment;
  readonly right: Readonly<Record<string, Place>>;
  readonly wrong: Readonly<Record<string, Place>>;
}

/** The last bytes of the destination's address. */
const ADDRESS: Place = [-8, 6];
const CASES: readonly Case[] = [
  {
    name: "TCP",
    segment: () => tcpSegment(40_000, 80),
    right: { own: [0, 16] },
    wrong: { port: [0, 2], flags: [0, 12], "own, other start": [2, 14], address: ADDRESS },
  },
  {
    name: "UDP",
    segment: () => udpSegment(40_000, 53, PAYLOAD),
    right: { own: [0, 6], "inner packet's": [36, 6] },
    wrong: { port: [0, 2], length: [0, 4], address: ADDRESS },
  },
  {
    name: "SCTP",
    segment: () => sctpSegment(40_000, 80),
    right: { own: [0, 8] },
    wrong: { port: [0, 2], chunk: [0, 12], address: ADDRESS },
  },
  {
    name: "ICMP",
    segment: (family) => echo(family, 7),
    right: {},
    wrong: { own: [0, 2], identifier: [0, 4], address: ADDRESS },
  },
  {
    name: "other",
    segment: () => ({ number: 253, payload: PAYLOAD }),
    right: { payload: [0, 0] },
    wrong: { address: ADDRESS },
  },
];

const counted = (): Map<string, number> =>
  new Map([...world.countedByReason("open")].map(([key, { packets }]) => [key, packets]));

async function reasonOf(each: Uint8Array, start: number, offset: number): Promise<string> {
  const before = counted();
  sendSummed({ sender, ifindex: peer, linear: 0 }, each, { start, offset });
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; await sleep(2))
    for (const [key, packets] of counted())
      if (key.startsWith("egress") && packets > (before.get(key) ?? 0)) return key;
  return "none";
}

async function reasonsOf(a: Addresses, { name, segment, right, wrong }: Case): Promise<[string, string][]> {
  const { family } = a.friend;
  const transport = ETHERNET + IP_BYTES[family];
  const reasons: [string, string][] = [];
  for (const [kind, places] of Object.entries({ right, wrong }))
    for (const [place, [start, offset]] of Object.entries(places)) {
      const packet = frame(a.pods.open, a.friend, segment(family));
      const reason = await reasonOf(packet, transport + start, offset);
      reasons.push([`IPv${family} ${name}, ${kind}: ${place}`, reason]);
    }
  return reasons;
}

try {
  const reasons: [string, string][] = [];
  for (const a of BOTH_FAMILIES) for (const each of CASES) reasons.push(...(await reasonsOf(a, each)));
  const question = arp({ operation: 1, sender: V4.pods.open, target: V4.friend });
  reasons.push(["ARP, wrong: sender", await reasonOf(question, ETHERNET + 8, 6)]);
  process.stdout.write(JSON.stringify(Object.fromEntries(reasons)));
} finally {
  world.close();
}
