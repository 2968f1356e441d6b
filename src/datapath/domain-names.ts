// Domain names of rules in the kernel's tables, and resolved addresses. See struct domain_name_key in bpf/layout.h.

import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { assert } from "../base/assert.ts";
import type { Address } from "../base/ip.ts";
import {
  CountedFamily,
  type DomainNameKey,
  IDENTITY_ABSENT,
  MAPS,
  NAME_BYTES,
  NAME_NONE,
  NAME_RING_ENTRY_SIZE,
  NAME_RINGS,
  NAMES_EACH,
  type NamedAddress,
  type NamedAddressKey,
  type NamePolicyKey,
  type NameRingEntry,
} from "../gen/layout.ts";
import { NO_NAME, nameFrom } from "../state/desired-state.ts";
import { ABSENT, type Batch } from "../state/state-diff.ts";
import type { PairOf } from "./address-tables.ts";
import { addressOfV4, addressOfV6, addressV6Of, valueV4Of } from "./codec.ts";
import type { Tables } from "./typed-maps.ts";

const WILDCARD = "*.";

/** The number of a rule's name: half of a SHA-256, so that every agent gives the same one, and no two names have one. */
export const domainNumberOf = (name: string): bigint =>
  createHash("sha256").update(name).digest().readBigUInt64LE() || 1n;

export function domainNameKeyOf(name: string): DomainNameKey {
  const isWildcard = name.startsWith(WILDCARD);
  const backwards = [...(isWildcard ? name.slice(1) : name)].reverse().join("");
  const bytes = Buffer.from(isWildcard ? backwards : `${backwards}\0`, "latin1");
  assert(bytes.length < NAME_BYTES, `${name} is too long for a domain name`);
  return {
    length: bytes.length * 8,
    text: Array.from({ length: NAME_BYTES }, (_, at) => bytes[at] ?? 0),
  } as unknown as DomainNameKey;
}

/** The name of an entry; the entry may have been written externally. */
export function domainNameOf({ length, text }: DomainNameKey): string {
  const bytes = Buffer.from((text as readonly number[]).slice(0, Math.floor(length / 8)));
  const forwards = bytes.toString("latin1").split("").reverse().join("");
  return forwards.startsWith("\0") ? forwards.slice(1) : `*${forwards}`;
}

const namePolicyKeyOf = (key: string): NamePolicyKey => {
  const { policy, name } = nameFrom(key);
  if (name === NO_NAME) return { pattern: BigInt(NAME_NONE), policy };
  return { pattern: name.startsWith("#") ? BigInt(`0x${name.slice(1)}`) : domainNumberOf(name), policy };
};

/** Policies before the names that lead to them. */
export async function writeNames(tables: Tables, batch: Batch, pair: PairOf): Promise<void> {
  const number = (value: number | typeof ABSENT) => (value === ABSENT ? IDENTITY_ABSENT : value);
  await tables.namePolicies.writeBatch(
    batch.names.map(({ key, policy }) => [
      namePolicyKeyOf(key),
      { number: pair({ live: number(policy.live), next: number(policy.next) }) },
    ]),
  );
  await tables.domainNames.writeBatch(
    batch.domains.map((name) => [domainNameKeyOf(name), { pattern: domainNumberOf(name) }]),
  );
}

/**
 * What pods have resolved by a removed name goes to its heir, before the policies that the removed name leads to go. Until nothing has it, the table of
 * names has the removed name with the number of its heir: so nothing more is learned under it, and after an interruption all this is repeated.
 * `settle` returns when no program run is active that has seen what was before.
 */
export async function removeNames(
  tables: Tables,
  gone: Batch["remove"],
  settle: () => Promise<void>,
): Promise<void> {
  const inherited = gone.domains.flatMap(({ name, heir }) => (heir === undefined ? [] : [{ name, heir }]));
  if (inherited.length > 0) {
    await tables.domainNames.writeBatch(
      inherited.map(({ name, heir }) => [domainNameKeyOf(name), { pattern: domainNumberOf(heir) }]),
    );
    await settle();
    const heirs = inherited.map(({ name, heir }) => [domainNumberOf(name), domainNumberOf(heir)] as const);
    await inherit(tables, new Map(heirs));
  }
  await tables.domainNames.deleteBatch(gone.domains.map(({ name }) => domainNameKeyOf(name)));
  await tables.namePolicies.deleteBatch(gone.names.map(namePolicyKeyOf));
}

