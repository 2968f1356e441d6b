// The kernel's maps in memory, two versions of every value and all, read as bpf/policy.h reads them: what a packet would
// see between any two writes of an update. It takes the same batches as datapath/maps.ts and writes them one by one.

import type { Direction } from "../../src/base/direction.ts";
import type { Address } from "../../src/base/ip.ts";
import { findAddress, type PrefixTable, prefixTable } from "../../src/base/prefixes.ts";
import { ABSENT, type Batch, type Held, type PolicyPair } from "../../src/state/diff.ts";
import { cidrFrom } from "../../src/state/lookup.ts";
import { type ClassSpan, type Endpoint, PORT_LINE_SIZE, type State } from "../../src/state/state.ts";

type Pair<T> = [T, T];

export interface KernelMemory {
  allows(question: { ifindex: number; direction: Direction; remote: Address; place: number }): boolean;
  /** Single writes, in an order that the caller's numbers choose within what the writer guarantees. */
  writes(batch: Batch, random: Iterable<number>): Generator<() => void>;
  flip(): void;
  read(): Held;
}

export function simulate(): KernelMemory {
  let generation = 0;
  const endpoints = new Map<number, { endpoint: Endpoint; policy: Pair<PolicyPair> }>();
  const addresses = new Map<string, Pair<number | typeof ABSENT>>();
  const cidrs = new Map<string, Pair<number>>();
  const ports: Pair<number>[] = Array.from({ length: PORT_LINE_SIZE }, () => [0, 0]);
  const rows = new Map<number, ReadonlySet<number>>();
  const policies = new Map<number, Map<number, number>>();
  let table: PrefixTable<Pair<number>> | undefined;

  const live = () => generation & 1;
  const pair = <T>(versions: { live: T; next: T }): Pair<T> =>
    live() === 0 ? [versions.live, versions.next] : [versions.next, versions.live];

  function* operations(batch: Batch): Generator<() => void> {
    for (const { number, classes } of batch.rows) yield () => rows.set(number, new Set(classes));
    for (const { number, cells, changed, isNew } of batch.policies) {
      if (isNew) yield () => policies.set(number, new Map(cells));
      else
        for (const identity of changed)
          yield () => policies.get(number)?.set(identity, cells.get(identity) ?? 0);
    }
    for (const { first, last, ...versions } of batch.ports) {
      yield () => {
        for (let place = first; place <= last; place += 1) ports[place] = pair(versions);
      };
    }
    for (const { cidr, identity } of batch.cidrs) {
      yield () => {
        cidrs.set(cidr, pair(identity));
        table = undefined;
      };
    }
    for (const { address, identity } of batch.addresses) yield () => addresses.set(address, pair(identity));
    for (const { ifindex, endpoint, policy } of batch.endpoints)
      yield () => endpoints.set(ifindex, { endpoint, policy: pair(policy) });
    const { remove } = batch;
    for (const ifindex of remove.endpoints) yield () => endpoints.delete(ifindex);
    for (const address of remove.addresses) yield () => addresses.delete(address);
    for (const cidr of remove.cidrs) {
      yield () => {
        cidrs.delete(cidr);
        table = undefined;
      };
    }
    for (const number of remove.policies) yield () => policies.delete(number);
    for (const number of remove.rows) yield () => rows.delete(number);
  }

  return {
    allows({ ifindex, direction, remote, place }) {
      const version = live();
      const entry = endpoints.get(ifindex);
      if (entry === undefined) return false;
      const number = entry.policy[version]?.[direction] ?? 0;
      if (number === 0) return true;
      const cells = policies.get(number);
      if (cells === undefined) return false;
      const exact = addresses.get(remote.text)?.[version] ?? ABSENT;
      const table = prefixTable(
        [...cidrs].map(([text, value]) => [cidrFrom(text), value[version] as number] as const),
      );
      const identity = exact === ABSENT ? (findAddress(table, remote) ?? 0) : exact;
      const row = cells.get(identity) || cells.get(0) || 0;
      if (row <= 1) return row === 1;
      return rows.get(row)?.has(ports[place]?.[version] ?? 0) ?? false;
    },
    *writes(batch, random) {
      const list = [...operations(batch)];
      const numbers = random[Symbol.iterator]();
      while (list.length > 0) {
        const index = (numbers.next().value as number) % list.length;
        yield list.splice(index, 1)[0] as () => void;
      }
    },
    flip() {
      generation += 1;
    },
    read() {
      const version = live();
      const spans: ClassSpan[] = [];
      for (const [place, value] of ports.entries()) {
        const number = value[version] as number;
        if (number === 0) continue;
        const top = spans.at(-1);
        if (top !== undefined && top.last === place - 1 && top.class === number)
          spans[spans.length - 1] = { ...top, last: place };
        else spans.push({ first: place, last: place, class: number });
      }
      const differ = <K, V>(entries: Iterable<[K, Pair<V>]>) =>
        new Set([...entries].filter(([, [a, b]]) => a !== b).map(([key]) => key));
      const present = [...addresses].filter(([, value]) => value[version] !== ABSENT);
      const state: State = {
        endpoints: new Map(
          [...endpoints].map(([ifindex, { endpoint, policy }]) => [
            ifindex,
            { ...endpoint, policy: policy[version] as PolicyPair },
          ]),
        ),
        addresses: new Map(present.map(([key, value]) => [key, value[version] as number])),
        cidrs: new Map([...cidrs].map(([key, value]) => [key, value[version] as number])),
        ports: spans,
        rows: new Map([...rows].map(([number, classes]) => [number, [...classes].sort((a, b) => a - b)])),
        policies: new Map(
          [...policies].map(([number, cells]) => [
            number,
            new Map([...cells].filter(([, row]) => row !== 0)),
          ]),
        ),
      };
      return {
        state,
        unsettled: {
          addresses: differ(addresses),
          cidrs: differ(cidrs),
          endpoints: new Set(
            [...endpoints]
              .filter(
                ([
                  ,
                  {
                    policy: [a, b],
                  },
                ]) => JSON.stringify(a) !== JSON.stringify(b),
              )
              .map(([key]) => key),
          ),
          ports: ports.some(([a, b]) => a !== b),
        },
      };
    },
  };
}
