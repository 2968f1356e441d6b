// The objects of one kind: changed event by event, or replaced as a whole by a list.

import { isDeepStrictEqual } from "node:util";
import { changesBetween, patched, versionOf } from "../../base/versioned-map.ts";
import type { Problem } from "../../model/problem.ts";
import { type Accounts, fitsAgain, openAccounts } from "./memory-accounts.ts";
import { isReduced, type Memory } from "./object-memory.ts";
import type { Item, Value } from "./resource-kinds.ts";

/** How far a list differed from the store. */
export interface Differences {
  readonly added: number;
  readonly changed: number;
  readonly gone: number;
  /** The same name with another uid: the object was deleted and recreated. Counted among `changed` too, where it differs. */
  readonly recreated: number;
  /**
   * Of those, how many the events before the list should have brought: the watch had passed the object's version, or for objects
   * that are gone, the list's own. The others changed while the list was on its way.
   */
  readonly missed: number;
}

export interface Store {
  /** Objects by key. The map is never changed: the next change is in another one. */
  values(): ReadonlyMap<string, Value>;
  problems(): readonly Problem[];
  size(): number;
  /** The capacity has changed: what no longer fits is reduced. */
  fit(): void;
  /** Something that is kept in part would fit as a whole: only a list brings it. */
  isToBeRelisted(): boolean;
  /** The next writer. From then on no writer before has any effect. */
  writer(): Writer;
}

export interface Writer {
  put(item: Item): void;
  remove(key: string): void;
  /**
   * A list, page by page; nothing of it counts before it is committed. `passed`: whether the events before it came as
   * far as a version.
   */
  list(passed: (version: string) => boolean): Listing;
}

export interface Listing {
  put(item: Item): void;
  remove(key: string): void;
  /** `version`: the list's own. */
  commit(version: string): Differences;
}

/** Kept besides the value, for the few objects that need it. */
interface Record {
  readonly uid: string;
  readonly complete: boolean;
  readonly problems: readonly Problem[];
}

interface Content {
  /** A change makes the next version: a snapshot that has this one is not affected, and no copy is made. */
  values: ReadonlyMap<string, Value>;
  readonly records: Map<string, Record>;
  /** Where memory is limited: of all objects as they came, whether they are kept whole or reduced. */
  readonly accounts: Accounts | undefined;
}

/** The memory that all objects of a store share. */
export interface Limit {
  readonly memory: Memory;
  /** In bytes. */
  readonly capacity: () => number;
}

const nothing = (limit: Limit | undefined): Content => ({
  values: new Map(),
  records: new Map(),
  accounts: limit && openAccounts(limit.memory),
});

const problemsIn = ({ records }: Content): Problem[] =>
  [...records.values()].flatMap(({ problems }) => problems);

/** The problems of objects that fit again, which last for seconds. */
const AWAITED_LISTED_MAX = 100;

/** The memory that a list may take beyond the capacity until it is reduced, as a part of it. */
const SLACK = 1 / 16;

/**
 * `keepsLastGood`: where nothing of a newer version can be read, the one before stays in effect, as long as it is the
 * same object (uid). `onChange` is called after every change of a value or problem.
 * `limit`: objects beyond their namespace's share of the memory are kept in a reduced form (object-memory.ts).
 */
