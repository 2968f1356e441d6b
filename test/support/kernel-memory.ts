// The kernel's maps in memory, two versions of every value and all, read as bpf/policy.h reads them: what a packet would
// see between any two writes of an update. It takes the same batches as datapath/policy-maps.ts and writes them one by one.

import { type FilterWords, isInFilter, NO_WORDS } from "../../src/base/address-filter.ts";
import type { Direction } from "../../src/base/direction.ts";
import { mostSpecific } from "../../src/base/domain-name.ts";
import { type Address, compareCidrs } from "../../src/base/ip.ts";
import { findAddress, type PrefixTable, prefixTable } from "../../src/base/prefix-table.ts";
import {
  type ClassSpan,
  closedKey,
  domainsOf,
  type Endpoint,
  identityIn,
  isAudited,
  nameKey,
  PORT_LINE_SIZE,
  policyNumber,
  type State,
  serviceKey,
  usesNames,
} from "../../src/state/desired-state.ts";
import { ABSENT, type Batch, type Held, type PolicyPair } from "../../src/state/state-diff.ts";
import { cidrFrom } from "../../src/state/state-lookup.ts";

type Pair<T> = [T, T];

export interface Question {
  readonly ifindex: number;
  readonly direction: Direction;
  readonly remote: Address;
  /** That the endpoint has resolved to it. */
  readonly names?: readonly string[];
  readonly place: number;
}

export interface KernelMemory {
  /** `isKnown`: by the names as they have been learned; else as if they were at this moment. */
  allows(question: Question, isKnown?: boolean): boolean;
  /** As with the answer to a question about each of these names. */
  learn(names: Iterable<string>): void;
  /** Whether the endpoint may send from the address, apart from its own ones. */
  isSource(ifindex: number, address: Address): boolean;
  /** Whether the address is in a scope that belongs to no endpoint. */
  inScope(scope: number, address: Address): boolean;
  tunnelPorts(): readonly number[];
  /** Single writes, in an order determined by the caller's numbers. */
  writes(batch: Batch, random: Iterable<number>): Generator<() => void>;
  flip(): void;
  read(): Held;
}

interface Memory {
  generation: number;
  readonly endpoints: Map<number, { endpoint: Endpoint; policy: Pair<PolicyPair>; moreSources: boolean }>;
  /** By interface and prefix. */
  readonly sources: Map<string, Pair<boolean>>;
  readonly addresses: Map<string, Pair<number | typeof ABSENT>>;
  closed: FilterWords;
  readonly services: Map<string, Pair<number | typeof ABSENT>>;
  readonly names: Map<string, Pair<number | typeof ABSENT>>;
  readonly domains: Set<string>;
  /** The rule's name under which each name was learned. */
  readonly learned: Map<string, string>;
  readonly cidrs: Map<string, Pair<number>>;
  readonly ports: Pair<number>[];
  readonly rows: Map<number, ReadonlySet<number>>;
  readonly policies: Map<number, Map<number, number>>;
  tunnelPorts: Pair<readonly number[]>;
  /** Built from `sources`, by scope, when first read after a change. */
  readonly scopes: Map<number, PrefixTable<Pair<boolean>>>;
  /** Built from `cidrs` when first read after a change. */
  trie: PrefixTable<Pair<number>> | undefined;
}

export function simulate(): KernelMemory {
  const memory: Memory = {
    generation: 0,
    endpoints: new Map(),
    sources: new Map(),
    addresses: new Map(),
    closed: NO_WORDS,
    services: new Map(),
    names: new Map(),
    domains: new Set(),
    learned: new Map(),
    cidrs: new Map(),
    ports: Array.from({ length: PORT_LINE_SIZE }, () => [0, 0]),
    rows: new Map(),
    policies: new Map(),
    tunnelPorts: [[], []],
    scopes: new Map(),
    trie: undefined,
  };
  return {
    allows: (question, isKnown = false) => allows(memory, question, isKnown),
    learn(names) {
      memory.learned.clear();
      for (const name of names) {
        const pattern = mostSpecific(memory.domains, name);
        if (pattern !== undefined) memory.learned.set(name, pattern);
      }
    },
    isSource: (ifindex, address) =>
      memory.endpoints.get(ifindex)?.moreSources === true && inScope(memory, ifindex, address),
    inScope: (scope, address) => inScope(memory, scope, address),
    tunnelPorts: () => memory.tunnelPorts[memory.generation & 1] ?? [],
    *writes(batch, random) {
      const list = [...sets(memory, batch), ...removals(memory, batch.remove)];
      const numbers = random[Symbol.iterator]();
      while (list.length > 0) {
        const index = (numbers.next().value as number) % list.length;
        yield list.splice(index, 1)[0] as () => void;
      }
    },
    flip() {
      memory.generation += 1;
    },
    read: () => read(memory),
  };
}

