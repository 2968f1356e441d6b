// What the tests of domain names have in common: addresses that names may have, counters, connections.

import { type Address, addressBytes, addressOf } from "../../src/base/ip.ts";
import { packet } from "../../src/engines/frame-builder.ts";
import { DNS_TYPE, type DnsRecord } from "../../src/lab/dns-message.ts";
import { address } from "../support/model.ts";
import { type PodName, V4, V6, type World } from "./world.ts";

/** Removes what pods have resolved and asked. */
export async function forgetNames({ bench }: World): Promise<void> {
  const { names, questions, nameRings } = bench.maps.tables;
  await names.deleteBatch((await names.read()).map(([key]) => key));
  await questions.deleteBatch((await questions.read()).map(([key]) => key));
  await nameRings.deleteBatch((await nameRings.read()).map(([key]) => key));
}

function countersOf(world: World, name: PodName) {
  const { endpoints, nameCounters } = world.bench.maps.tables;
  const endpoint = endpoints.get(world.ifindexOf(name) % 4096);
  const found = nameCounters.get(endpoint?.id ?? 0);
  if (endpoint?.ifindex !== world.ifindexOf(name) || found === undefined) throw new Error("no counters");
  return found;
}

/** What an action adds to the counters of a pod. */
export function countedNames(world: World, run: () => void, name: PodName = "out") {
  const before = countersOf(world, name);
  run();
  const after = countersOf(world, name);
  const keys = [
    "questions",
    "answers",
    "learned",
    "unasked",
    "malformed",
    "refused",
    "evicted",
    "displaced",
    "unread",
  ] as const;
  return Object.fromEntries(
    keys.flatMap((key) => (after[key] === before[key] ? [] : [[key, Number(after[key] - before[key])]])),
  );
}

export const typeOf = ({ family }: Address): number => (family === 4 ? DNS_TYPE.A : DNS_TYPE.AAAA);

export const record = (to: Address, more: Partial<DnsRecord> = {}): DnsRecord => ({
  type: typeOf(to),
  ttl: 300,
  data: Uint8Array.from(addressBytes(to)),
  ...more,
});

/** An address that no rule without a name allows. */
export const outside = (host: number, family: 4 | 6 = 4): Address =>
  family === 4 ? addressOf(4, 0xc6336400n + BigInt(host)) : address(`2001:db8::${host.toString(16)}`);

/** What becomes of a SYN. */
export const connectTo = (
  world: World,
  to: Address,
  {
    pod,
    hook,
    from,
    port,
  }: {
    readonly pod: PodName;
    readonly hook: "tc" | "xdp";
    readonly from: number;
    readonly port: number;
  },
): string =>
  world.ask({
    ...{ pod, direction: "egress", hook },
    frame: packet({
      ...{ source: (to.family === 4 ? V4 : V6).pods[pod], destination: to, protocol: "TCP" },
      ...{ sourcePort: from, destinationPort: port },
    }),
  });