export function openStore(keepsLastGood: boolean, onChange: () => void, limit?: Limit): Store {
  let content = nothing(limit);
  /** Keys of what is kept in part. */
  let partial: Set<string> = new Set();
  let generation = 0;
  /** Undefined when they may be others. Most changes of objects bring none. */
  let problems: readonly Problem[] | undefined;
  const isTroubled = (key: string): boolean => (content.records.get(key)?.problems.length ?? 0) > 0;
  const changed = (): void => {
    onChange();
  };
  const isBeyond = (key: string): boolean => content.accounts?.isBeyond(key) === true;
  /** Reduces what is beyond its share. Returns whether anything, or what is reported of it, may have changed. */
  const reduce = (): boolean => {
    const { accounts, values } = content;
    if (limit === undefined || accounts === undefined) return false;
    const before = accounts.version();
    const changes = reductions(accounts.settle(limit.capacity()), limit, { of: values, before: values });
    for (const key of changes.keys()) partial.add(key);
    if (changes.size > 0) content.values = patched(values, changes);
    if (before === accounts.version()) return false;
    problems = undefined;
    return true;
  };
  /** Of what is kept in part, how much would fit as a whole: all that is beyond its share is reduced. */
  const awaited = (): number => partial.size - (content.accounts?.beyond() ?? 0);
  const awaitedProblems = ({ memory }: Limit): Problem[] =>
    awaited() === 0
      ? []
      : [...partial]
          .filter((key) => !isBeyond(key))
          .slice(0, AWAITED_LISTED_MAX)
          .map((key) => fitsAgain(key, memory));
  /** What is kept of a new version, once all others are reduced as far as that requires. */
  const fitted = (key: string, value: Value | undefined): Value | undefined => {
    if (limit === undefined) return value;
    weigh(content, limit, { key, value, isKnown: content.values.has(key) });
    reduce();
    const kept = value && isBeyond(key) ? reducedAs(value, limit.memory, content.values.get(key)) : value;
    if (isReduced(kept)) partial.add(key);
    else if (partial.delete(key)) problems = undefined;
    return kept;
  };
  return {
    values: () => content.values,
    problems() {
      problems ??= [
        ...(content.accounts?.problems() ?? []),
        ...(limit === undefined ? [] : awaitedProblems(limit)),
        ...problemsIn(content),
      ];
      return problems;
    },
    size: () => content.values.size,
    fit() {
      if (reduce()) changed();
    },
    isToBeRelisted: () => awaited() > 0,
    writer() {
      generation += 1;
      const mine = generation;
      const holds = (): boolean => mine === generation;
      return {
        put(item) {
          if (!holds() || isAsKnown(item, content, keepsLastGood)) return;
          const next = { records: content.records, values: new Map<string, Value>() };
          const wasTroubled = isTroubled(item.key);
          place(item, content, next, keepsLastGood);
          if (wasTroubled || isTroubled(item.key)) problems = undefined;
          const value = fitted(item.key, next.values.get(item.key));
          if (value !== content.values.get(item.key))
            content.values = patched(content.values, new Map([[item.key, value]]));
          changed();
        },
        remove(key) {
          if (!holds() || !(content.values.has(key) || content.records.has(key))) return;
          if (isTroubled(key)) problems = undefined;
          content.records.delete(key);
          content.values = patched(content.values, new Map([[key, fitted(key, undefined)]]));
          changed();
        },
        list(passed) {
          const next = { ...nothing(limit), values: new Map<string, Value>() };
          /** At how many bytes of what is not reduced to look again. */
          let fullAt = limit === undefined ? Number.POSITIVE_INFINITY : limit.capacity() * (1 + SLACK);
          /** As objects come, so that they are never all there at once: what is beyond its share now is so at the end. */
          const reduceNext = (key?: string): void => {
            if (limit === undefined || next.accounts === undefined) return;
            const capacity = limit.capacity();
            const crossed = next.accounts.settle(capacity);
            const beyond = key !== undefined && next.accounts.isBeyond(key) ? [...crossed, key] : crossed;
            for (const [each, value] of reductions(beyond, limit, {
              of: next.values,
              before: content.values,
            }))
              next.values.set(each, value);
            fullAt = Math.max(capacity, next.accounts.fitting()) + capacity * SLACK;
          };
          /** Keys of objects that the watch had passed at the version that they are listed with. */
          const known = new Set<string>();
          return {
            put(item) {
              const { key } = item;
              const isKnown = next.values.has(key);
              place(item, content, next, keepsLastGood);
              // Only of what differs: a large cluster's keys need not be kept twice.
              if (next.values.get(key) !== content.values.get(key) && passed(item.version)) known.add(key);
              if (limit === undefined || next.accounts === undefined) return;
              weigh(next, limit, { key, value: next.values.get(key), isKnown });
              if (next.accounts.isBeyond(key) || next.accounts.fitting() > fullAt) reduceNext(key);
            },
            remove(key) {
              if (limit !== undefined)
                weigh(next, limit, { key, value: undefined, isKnown: next.values.has(key) });
              next.values.delete(key);
              next.records.delete(key);
            },
            commit(version) {
              reduceNext();
              const differences = differencesOf(content, next, { known, all: passed(version) });
              if (!holds()) return differences;
              const same = sameProblems(content, next) && isNone(differences);
              // The next version of the map of before, so that callers find the differences; the same map where there are none.
              const values = patchedTo(content.values, next.values);
              content = { ...next, values };
              problems = undefined;
              partial = new Set(values.keys().filter((key) => isReduced(values.get(key))));
              if (!reduce() && same) return differences;
              changed();
              return differences;
            },
          };
        },
      };
    },
  };
}

/** What takes the place of those of these that are not reduced yet. */
function reductions(
  beyond: Iterable<string>,
  { memory }: Limit,
  { of, before }: { readonly of: Content["values"]; readonly before: Content["values"] },
): ReadonlyMap<string, Value> {
  const found = new Map<string, Value>();
  for (const key of beyond) {
    const value = of.get(key);
    if (value !== undefined && !isReduced(value)) found.set(key, reducedAs(value, memory, before.get(key)));
  }
  return found;
}