/** As judge() in bpf/policy.h. */
function allows(
  memory: Memory,
  { ifindex, direction, remote, place, names = [] }: Question,
  isKnown: boolean,
): boolean {
  const version = memory.generation & 1;
  const entry = memory.endpoints.get(ifindex);
  if (entry === undefined) return false;
  const marked = entry.policy[version]?.[direction] ?? 0;
  if (marked === 0 || isAudited(marked)) return true;
  const number = policyNumber(marked);
  const own = memory.addresses.get(remote.text)?.[version] ?? ABSENT;
  const isClosed = own === ABSENT && isInFilter(memory.closed, remote);
  const exact = isClosed ? (memory.addresses.get(closedKey(remote.family))?.[version] ?? ABSENT) : own;
  memory.trie ??= prefixTable([...memory.cidrs].map(([text, value]) => [cidrFrom(text), value] as const));
  const found = exact === ABSENT ? (findAddress(memory.trie, remote)?.[version] ?? 0) : exact;
  const behind =
    found !== identityIn(found) && direction === "egress"
      ? (memory.services.get(serviceKey(remote.text, place))?.[version] ?? ABSENT)
      : ABSENT;
  const identity = behind === ABSENT ? identityIn(found) : behind;
  const byPolicy = (policy: number): boolean => {
    const cells = memory.policies.get(policy);
    const row = cells?.get(identity) || cells?.get(0) || 0;
    if (row <= 1) return row === 1;
    return memory.rows.get(row)?.has(memory.ports[place]?.[version] ?? 0) ?? false;
  };
  if (byPolicy(number)) return true;
  if (!usesNames(marked) || direction !== "egress") return false;
  return names.some((name) => {
    const pattern = isKnown ? memory.learned.get(name) : mostSpecific(memory.domains, name);
    const by =
      pattern === undefined ? ABSENT : (memory.names.get(nameKey(number, pattern))?.[version] ?? ABSENT);
    return by !== ABSENT && byPolicy(by);
  });
}

/** As is_source_v4() and is_source_v6() in bpf/anti_spoofing.h. */
function inScope(memory: Memory, scope: number, address: Address): boolean {
  let table = memory.scopes.get(scope);
  if (table === undefined) {
    const own = [...memory.sources].flatMap(([key, value]) => {
      const [of, text = ""] = key.split(" ");
      return Number(of) === scope ? [[cidrFrom(text), value] as const] : [];
    });
    table = prefixTable(own);
    memory.scopes.set(scope, table);
  }
  return findAddress(table, address)?.[memory.generation & 1] ?? false;
}

function* sets(memory: Memory, batch: Batch): Generator<() => void> {
  const pair = <T>({ live, next }: { live: T; next: T }): Pair<T> =>
    (memory.generation & 1) === 0 ? [live, next] : [next, live];
  for (const { number, classes } of batch.rows) yield () => memory.rows.set(number, new Set(classes));
  for (const { number, cells, changed, isNew } of batch.policies) {
    // A policy that outgrows its map is recreated, whole: odd numbers mark those.
    if (isNew || number % 2 === 1) yield () => memory.policies.set(number, new Map(cells));
    else
      for (const identity of changed)
        yield () => memory.policies.get(number)?.set(identity, cells.get(identity) ?? 0);
  }
  for (const { first, last, ...versions } of batch.ports) {
    yield () => {
      for (let place = first; place <= last; place += 1) memory.ports[place] = pair(versions);
    };
  }
  for (const { cidr, identity } of batch.cidrs) {
    yield () => {
      memory.cidrs.set(cidr, pair(identity));
      memory.trie = undefined;
    };
  }
  for (const { address, identity } of batch.addresses)
    yield () => memory.addresses.set(address, pair(identity));
  for (const { to } of batch.closed)
    yield () => {
      memory.closed = to;
    };
  for (const { frontend, identity } of batch.services)
    yield () => memory.services.set(frontend, pair(identity));
  if (batch.names.length > 0 || batch.domains.length > 0)
    // One after the other, as writeNames() in datapath/domain-names.ts.
    yield () => {
      for (const { key, policy } of batch.names) memory.names.set(key, pair(policy));
      for (const name of batch.domains) memory.domains.add(name);
    };
  for (const { ifindex, cidr, ...versions } of batch.sources)
    yield () => {
      memory.sources.set(`${ifindex} ${cidr}`, pair(versions));
      memory.scopes.delete(ifindex);
    };
  for (const versions of batch.tunnelPorts)
    yield () => {
      memory.tunnelPorts = pair(versions);
    };
  for (const { ifindex, endpoint, policy, moreSources } of batch.endpoints)
    yield () => memory.endpoints.set(ifindex, { endpoint, policy: pair(policy), moreSources });
}

