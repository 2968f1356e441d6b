// Typed access to the maps by the generated codecs: the only place where keys and values are packed and unpacked.

import { setImmediate } from "node:timers/promises";
import { BpfMap, possibleCpus, UpdateFlag } from "bpf-ts";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";
import { type Codec, MAPS } from "../gen/layout.ts";
import type { InnerMaps, OpenInner } from "./inner-maps.ts";

type Maps = typeof MAPS;
export type MapName = keyof Maps;
type Decoded<C> = C extends Codec<infer T> ? T : never;

/** Maps of maps have their own kind of table, the ring buffer has none (events/packet-event-ring.ts). */
export type NestedName = {
  readonly [N in MapName]: Maps[N] extends { readonly inner: unknown } ? N : never;
}[MapName];
export type TableName = Exclude<MapName, NestedName | "events">;
export type KeyOf<N extends TableName> = Decoded<Maps[N]["key"]>;
/** For per-CPU maps, the values of all possible CPUs. */
export type ValueOf<N extends TableName> = Maps[N]["kind"] extends `percpu-${string}`
  ? readonly Decoded<Maps[N]["value"]>[]
  : Decoded<Maps[N]["value"]>;

/**
 * One map. If the kernel refuses an operation, it throws an OperationError with the kernel's code ("E2BIG" or "ENOSPC"
 * if the map is full); for a number that does not fit its field a RangeError, which is a bug of the caller.
 */
export interface Table<K, V> {
  readonly name: string;
  readonly maxEntries: number;
  /** The whole map, read off the event loop; concurrent writes may or may not be included. */
  read(options?: ReadOptions): Promise<[K, V][]>;
  /** For an LPM trie: the value of the longest prefix that covers the key. */
  get(key: K): V | undefined;
  /**
   * The keys of a hash map, a page at a time; the event loop runs between pages. For maps that are too large for read(). Keys written
   * meanwhile may be in it or not, and others twice; those of a page may be deleted.
   */
  keyPages(): AsyncIterable<readonly K[]>;
  set(key: K, value: V): void;
  /** Of a hash map: false if the key is there, whose value stays. */
  add(key: K, value: V): boolean;
  /** Of a hash map: false if the key is not there. */
  replace(key: K, value: V): boolean;
  /** Off the event loop. Not atomic: if it fails, some of the entries may have been written. */
  writeBatch(entries: readonly (readonly [K, V])[]): Promise<void>;
  /** The same with one value for the keys `first` to `last`, inclusive, in steps of one: made for long runs of an array. */
  fill(this: Table<number, V>, first: number, last: number, value: V): Promise<void>;
  /** Off the event loop. The number deleted; absent keys are skipped. From arrays nothing can be deleted. */
  deleteBatch(keys: readonly K[]): Promise<number>;
}

export interface ReadOptions {
  /** Leaves out values with all bytes zero: array entries that have never been written. */
  readonly skipZero?: boolean;
}

/** An inner map of a map of maps. It must be closed. */
export interface InnerTable<K, V> extends Table<K, V>, Disposable {
  close(): void;
}

/** A map of maps: numbers to maps. */
export interface NestedTable<K, V> {
  readonly name: string;
  readonly maxEntries: number;
  /** Numbers under which there are maps. */
  numbers(): Promise<number[]>;
  has(number: number): boolean;
  /** Undefined if there is no map, or it is not pinned and so cannot be opened. */
  open(number: number): InnerTable<K, V> | undefined;
  /**
   * All inner maps, one after the other; each is open until the next one, and undefined if it is not
   * pinned. Also sweeps, like sweep().
   */
  all(): AsyncIterable<readonly [number: number, inner: InnerTable<K, V> | undefined]>;
  /**
   * Writes entries into the maps that are there, all in one call. Returns those that have no map, or one that is too small; nothing of
   * them is written. The maps are those that this process has put or read last: on Linux 6.1 every look-up of one takes a grace
   * period, and what others put there meanwhile is found, and written over, when all is read.
   */
  writeAll(writes: readonly InnerWrite<K, V>[]): Promise<readonly number[]>;
  /** Creates a new map for `size` entries, fills it, pins it, and swaps it in atomically. */
  put(number: number, size: number, entries: readonly (readonly [K, V])[]): Promise<void>;
  /** The same for several numbers, each once: they wait together for the kernel's grace periods. */
  putAll(puts: readonly InnerPut<K, V>[]): Promise<void>;
  /** Puts an empty, unpinned map under a number that no program looks up: the kernel waits for running programs. */
  synchronize(number: number): Promise<void>;
  deleteBatch(numbers: readonly number[]): Promise<number>;
  /** Removes the pins that an interrupted put() or delete left behind. */
  sweep(): Promise<void>;
}

