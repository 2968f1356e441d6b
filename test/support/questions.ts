// Questions about a world with the oracle's answers: every endpoint, direction, address and port of the random worlds.

import { DIRECTIONS, type Direction } from "../../src/base/direction.ts";
import type { Address } from "../../src/base/ip.ts";
import { type Cluster, keyOf, type Pod } from "../../src/model/cluster.ts";
import type { Protocol } from "../../src/model/protocol.ts";
import { evaluate, type Party, type Probe, permits } from "../../src/policy/oracle.ts";
import { placeOf } from "../../src/policy/port-classes.ts";
import { partyAt } from "../../src/policy/service-oracle.ts";
import { verdictText } from "../../src/policy/verdict-text.ts";
import type { Question } from "./kernel-memory.ts";
import { addressesOf, localsOf, namesBetween, PROBE_PORTS } from "./worlds.ts";

export interface AnsweredQuestion extends Question {
  /** The endpoint's own address. */
  readonly local: Address;
  readonly protocol: Protocol | "ICMP";
  readonly port: number;
  readonly allowed: boolean;
  readonly why: () => string;
}

/** Every question about every endpoint of a world, or every `step`th, with the oracle's answer and reason. */
export function* questions(world: Cluster, step = 1): Generator<AnsweredQuestion> {
  const remotes = addressesOf(world);
  let count = 0;
  for (const { pod, ifindex } of localsOf(world)) {
    for (const local of pod.ips) {
      for (const remote of remotes) {
        if (remote.family !== local.family || pod.ips.some(({ text }) => text === remote.text)) continue;
        for (const direction of DIRECTIONS) {
          for (const traffic of PROBE_PORTS) {
            count += 1;
            if (count % step === 0)
              yield answered({ world, pod, local, remote, direction, ifindex }, traffic);
          }
        }
      }
    }
  }
}

interface Asked {
  readonly world: Cluster;
  readonly pod: Pod;
  readonly local: Address;
  readonly remote: Address;
  readonly direction: Direction;
  readonly ifindex: number;
}

function answered(asked: Asked, { protocol, port }: (typeof PROBE_PORTS)[number]): AnsweredQuestion {
  const { world, pod, local, remote, direction, ifindex } = asked;
  const self: Party = { kind: "pod", pod, address: local };
  const other = partyAt(world, remote);
  const ends = direction === "ingress" ? { from: other, to: self } : { from: self, to: other };
  const names = direction === "egress" ? namesBetween(local, remote) : [];
  const probe: Probe = { ...ends, protocol, port, names };
  const verdict = evaluate(world, probe);
  return {
    ifindex,
    direction,
    remote,
    local,
    names,
    protocol,
    port,
    place: placeOf(protocol === "ICMP" ? "other" : protocol, port),
    allowed: permits(verdict[direction]),
    why: () => `${direction} of ${keyOf(pod)}: ${verdictText(verdict)}`,
  };
}

/** For messages. */
export const questionText = ({ direction, ifindex, remote, place }: Question): string =>
  `${direction} of ${ifindex}, ${remote.text}, place ${place}`;
