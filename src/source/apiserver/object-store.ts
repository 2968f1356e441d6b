// The objects of one kind: changed event by event, or replaced as a whole by a list.

import { isDeepStrictEqual } from "node:util";
import { changesBetween, patched, versionOf } from "../../base/versioned-map.ts";
import type { Policy } from "../../model/network-policy.ts";
import type { Problem } from "../../model/problem.ts";
import { ALL_FIT, fitsAgain, type Shares, sharesOf, weightOf, withoutRules } from "./policy-memory.ts";
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
  /** Of policies whose memory is limited, those that are kept in part included. */
  readonly weights: Map<string, number>;
}

const nothing = (): Content => ({ values: new Map(), records: new Map(), weights: new Map() });

const problemsIn = ({ records }: Content): Problem[] =>
  [...records.values()].flatMap(({ problems }) => problems);

/** The memory for policies that a list may take beyond the capacity until it is reduced, as a part of it. */
const SLACK = 1 / 16;

/**
 * `keepsLastGood`: where nothing of a newer version can be read, the one before stays in effect, as long as it is the
 * same object (uid). `onChange` is called after every change of a value or problem.
 * `capacity`: the memory for all objects, in bytes, where these are policies: those beyond their namespace's share are kept without their
 * rules (policy-memory.ts).
 */
export function openStore(keepsLastGood: boolean, onChange: () => void, capacity?: () => number): Store {
  let content = nothing();
  let shares = ALL_FIT;
  /** Keys of what is kept in part. */
  let partial: Set<string> = new Set();
  let generation = 0;
  /** Undefined when they may be others. Most changes of objects bring none. */
  let problems: readonly Problem[] | undefined;
  const isTroubled = (key: string): boolean => (content.records.get(key)?.problems.length ?? 0) > 0;
  const changed = (): void => {
    onChange();
  };
  /** Reduces what is beyond its share. Returns whether anything, or what is reported of it, may have changed. */
  const reduce = (): boolean => {
    if (capacity === undefined) return false;
    const before = shares;
    shares = sharesOf(content.weights, capacity());
    const changes = reductions(content.values, shares, content.values);
    for (const key of changes.keys()) partial.add(key);
    if (changes.size > 0) content.values = patched(content.values, changes);
    if (before === shares) return false;
    problems = undefined;
    return true;
  };
  /** What is kept in part and would fit as a whole. */
  const awaited = (): string[] => [...partial].filter((key) => !shares.beyond.has(key)).sort();
  /** What is kept of a new version, once all others are reduced as far as that requires. */
  const fitted = (key: string, value: Value | undefined): Value | undefined => {
    if (capacity === undefined) return value;
    weigh(content.weights, key, value);
    reduce();
    const kept = value && shares.beyond.has(key) ? reducedAs(value, content.values.get(key)) : value;
    if (kept !== undefined && isReduced(kept)) partial.add(key);
    else if (partial.delete(key)) problems = undefined;
    return kept;
  };
  return {
    values: () => content.values,
    problems() {
      problems ??= [...shares.problems(), ...awaited().map(fitsAgain), ...problemsIn(content)];
      return problems;
    },
    size: () => content.values.size,
    fit() {
      if (reduce()) changed();
    },
    isToBeRelisted: () => awaited().length > 0,
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
          const next = { ...nothing(), values: new Map<string, Value>() };
          /** Never less than the memory of what is not reduced. */
          let whole = 0;
          /** As objects come, so that they are never all there at once: what is beyond its share now is so at the end. */
          const reduceNext = (): void => {
            if (capacity === undefined) return;
            const { beyond } = sharesOf(next.weights, capacity());
            for (const [key, value] of reductions(next.values, { beyond }, content.values))
              next.values.set(key, value);
            whole = next.weights.entries().reduce((sum, [key, of]) => sum + (beyond.has(key) ? 0 : of), 0);
          };
          /** Keys of objects that the watch had passed at the version that they are listed with. */
          const known = new Set<string>();
          return {
            put(item) {
              place(item, content, next, keepsLastGood);
              // Only of what differs: a large cluster's keys need not be kept twice.
              if (next.values.get(item.key) !== content.values.get(item.key) && passed(item.version))
                known.add(item.key);
              if (capacity === undefined) return;
              whole += weigh(next.weights, item.key, next.values.get(item.key));
              if (whole > capacity() * (1 + SLACK)) reduceNext();
            },
            remove(key) {
              next.weights.delete(key);
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

const isReduced = (value: Value | undefined): boolean => value !== undefined && "exceeds" in value;

/** What takes the place of what is beyond its share and not reduced yet; `before`: of equal ones, the earlier stays. */
function reductions(
  values: ReadonlyMap<string, Value>,
  { beyond }: Pick<Shares, "beyond">,
  before: ReadonlyMap<string, Value>,
): ReadonlyMap<string, Value> {
  const found = new Map<string, Value>();
  for (const key of beyond) {
    const value = values.get(key);
    if (value !== undefined && !isReduced(value)) found.set(key, reducedAs(value, before.get(key)));
  }
  return found;
}

function reducedAs(value: Value, known: Value | undefined): Value {
  const reduced = withoutRules(value as Policy);
  return known !== undefined && isDeepStrictEqual(known, reduced) ? known : reduced;
}

/** Notes the memory of a policy, and returns it. */
function weigh(weights: Map<string, number>, key: string, value: Value | undefined): number {
  if (value === undefined) {
    weights.delete(key);
    return 0;
  }
  const weight = weightOf(value as Policy);
  weights.set(key, weight);
  return weight;
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