export interface InnerWrite<K, V> {
  readonly number: number;
  /** What to write into a map for so many entries; undefined if it is too small. */
  readonly entriesFor: (maxEntries: number) => readonly (readonly [K, V])[] | undefined;
}

export interface InnerPut<K, V> {
  readonly number: number;
  readonly size: number;
  readonly entries: readonly (readonly [K, V])[];
}

type InnerKey<N extends NestedName> = Decoded<Maps[N]["inner"]["key"]>;
type InnerValue<N extends NestedName> = Decoded<Maps[N]["inner"]["value"]>;
export type NestedTableFor<N extends NestedName> = NestedTable<InnerKey<N>, InnerValue<N>>;

/** A table over an open map, which the caller must close. Throws an OperationError if the layout differs. */
export function tableOf<N extends TableName>(name: N, map: BpfMap): Table<KeyOf<N>, ValueOf<N>> {
  const { key, value } = MAPS[name];
  requireShape(MAPS[name], map);
  const stored = map.info.perCpu ? ofAllCpus(value as Codec<unknown>, possibleCpus()) : value;
  // The table of types above defines these codecs for each name; generic code cannot.
  return makeTable(name, map, { key: key as Codec<KeyOf<N>>, value: stored as unknown as Codec<ValueOf<N>> });
}

/** The same for a map of maps, whose inner maps are opened through `inners`. */
export function nestedTableOf<N extends NestedName>(
  name: N,
  map: BpfMap,
  inners: InnerMaps,
): NestedTableFor<N> {
  const { key, value, inner } = MAPS[name];
  requireShape(MAPS[name], map);
  const ids = makeTable(name, map, { key, value });
  // As in tableOf: the types define these codecs for each name.
  const codecs = inner as unknown as Codecs<InnerKey<N>, InnerValue<N>>;
  const wrap = ({ map: innerMap, release }: OpenInner): InnerTable<InnerKey<N>, InnerValue<N>> => ({
    ...makeTable(inner.name, innerMap, codecs),
    close: release,
    [Symbol.dispose]: release,
  });
  const open = (number: number, id: number) => {
    const opened = attempt("open", map, () => inners.open(number, id));
    return opened && wrap(opened);
  };
  /** An agent may have replaced the map since its id was read. */
  const openNow = (number: number) => {
    for (let id = ids.get(number), last: number | undefined; id !== undefined; id = ids.get(number)) {
      const table = open(number, id);
      if (table !== undefined || id === last) return table;
      last = id;
    }
    return undefined;
  };
  const make = (maxEntries: number): BpfMap =>
    attempt("make an inner map for", map, () => BpfMap.create({ ...inner, maxEntries }));
  const setInners = (made: readonly { readonly number: number; readonly map: BpfMap }[]): Promise<void> =>
    attemptAsync("write", map, () =>
      map.setInners(
        pack(
          key,
          made.map(({ number }) => number),
        ),
        made.map((each) => each.map),
      ),
    );
  const putAll = async (puts: readonly InnerPut<InnerKey<N>, InnerValue<N>>[]): Promise<void> => {
    const made: { readonly number: number; readonly map: BpfMap; readonly id: number }[] = [];
    try {
      for (const { number, size, entries } of puts) {
        const one = make(size);
        made.push({ number, map: one, id: one.info.id });
        await makeTable(inner.name, one, codecs).writeBatch(entries);
        inners.add(number, one);
      }
      await setInners(made);
    } catch (error) {
      for (const { number, map: one, id } of made) {
        const now = ids.get(number);
        if (now !== id) one.close();
        inners.keep(number, now);
      }
      throw error;
    }
    for (const { number, id } of made) inners.keep(number, id);
  };
  return {
    name,
    maxEntries: map.info.maxEntries,
    async numbers() {
      return (await ids.read()).map(([number]) => number);
    },
    has: (number) => ids.get(number) !== undefined,
    open: openNow,
    async writeAll(writes) {
      const left: number[] = [];
      const targets: BpfMap[] = [];
      const entries: (readonly [InnerKey<N>, InnerValue<N>])[] = [];
      for (const { number, entriesFor } of writes) {
        const target = inners.current(number);
        const own = target && entriesFor(target.info.maxEntries);
        if (target === undefined || own === undefined) {
          left.push(number);
          continue;
        }
        for (const each of own) {
          targets.push(target);
          entries.push(each);
        }
      }
      const [keys, values] = packEntries(codecs, entries);
      await attemptAsync("write", map, () => BpfMap.updateEach(targets, keys, values));
      return left;
    },
    async *all() {
      const sweep = inners.sweep();
      // The map's ids are read once: on Linux 6.1 every look-up in it waits for a grace period.
      const inForce = new Map(await ids.read());
      for (const [number, id] of inForce) {
        using table = open(number, id) ?? openNow(number);
        if (table !== undefined || ids.get(number) !== undefined) yield [number, table] as const;
      }
      sweep(inForce);
    },
    put: (number, size, entries) => putAll([{ number, size, entries }]),
    putAll,
    async synchronize(number) {
      using made = make(1);
      await setInners([{ number, map: made }]);
    },
    async deleteBatch(numbers) {
      const deleted = await ids.deleteBatch(numbers);
      for (const number of numbers) inners.keep(number, undefined);
      return deleted;
    },
    async sweep() {
      const sweep = inners.sweep();
      sweep(new Map(await ids.read()));
    },
  };
}