/** Entries with one of these patterns are read once more and written at once: what a program writes to one of them between the two is lost. */
async function inherit({ names }: Pick<Tables, "names">, heirs: ReadonlyMap<bigint, bigint>): Promise<void> {
  const isHit = ({ slots }: NamedAddress): boolean => slots.some(({ pattern }) => heirs.has(pattern));
  for (const [key, read] of await names.read()) {
    const value = isHit(read) ? names.get(key) : undefined;
    if (value !== undefined && isHit(value)) names.replace(key, inheritedBy(value, heirs));
  }
}

/** Slots of one pattern become one, which expires last. */
export function inheritedBy(value: NamedAddress, heirs: ReadonlyMap<bigint, bigint>): NamedAddress {
  const expiries = new Map<bigint, bigint>();
  for (const { pattern, expires } of value.slots) {
    const by = heirs.get(pattern) ?? pattern;
    const known = expiries.get(by);
    if (by !== 0n && (known === undefined || known < expires)) expiries.set(by, expires);
  }
  const slots = [...expiries].map(([pattern, expires]) => ({ pattern, expires }));
  const free = { pattern: 0n, expires: 0n };
  return {
    ...value,
    slots: value.slots.map((_, at) => slots[at] ?? free) as unknown as NamedAddress["slots"],
  };
}

export const namedAddressOf = ({ address, family }: Pick<NamedAddressKey, "address" | "family">): Address =>
  family === CountedFamily.IPV4 ? addressOfV4(Number(address.low >> 32n)) : addressOfV6(address);

export const namedAddressKeyOf = (incarnation: number, address: Address): NamedAddressKey => ({
  address: address.family === 4 ? { high: 0n, low: BigInt(valueV4Of(address)) << 32n } : addressV6Of(address),
  incarnation,
  family: address.family === 4 ? CountedFamily.IPV4 : CountedFamily.IPV6,
});

/** An address that a pod has resolved. */
export interface KnownName {
  /** Of the pod. */
  readonly incarnation: number;
  readonly address: Address;
  /** The most specific name of a rule that matches the name in the question; "#" and its number if no rule has it any more. */
  readonly name: string;
  /** In ticks. */
  readonly expires: bigint;
}

type NameTables = Pick<Tables, "names" | "domainNames">;

/** Texts of the numbers of names, those in force. */
function textsOf(
  domains: Awaited<ReturnType<NameTables["domainNames"]["read"]>>,
): ReadonlyMap<bigint, string> {
  return new Map(
    domains.flatMap(([key, { pattern }]) => {
      const name = domainNameOf(key);
      return pattern === domainNumberOf(name) ? [[pattern, name]] : [];
    }),
  );
}

type Entry = Awaited<ReturnType<NameTables["names"]["read"]>>[number];

const knownIn = ([key, { slots }]: Entry, texts: ReadonlyMap<bigint, string>): KnownName[] =>
  slots.flatMap(({ pattern, expires }) =>
    pattern === 0n
      ? []
      : [
          {
            incarnation: key.incarnation,
            address: namedAddressOf(key),
            name: texts.get(pattern) ?? `#${pattern.toString(16)}`,
            expires,
          },
        ],
  );

/** All resolved addresses, expired ones included. Errors: OperationError. */
export async function readKnownNames({ names, domainNames }: NameTables): Promise<KnownName[]> {
  const texts = textsOf(await domainNames.read());
  return (await names.read()).flatMap((entry) => knownIn(entry, texts));
}

/** Which of these names a pod has resolved to an address: one look-up in the kernel. */
export function namesOfAddress(
  { names }: Pick<Tables, "names">,
  { incarnation, address, domains }: { incarnation: number; address: Address; domains: Iterable<string> },
): readonly string[] {
  const key = namedAddressKeyOf(incarnation, address);
  const value = names.get(key);
  if (value === undefined) return [];
  const texts = new Map([...domains].map((name) => [domainNumberOf(name), name]));
  return knownIn([key, value], texts).map(({ name }) => name);
}

