// The objects of one kind: changed event by event, or replaced as a whole by a list.

import { isDeepStrictEqual } from "node:util";
import { changesBetween, patched, versionOf } from "../../base/versioned-map.ts";
import type { Problem } from "../../model/problem.ts";
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
}

const nothing = (): Content => ({ values: new Map(), records: new Map() });

const problemsIn = ({ records }: Content): Problem[] =>
  [...records.values()].flatMap(({ problems }) => problems);

/**
 * `keepsLastGood`: where nothing of a newer version can be read, the one before stays in effect, as long as it is the
 * same object (uid). `onChange` is called after every change of a value or problem.
 */
export function openStore(keepsLastGood: boolean, onChange: () => void): Store {
  let content = nothing();
  let generation = 0;
  /** Undefined when they may be others. Most changes of objects bring none. */
  let problems: readonly Problem[] | undefined;
  const isTroubled = (key: string): boolean => (content.records.get(key)?.problems.length ?? 0) > 0;
  const changed = (): void => {
    onChange();
  };
  return {
    values: () => content.values,
    problems() {
      problems ??= problemsIn(content);
      return problems;
    },
    size: () => content.values.size,
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
          content.values = patched(content.values, new Map([[item.key, next.values.get(item.key)]]));
          changed();
        },
        remove(key) {
          if (!holds() || !(content.values.has(key) || content.records.has(key))) return;
          if (isTroubled(key)) problems = undefined;
          content.records.delete(key);
          content.values = patched(content.values, new Map([[key, undefined]]));
          changed();
        },
        list(passed) {
          const next = { records: new Map<string, Record>(), values: new Map<string, Value>() };
          /** Keys of objects that the watch had passed at the version that they are listed with. */
          const known = new Set<string>();
          return {
            put(item) {
              place(item, content, next, keepsLastGood);
              // Only of what differs: a large cluster's keys need not be kept twice.
              if (next.values.get(item.key) !== content.values.get(item.key) && passed(item.version))
                known.add(item.key);
            },
            remove(key) {
              next.values.delete(key);
              next.records.delete(key);
            },
            commit(version) {
              const differences = differencesOf(content, next, { known, all: passed(version) });
              if (!holds()) return differences;
              const same = sameProblems(content, next) && isNone(differences);
              // The next version of the map of before, so that callers find the differences; the same map where there are none.
              const values = patchedTo(content.values, next.values);
              content = { records: next.records, values };
              problems = undefined;
              if (same) return differences;
              changed();
              return differences;
            },
          };
        },
      };
    },
  };
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
  const keeps =
    keepsLastGood && isLost && known !== undefined && record?.complete === true && record.uid === uid;
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
    if (known !== value && (passed.all || passed.known.has(key))) missed += 1;
    const [was, is] = [uidOf(known, before, key), uidOf(value, next, key)];
    if (was !== undefined && is !== undefined && was !== is) recreated += 1;
  }
  const gone = before.values.keys().reduce((sum, key) => (next.values.has(key) ? sum : sum + 1), 0);
  return { added, changed, gone, recreated, missed: missed + (passed.all ? gone : 0) };
}

const uidOf = (value: Value | undefined, { records }: Content, key: string): string | undefined =>
  records.get(key)?.uid ?? (value !== undefined && "uid" in value ? value.uid : undefined);