function* removals(memory: Memory, remove: Batch["remove"]): Generator<() => void> {
  for (const ifindex of remove.endpoints) yield () => memory.endpoints.delete(ifindex);
  for (const { ifindex, cidr } of remove.sources)
    yield () => {
      memory.sources.delete(`${ifindex} ${cidr}`);
      memory.scopes.delete(ifindex);
    };
  for (const address of remove.addresses) yield () => memory.addresses.delete(address);
  for (const frontend of remove.services) yield () => memory.services.delete(frontend);
  for (const cidr of remove.cidrs) {
    yield () => {
      memory.cidrs.delete(cidr);
      memory.trie = undefined;
    };
  }
  if (remove.domains.length > 0 || remove.names.length > 0)
    // One after the other, as removeNames() in datapath/domain-names.ts.
    yield () => {
      for (const { name, heir } of remove.domains) {
        memory.domains.delete(name);
        for (const [each, pattern] of memory.learned)
          if (pattern === name && heir !== undefined) memory.learned.set(each, heir);
      }
      for (const key of remove.names) memory.names.delete(key);
    };
  for (const number of remove.policies) yield () => memory.policies.delete(number);
  for (const number of remove.rows) yield () => memory.rows.delete(number);
}

/** As datapath/read-back.ts. */
function read(memory: Memory): Held {
  const version = memory.generation & 1;
  const differ = <K, V>(entries: Iterable<[K, Pair<V>]>) =>
    new Set([...entries].filter(([, [a, b]]) => JSON.stringify(a) !== JSON.stringify(b)).map(([key]) => key));
  const inForce = (entries: Memory["addresses"]) =>
    new Map(
      [...entries].flatMap(([key, { [version]: value }]) =>
        typeof value === "number" ? [[key, value]] : [],
      ),
    );
  const endpoints = [...memory.endpoints];
  const sources = [...memory.sources]
    .map(([key, value]) => [Number(key.split(" ")[0]), key.split(" ")[1] ?? "", value] as const)
    .sort(([, a], [, b]) => compareCidrs(cidrFrom(a), cidrFrom(b)));
  const state: State = {
    endpoints: new Map(
      endpoints.map(([ifindex, each]) => [
        ifindex,
        {
          ...each.endpoint,
          sources: sources.flatMap(([of, cidr, value]) => (of === ifindex && value[version] ? [cidr] : [])),
          policy: each.policy[version] as PolicyPair,
        },
      ]),
    ),
    scopes: new Map(
      Map.groupBy(
        sources.filter(([of, , value]) => !memory.endpoints.has(of) && value[version]),
        ([of]) => of,
      )
        .entries()
        .map(([of, entries]) => [of, entries.map(([, cidr]) => cidr)]),
    ),
    tunnelPorts: memory.tunnelPorts[version] ?? [],
    addresses: inForce(memory.addresses),
    closed: memory.closed,
    services: inForce(memory.services),
    cidrs: new Map([...memory.cidrs].map(([key, value]) => [key, value[version] as number])),
    ports: spansOf(memory.ports.map((value) => value[version] as number)),
    rows: new Map([...memory.rows].map(([number, set]) => [number, [...set].sort((a, b) => a - b)])),
    names: inForce(memory.names),
    policies: new Map(
      [...memory.policies].map(([number, cells]) => [
        number,
        new Map([...cells].filter(([, row]) => row !== 0)),
      ]),
    ),
  };
  return {
    state,
    unsettled: {
      policies: new Set(),
      addresses: differ(memory.addresses),
      services: differ(memory.services),
      cidrs: differ(memory.cidrs),
      names: differ(memory.names),
      domains: domainsOf(inForce(memory.names)).symmetricDifference(memory.domains),
      endpoints: differ(endpoints.map(([key, { policy }]) => [key, policy])),
      sources: sources.flatMap(([ifindex, cidr, [a, b]]) => (a && b ? [] : [{ ifindex, cidr }])),
      ports: memory.ports.some(([a, b]) => a !== b),
      tunnelPorts: memory.tunnelPorts[0].join() !== memory.tunnelPorts[1].join(),
    },
  };
}

function spansOf(classes: readonly number[]): ClassSpan[] {
  const spans: { first: number; last: number; class: number }[] = [];
  for (const [place, number] of classes.entries()) {
    if (number === 0) continue;
    const top = spans.at(-1);
    if (top !== undefined && top.last === place - 1 && top.class === number) top.last = place;
    else spans.push({ first: place, last: place, class: number });
  }
  return spans;
}