/** Removes what pods that are gone had resolved, by their rings: whatever a pod has in the maps is in these. */
export interface NameSweeper {
  /** A pod has come: it is an endpoint before it sends any question. */
  came(incarnation: number): void;
  /**
   * Costs nothing as long as no pod has gone, but for the first time, when the rings of an earlier agent's pods are looked for. Of the
   * others nothing is removed: it may be learned again at this moment. Errors: OperationError; then the next sweep tries again.
   */
  sweep(): Promise<void>;
}

export function openNameSweeper(
  tables: Pick<Tables, "names" | "questions" | "nameRings" | "endpoints">,
): NameSweeper {
  const known = new Set<number>();
  let hasLooked = false;
  return {
    came: (incarnation) => void known.add(incarnation),
    async sweep() {
      if (!hasLooked)
        for await (const page of tables.nameRings.keyPages())
          for (const { incarnation } of page) known.add(incarnation);
      hasLooked = true;
      // After the others, for the same reason.
      const endpoints = await tables.endpoints.read({ skipZero: true });
      const live = new Set(endpoints.map(([, { incarnation }]) => incarnation));
      for (const incarnation of [...known.difference(live)]) {
        await forget(tables, incarnation);
        known.delete(incarnation);
      }
      for (const incarnation of live) known.add(incarnation);
    },
  };
}

/** Rings last, as long as which an interrupted sweep can be repeated. */
async function forget(
  { names, questions, nameRings }: Pick<Tables, "names" | "questions" | "nameRings">,
  incarnation: number,
): Promise<void> {
  const entries = Array.from({ length: NAME_RINGS * NAMES_EACH }, (_, place) => ({
    incarnation,
    place,
  })).flatMap((key) => {
    const entry = nameRings.get(key);
    return entry === undefined ? [] : [{ key, words: entry.words }];
  });
  // The places of NAME_RING_ADDRESSES come first.
  const [addresses, asked] = [false, true].map((isLater) =>
    entries.flatMap(({ key, words }) => (key.place >= NAMES_EACH === isLater ? [viewOf(words)] : [])),
  ) as [DataView[], DataView[]];
  await names.deleteBatch(addresses.map((view) => MAPS.names.key.decode(view, 0)));
  await questions.deleteBatch(asked.map((view) => MAPS.questions.key.decode(view, 0)));
  await nameRings.deleteBatch(entries.map(({ key }) => key));
  await setImmediate();
}

/** Of an address: the bytes of its key, and the number by which it is found to be the address's last entry. */
export function ringEntryOf(key: NamedAddressKey, number: bigint): NameRingEntry {
  const words = Array.from({ length: NAME_RING_ENTRY_SIZE / BigUint64Array.BYTES_PER_ELEMENT }, () => 0n);
  const view = viewOf(words);
  MAPS.names.key.encode(key, view, 0);
  return {
    words: [
      ...words.slice(0, -1).map((_, at) => view.getBigUint64(at * BigUint64Array.BYTES_PER_ELEMENT, true)),
      number,
    ],
  } as unknown as NameRingEntry;
}

function viewOf(words: readonly bigint[]): DataView {
  const view = new DataView(new ArrayBuffer(words.length * BigUint64Array.BYTES_PER_ELEMENT));
  for (const [at, word] of words.entries())
    view.setBigUint64(at * BigUint64Array.BYTES_PER_ELEMENT, word, true);
  return view;
}

/** The counters of all endpoints together: those of pods that are gone stay in them. */
export interface NameStatistics {
  readonly questions: bigint;
  readonly answers: bigint;
  readonly learned: bigint;
  readonly unasked: bigint;
  readonly malformed: bigint;
  readonly refused: bigint;
  readonly evicted: bigint;
  readonly displaced: bigint;
  readonly unread: bigint;
}

export async function readNameStatistics({
  nameCounters,
}: Pick<Tables, "nameCounters">): Promise<NameStatistics> {
  const all = (await nameCounters.read({ skipZero: true })).map(([, each]) => each);
  const sum = (key: keyof NameStatistics): bigint => all.reduce((total, each) => total + each[key], 0n);
  return {
    questions: sum("questions"),
    answers: sum("answers"),
    learned: sum("learned"),
    unasked: sum("unasked"),
    malformed: sum("malformed"),
    refused: sum("refused"),
    evicted: sum("evicted"),
    displaced: sum("displaced"),
    unread: sum("unread"),
  };
}