interface Codecs<K, V> {
  readonly key: Codec<K>;
  readonly value: Codec<V>;
}

function makeTable<K, V>(name: string, map: BpfMap, { key, value }: Codecs<K, V>): Table<K, V> {
  /** False if the kernel says `unless`. */
  const updates = (where: K, what: V, { flag, unless }: { flag: number; unless: string }): boolean => {
    const [keys, values] = [pack(key, [where]), pack(value, [what])];
    try {
      attempt("write", map, () => map.update(keys, values, flag));
      return true;
    } catch (error) {
      if (codeOf(error) === unless) return false;
      throw error;
    }
  };
  return {
    name,
    maxEntries: map.info.maxEntries,
    async read({ skipZero = false } = {}) {
      const { count, keys, values } = await attemptAsync("read", map, () => map.entries());
      const [keyView, valueView] = [viewOf(keys), viewOf(values)];
      const entries: [K, V][] = [];
      for (let i = 0; i < count; i++) {
        const at = i * value.size;
        if (skipZero && isZero(values, at, value.size)) continue;
        entries.push([key.decode(keyView, i * key.size), value.decode(valueView, at)]);
      }
      return entries;
    },
    get(wanted) {
      const packed = pack(key, [wanted]);
      const found = attempt("read", map, () => map.lookup(packed));
      return found === undefined ? undefined : value.decode(viewOf(found), 0);
    },
    async *keyPages() {
      // One key ahead: the kernel starts again from the beginning where it does not find the last one.
      let next = attempt("read", map, () => map.nextKey());
      // Of a map that changes meanwhile the walk may come back to where it has been.
      for (let left = 2 * map.info.maxEntries; next !== undefined && left > 0; left -= PAGE_KEYS) {
        const page: K[] = [];
        for (let last: Buffer | undefined = next; last !== undefined && page.length < PAGE_KEYS; ) {
          page.push(key.decode(viewOf(last), 0));
          const from: Buffer = last;
          last = attempt("read", map, () => map.nextKey(from));
          next = last;
        }
        yield page;
        await setImmediate();
      }
    },
    set(where, what) {
      const [keys, values] = [pack(key, [where]), pack(value, [what])];
      attempt("write", map, () => map.update(keys, values));
    },
    add: (where, what) => updates(where, what, { flag: UpdateFlag.NOEXIST, unless: "EEXIST" }),
    replace: (where, what) => updates(where, what, { flag: UpdateFlag.EXIST, unless: "ENOENT" }),
    async writeBatch(entries) {
      const [keys, values] = packEntries({ key, value }, entries);
      await attemptAsync("write", map, () => map.updateBatch(keys, values, entries.length));
    },
    async fill(first, last, what) {
      const count = last - first + 1;
      const keys = Buffer.alloc(count * key.size);
      const view = viewOf(keys);
      // Only tables with numeric keys have this method: the type of `this` ensures it.
      for (let i = 0; i < count; i++) key.encode((first + i) as K, view, i * key.size);
      const values = Buffer.alloc(count * value.size, pack(value, [what]));
      await attemptAsync("write", map, () => map.updateBatch(keys, values, count));
    },
    deleteBatch(unwanted) {
      const packed = pack(key, unwanted);
      return attemptAsync("delete from", map, () => map.deleteBatch(packed, unwanted.length));
    },
  };
}