/** `known`: of equal ones, the earlier stays. */
function reducedAs(value: Value, memory: Memory, known: Value | undefined): Value {
  const reduced = memory.reduced(value);
  return known !== undefined && isDeepStrictEqual(known, reduced) ? known : reduced;
}

interface Weighed {
  readonly key: string;
  readonly value: Value | undefined;
  /** Whether the object was there before. */
  readonly isKnown: boolean;
}

function weigh({ accounts }: Content, { memory }: Limit, { key, value, isKnown }: Weighed): void {
  accounts?.set(key, value && memory.weightOf(value), isKnown);
}

/** A map equal to `next`, as a version after the one before. */
function patchedTo(before: Content["values"], next: Map<string, Value>): Content["values"] {
  if (before.size === 0) return next.size === 0 ? before : versionOf(next);
  return patched(
    before,
    new Map([...changesBetween(before, next)].map(({ key, after }) => [key, after] as const)),
  );
}

const isNone = ({ added, changed, gone }: Differences): boolean => added + changed + gone === 0;

/** What the events before a list should have brought: objects by key, or all that there is. */
interface Passed {
  readonly known: ReadonlySet<string>;
  readonly all: boolean;
}

/** The outcome of an item, given what the store has of it. */
function outcomeOf({ key, uid, complete, value, problems }: Item, before: Content, keepsLastGood: boolean) {
  const known = before.values.get(key);
  const record = before.records.get(key);
  // Where only single rules cannot be read the new version counts without them: nodes that have seen other versions agree.
  const isLost = !complete && (value === undefined || "unreadable" in value);
  const isKept = known !== undefined && record?.complete === true && record.uid === uid;
  // Of one that is kept without its rules, nothing is left that could stay in effect.
  const keeps = keepsLastGood && isLost && isKept && !isReduced(known);
  const next = keeps ? known : value;
  const reported = keeps ? withEffect(problems) : problems;
  // An equal value stays the same object: callers that compare by identity see that nothing has changed.
  const same =
    known === next || (known !== undefined && next !== undefined && isDeepStrictEqual(known, next));
  const needsRecord = keepsLastGood || reported.length > 0;
  return {
    value: same ? known : next,
    record: needsRecord ? { uid, complete: keeps || complete, problems: reported } : undefined,
    isAsKnown: same && equal(record?.problems ?? [], reported) && (!keepsLastGood || record?.uid === uid),
  };
}

/** Whether an item is equal to what the store has. */
const isAsKnown = (item: Item, content: Content, keepsLastGood: boolean): boolean =>
  outcomeOf(item, content, keepsLastGood).isAsKnown;

/** Puts an item into `next`, given what `before` has of it. */
function place(
  item: Item,
  before: Content,
  next: { readonly values: Map<string, Value>; readonly records: Map<string, Record> },
  keepsLastGood: boolean,
): void {
  const { value, record } = outcomeOf(item, before, keepsLastGood);
  if (value === undefined) next.values.delete(item.key);
  else next.values.set(item.key, value);
  if (record === undefined) next.records.delete(item.key);
  else next.records.set(item.key, record);
}

const LAST_GOOD = "its last known good version stays in force";
const withEffect = (problems: readonly Problem[]): readonly Problem[] =>
  problems.map((problem) => (problem.severity === "error" ? { ...problem, effect: LAST_GOOD } : problem));

const equal = (a: readonly Problem[], b: readonly Problem[]): boolean =>
  a.length === b.length && (a.length === 0 || isDeepStrictEqual(a, b));

const sameProblems = (a: Content, b: Content): boolean => equal(problemsIn(a), problemsIn(b));

function differencesOf(before: Content, next: Content, passed: Passed): Differences {
  let added = 0;
  let changed = 0;
  let recreated = 0;
  let missed = 0;
  for (const [key, value] of next.values) {
    const known = before.values.get(key);
    if (known === undefined) added += 1;
    else if (known !== value) changed += 1;
    // No event brings what is reduced, or fits again: it follows from other objects.
    const isFitting = isReduced(known) !== isReduced(value);
    if (known !== value && !isFitting && (passed.all || passed.known.has(key))) missed += 1;
    const [was, is] = [uidOf(known, before, key), uidOf(value, next, key)];
    if (was !== undefined && is !== undefined && was !== is) recreated += 1;
  }
  const gone = before.values.keys().reduce((sum, key) => (next.values.has(key) ? sum : sum + 1), 0);
  return { added, changed, gone, recreated, missed: missed + (passed.all ? gone : 0) };
}

const uidOf = (value: Value | undefined, { records }: Content, key: string): string | undefined =>
  records.get(key)?.uid ?? (value !== undefined && "uid" in value ? value.uid : undefined);
