// Packets mutated at random to and from a pod that is isolated for ingress only, where conntrack has seen some of its connections:
// which of them have entries, by an independent model; every verdict and every counter.

import { afterAll, beforeAll, expect, it } from "vitest";
import {
  ASSIGNED,
  type AssignedObject,
  buildAssigned,
  WITHOUT_SOCKET,
} from "../../bench/common/assigned-object.ts";
import { pin } from "../../bench/common/machine.ts";
import { present } from "../../src/base/assert.ts";
import { addressBytes } from "../../src/base/ip.ts";
import { FLOWS_DEFAULT } from "../../src/datapath/flow-capacity.ts";
import { tableOf } from "../../src/datapath/typed-maps.ts";
import { block, ports } from "../support/model.ts";
import { OBJECT } from "../support/object.ts";
import { holdAll, mutated, oneByOne, PACKETS, PATIENCE_MS, SEED, type Subject } from "./fuzzer.ts";
import { ALLOWED_PORT } from "./model.ts";
import { mutator } from "./mutate.ts";
import { type Evidence, judgeOneSided, newOneSidedMemory } from "./one-sided-model.ts";
import { readFrame } from "./parser.ts";
import { SAMPLES, type Sample } from "./samples.ts";
import { openWorld, V4, V6, type World } from "./world.ts";

/** In each of them conntrack's answers are others. Short enough that no bucket of the flow table is full. */
const EPOCH_PACKETS = 10_000;
const EPOCHS = Math.ceil(PACKETS / EPOCH_PACKETS);
const DAY_MS = 86_400_000;
const AN_HOUR = 3_600_000;

let built: AssignedObject;
let world: World;

beforeAll(async () => {
  // What a CPU has found out about a flow in a tick, another one does not know.
  pin(0);
  built = buildAssigned(OBJECT);
  world = await openWorld({ object: built.path, conntrackFlows: FLOWS_DEFAULT });
  const rules = [{ peers: [block("10.9.0.1/32"), block("fd09::1/128")], ports: ports("TCP/80") }];
  await world.enforce(rules, [], { link: () => ({ hardware: [], netns: 0 }) });
  // No flow expires while a test runs, and a socket that was seen is known, so that the model needs no clock.
  const names = [
    "TCP_NEW",
    "TCP_CLOSING",
    "TCP_RESET",
    "UDP_NEW",
    "SCTP",
    "ICMP",
    "OTHER",
    "FRAGMENT",
  ] as const;
  await world.setTimeouts(Object.fromEntries(names.map((name) => [name, DAY_MS])));
  const { node } = world.bench.maps.tables;
  await node.writeBatch([[0, { ...present(node.get(0), "the node's settings"), ticksPerSecond: AN_HOUR }]]);
});

afterAll(() => {
  world?.close();
  built?.close();
});

/** To and from the pod "in" in the place of "both". */
const samples: readonly Sample[] = SAMPLES.map(({ direction, frame }) => {
  const text = [V4, V6].reduce((hex, { pods }) => {
    const [from, to] = [pods.both, pods.in].map((each) => Buffer.from(addressBytes(each)).toString("hex"));
    return hex.replaceAll(from ?? "", to ?? "");
  }, Buffer.from(frame).toString("hex"));
  return { direction, frame: Uint8Array.from(Buffer.from(text, "hex")) };
});

const NUMBERS: Readonly<Record<Evidence["assigned"], number>> = {
  none: ASSIGNED.NONE,
  opening: ASSIGNED.OPENING,
  open: ASSIGNED.OPEN,
  ended: ASSIGNED.ENDED,
  error: ASSIGNED.ERROR,
};

/** FNV-1a. */
const hashOf = (text: string): number =>
  [...text].reduce((hash, char) => Math.imul(hash ^ char.charCodeAt(0), 0x01000193) >>> 0, 0x811c9dc5);

/**
 * By the packet's flow alone: otherwise it would depend on the tick what the programs still know of the flow. At other ports no socket is
 * looked up: what has been seen at one port may take the place of another's.
 */
function evidenceOf({ direction, frame }: Sample, epoch: number): Evidence {
  const read = readFrame(frame);
  const hasSocket = epoch % 4 !== 3;
  if (read.kind !== "ip" || direction === "egress") return { assigned: "none", hasSocket };
  const { protocol, source, sourcePort, destinationPort, tcpFlags = 0 } = read;
  const hash = hashOf(`${epoch} ${source} ${sourcePort} ${destinationPort}`) % 8;
  if (protocol !== 6) return { assigned: hash % 2 === 0 ? "error" : "none", hasSocket };
  const isSyn = (tcpFlags & 0x16) === 0x02;
  const isSeen = destinationPort === ALLOWED_PORT || isSyn;
  if (hash < 4) return { assigned: isSyn ? "opening" : isSeen ? "open" : "ended", hasSocket };
  return { assigned: hash < 6 ? "ended" : hash === 6 ? "none" : "error", hasSocket };
}

async function forgetSockets(): Promise<void> {
  const sockets = tableOf("pod_sockets", world.bench.datapath.map("pod_sockets"));
  await sockets.writeBatch((await sockets.read()).map(([place]) => [place, { word: 0n }]));
}

it(
  `are what the model says: ${PACKETS} of them, seed ${SEED} (WEIR_FUZZ_PACKETS, WEIR_FUZZ_SEED)`,
  async () => {
    const mutate = mutator(SEED, samples);
    const reasons = new Map<string, number>();
    let entries = 0;
    for (let epoch = 0; epoch < EPOCHS; epoch += 1) {
      await world.forget();
      await forgetSockets();
      await world.outwait(0);
      const memory = newOneSidedMemory();
      const subject: Subject = {
        pod: "in",
        world,
        judge: (sample) => judgeOneSided(memory, sample.direction, sample.frame, evidenceOf(sample, epoch)),
        // For the rest of a tick in which a packet to the pod needed no entry, answers leave as if there were none.
        countedAs: (key) => (key === "egress established" ? "egress not-isolated" : key),
        priorityOf(sample) {
          const { assigned, hasSocket } = evidenceOf(sample, epoch);
          const number = NUMBERS[assigned];
          return number | (hasSocket ? 0 : WITHOUT_SOCKET);
        },
      };
      // Whole ones first, so that there are flows to be mistaken for; twice, since the first segments show that there are sockets.
      const tally = holdAll(subject, oneByOne(samples, samples, mutated(mutate, EPOCH_PACKETS)));
      for (const [key, count] of tally.reasons) reasons.set(key, (reasons.get(key) ?? 0) + count);
      const flows = world.flows().filter(({ flow }) => flow.expires > 0n);
      expect(flows.length, `epoch ${epoch}, seed ${SEED}`).toBe(memory.flows.size);
      entries += memory.flows.size;
    }
    for (const key of ["policy", "established", "related", "untracked", "denied", "fragment"])
      expect(reasons.get(`ingress ${key}`), key).toBeGreaterThan(0);
    for (const key of ["not-isolated", "established", "spoofed", "neighbour"])
      expect(reasons.get(`egress ${key}`), key).toBeGreaterThan(0);
    expect(entries).toBeGreaterThan(0);
  },
  2 * PATIENCE_MS,
);