/** About a millisecond's work. */
const PAGE_KEYS = 1_024;

const packEntries = <K, V>(
  { key, value }: Codecs<K, V>,
  entries: readonly (readonly [K, V])[],
): readonly [keys: Buffer, values: Buffer] => [
  pack(
    key,
    entries.map(([each]) => each),
  ),
  pack(
    value,
    entries.map(([, each]) => each),
  ),
];

function pack<T>(codec: Codec<T>, values: readonly T[]): Buffer {
  const bytes = Buffer.alloc(values.length * codec.size);
  const view = viewOf(bytes);
  for (const [i, value] of values.entries()) codec.encode(value, view, i * codec.size);
  return bytes;
}

const viewOf = (bytes: Buffer): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function isZero(bytes: Buffer, start: number, size: number): boolean {
  for (let i = start; i < start + size; i++) if (bytes[i] !== 0) return false;
  return true;
}

/** The kernel reads and writes the values of all possible CPUs at once, each padded to 8 bytes. */
function ofAllCpus<T>(codec: Codec<T>, cpus: number): Codec<readonly T[]> {
  const stride = Math.ceil(codec.size / 8) * 8;
  return {
    name: codec.name,
    size: stride * cpus,
    encode(values, view, offset) {
      if (values.length !== cpus) throw new RangeError(`${values.length} values for ${cpus} CPUs`);
      for (const [i, value] of values.entries()) codec.encode(value, view, offset + i * stride);
    },
    decode: (view, offset) => Array.from({ length: cpus }, (_, i) => codec.decode(view, offset + i * stride)),
  };
}

function requireShape(layout: Maps[MapName], map: BpfMap): void {
  const { type, keySize, valueSize } = map.info;
  if (type === layout.type && keySize === layout.keySize && valueSize === layout.valueSize) return;
  throw new OperationError(
    `type ${type} with keys of ${keySize} and values of ${valueSize} bytes, ` +
      `instead of type ${layout.type}, ${layout.keySize} and ${layout.valueSize}`,
    { operation: "open", object: `map ${layout.name}`, code: "SHAPE" },
  );
}

function attempt<T>(operation: string, map: BpfMap, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw failure(operation, map, error);
  }
}

async function attemptAsync<T>(operation: string, map: BpfMap, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw failure(operation, map, error);
  }
}

/** If there is no space for a key, hash maps and arrays return E2BIG, tries ENOSPC. */
function failure(operation: string, { info }: BpfMap, cause: unknown): OperationError {
  const code = codeOf(cause);
  const full = code === "E2BIG" || code === "ENOSPC";
  const message = full ? `no room: it has at most ${info.maxEntries} entries` : messageOf(cause);
  return new OperationError(message, { operation, object: `map ${info.name}`, cause, ...(code && { code }) });
}

// Every map of the datapath as its typed table.

/** The programs' own maps: the ring buffer, each CPU's private data, and the flow table (datapath/flow-table.ts). */
type Internal =
  | "events"
  | "scratch"
  | "dns_scratch"
  | "flow_secret"
  | `${"peer_cache" | "flow_cache" | "conntrack"}_${"v4" | "v6"}`;

type Opened = Exclude<MapName, Internal>;

/** "sources_v4" → "sourcesV4". */
type CamelCase<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

type TableFor<N extends MapName> = N extends NestedName
  ? NestedTableFor<N>
  : N extends TableName
    ? Table<KeyOf<N>, ValueOf<N>>
    : never;

export type Tables = { readonly [N in Opened as CamelCase<N>]: TableFor<N> };

const isOpened = (name: string): name is Opened =>
  !/^(?:events|scratch|dns_scratch|flow_secret|(?:peer_cache|flow_cache|conntrack)_v[46])$/.test(name);

/** The maps of a layout, open. */
export interface OpenMaps {
  map(name: MapName): BpfMap;
  inner(name: NestedName): InnerMaps;
}

/** Typed tables over maps that the caller must close. */
export const openTables = ({ map, inner }: OpenMaps): Tables =>
  Object.fromEntries(
    Object.keys(MAPS)
      .filter(isOpened)
      .map((name) => [
        name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
        "inner" in MAPS[name]
          ? nestedTableOf(name as NestedName, map(name), inner(name as NestedName))
          : tableOf(name as TableName, map(name)),
      ]),
    // The type defines for each name what the two calls return.
  ) as unknown as Tables;
