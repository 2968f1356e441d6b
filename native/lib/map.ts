// Maps: one element at a time, whole maps and batches, maps of maps, pins.
import { checkBytes, checkInteger, checkKernelName } from "./check.ts";
import { isHash, isMapOfMaps, isPerCpu, MapFlag, MapType } from "./constants.ts";
import { check, errno, kernelError, ownError, type Site, unwrap } from "./error.ts";
import { Descriptor, openById, openPinned } from "./handle.ts";
import { MapMemory } from "./map-memory.ts";
import { type Handle, native, type RawMapInfo } from "./native.ts";
import { type BpfProgram, programHandle } from "./program.ts";
import { possibleCpus } from "./system.ts";

/** What the kernel says of a map. Sizes are in bytes. */
export type MapInfo = Readonly<RawMapInfo> & {
  readonly perCpu: boolean;
  /** Size of what lookup gives and update takes: for per-CPU maps the values of all possible CPUs, each padded to 8. */
  readonly lookupSize: number;
};

export type MapCreateSpec = {
  /** One of {@link MapType}. */
  readonly type: number;
  /** At most 15 of [A-Za-z0-9_.]. */
  readonly name: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** Of {@link MapFlag}. */
  readonly flags?: number;
  /** For maps of maps: what inner maps look like. It may be closed afterwards. */
  readonly innerMap?: BpfMap;
};

/** A whole map: `keys` and `values` hold `count` elements one after another, values at `info.lookupSize`. */
export type MapEntries = { readonly count: number; readonly keys: Buffer; readonly values: Buffer };

/** Arguments are on the stack. */
const MAPS_PER_CALL = 4_096;

let wrap: (handle: Handle, site: Site) => BpfMap;
let descriptorOf: (map: BpfMap) => Descriptor | undefined;

export class BpfMap {
  /** Read once, when the map was opened. */
  readonly info: MapInfo;
  readonly #descriptor: Descriptor;

  private constructor(info: MapInfo, descriptor: Descriptor) {
    this.info = info;
    this.#descriptor = descriptor;
  }

  static {
    wrap = (handle, site) => {
      const raw = unwrap(site, native.mapInfo(handle));
      const perCpu = isPerCpu(raw.type);
      const padded = Math.ceil(raw.valueSize / 8) * 8;
      const lookupSize = perCpu ? padded * possibleCpus() : raw.valueSize;
      return new BpfMap(
        { ...raw, perCpu, lookupSize },
        new Descriptor("map", raw.name || `id ${raw.id}`, handle),
      );
    };
    descriptorOf = (map) =>
      typeof map === "object" && map !== null && #descriptor in map ? map.#descriptor : undefined;
  }

  static create(spec: MapCreateSpec): BpfMap {
    const site = { operation: "map.create", object: String(spec.name) };
    checkKernelName(site, spec.name);
    const { type, name, keySize, valueSize, maxEntries, flags = 0 } = spec;
    for (const [what, value] of Object.entries({ type, keySize, valueSize, maxEntries, flags })) {
      checkInteger(site, what, value);
    }
    const inner = spec.innerMap === undefined ? undefined : mapHandle(spec.innerMap, site, "create");
    return wrapMap(
      unwrap(site, native.mapCreate({ type, name, keySize, valueSize, maxEntries, flags }, inner)),
      site,
    );
  }

  /** Throws ARGUMENT where something else than a map is pinned there. */
  static openPinned(path: string): BpfMap {
    return wrapMap(openPinned("map", path), { operation: "map.openPinned", object: path });
  }

  static openById(id: number): BpfMap {
    return wrapMap(openById("map", id), { operation: "map.openById", object: `id ${id}` });
  }

  get closed(): boolean {
    return this.#descriptor.closed;
  }

  /** The value as it is in the kernel's memory, or undefined where the key is absent. */
  lookup(key: Uint8Array): Buffer | undefined {
    return this.#read("lookup", key);
  }

  /** `flags` of {@link UpdateFlag}. Blocks for milliseconds on maps of maps: use updateAsync or setInner there. */
  update(key: Uint8Array, value: Uint8Array, flags = 0): void {
    const handle = this.#beginUpdate("update", key, value, flags);
    const rc = native.mapUpdate(handle, key, value, flags);
    if (rc < 0) throw kernelError(this.#descriptor.site("update"), rc);
  }

  /** The same off the event loop. Of two under way at once, either may come first. */
  async updateAsync(key: Uint8Array, value: Uint8Array, flags = 0): Promise<void> {
    const handle = this.#beginUpdate("updateAsync", key, value, flags);
    check(this.#descriptor.site("updateAsync"), await native.mapUpdateAsync(handle, key, value, flags));
  }

  /** Puts `inner` into a map of maps, replacing the map that was there at one stroke. */
  async setInner(key: Uint8Array, inner: BpfMap): Promise<void> {
    const handle = this.#begin("setInner", key);
    const site = this.#descriptor.site("setInner");
    this.#mustBeMapOfMaps(site);
    check(site, await native.mapSetInner(handle, key, mapHandle(inner, site, "setInner")));
  }

  /**
   * The same for several keys at once: they wait for the kernel's grace period together. Not atomic: on failure the error's `done`
   * is how many were put, and innerId() says which.
   */
  async setInners(keys: Uint8Array, inners: readonly BpfMap[]): Promise<void> {
    const handle = this.#beginBatch("setInners", keys, inners.length);
    const site = this.#descriptor.site("setInners");
    this.#mustBeMapOfMaps(site);
    if (inners.length === 0) return;
    const handles = inners.map((inner) => mapHandle(inner, site, "setInners"));
    const { rc, done } = await native.mapSetInners(handle, keys, ...handles);
    if (rc < 0) throw kernelError(site, rc, { done });
  }

  /** Puts `program` into a program array, for tail calls. Throws ARGUMENT for any other map; EINVAL where its type does not fit. */
  async setProgram(key: Uint8Array, program: BpfProgram): Promise<void> {
    const handle = this.#begin("setProgram", key);
    const site = this.#descriptor.site("setProgram");
    if (this.info.type !== MapType.PROG_ARRAY) throw ownError(site, "ARGUMENT", "not a program array");
    check(site, await native.mapSetInner(handle, key, programHandle(program, site, "setProgram")));
  }

  /** Id of the inner map, undefined if there is no entry. */
  innerId(key: Uint8Array): number | undefined {
    this.#descriptor.use("innerId");
    this.#mustBeMapOfMaps(this.#descriptor.site("innerId"));
    const value = this.#read("innerId", key);
    return value === undefined
      ? undefined
      : new DataView(value.buffer, value.byteOffset).getUint32(0, littleEndian);
  }

  /** False when the key was absent. */
  delete(key: Uint8Array): boolean {
    const handle = this.#begin("delete", key);
    return this.#deleted("delete", native.mapDelete(handle, key));
  }

  async deleteAsync(key: Uint8Array): Promise<boolean> {
    const handle = this.#begin("deleteAsync", key);
    return this.#deleted("deleteAsync", await native.mapDeleteAsync(handle, key));
  }

  /** The key after `key`, or the first one; undefined at the end. After a `key` that is gone it starts over. */
  nextKey(key?: Uint8Array): Buffer | undefined {
    const handle = key === undefined ? this.#descriptor.use("nextKey") : this.#begin("nextKey", key);
    const next = Buffer.allocUnsafe(this.info.keySize);
    const rc = native.mapNextKey(handle, key, next);
    if (rc === -errno.ENOENT) return undefined;
    check(this.#descriptor.site("nextKey"), rc);
    return next;
  }

  /**
   * The whole map, read off the event loop: by the batch command where the kernel has it for the type, else key by key
   * (an array of maps by many threads, since old kernels are slow to look into it; without its empty slots).
   * Elements written meanwhile may be in it or not. Rejects with EAGAIN where a trie changes too fast to be walked.
   */
  async entries(): Promise<MapEntries> {
    const handle = this.#descriptor.use("entries");
    const { keySize, lookupSize, maxEntries, type } = this.info;
    const site = this.#descriptor.site("entries");
    if (keySize === 0) throw ownError(site, "UNSUPPORTED", "the map has no keys");
    const slots = type === MapType.ARRAY_OF_MAPS;
    return unwrap(
      site,
      await native.mapEntries(handle, keySize, lookupSize, maxEntries, isHash(type), slots),
    );
  }

  /**
   * Writes `count` elements off the event loop: by the batch command, or one by one where the kernel has none for the
   * type or the flags. Not atomic: on failure the error's `done` is how many were written, from the first on.
   */
  async updateBatch(keys: Uint8Array, values: Uint8Array, count: number, flags = 0): Promise<void> {
    const handle = this.#beginBatch("updateBatch", keys, count);
    const site = this.#descriptor.site("updateBatch");
    checkBytes(site, `values of ${count} elements`, values, count * this.info.lookupSize);
    checkInteger(site, "flags", flags, flagRange);
    if (count === 0) return;
    const { rc, done } = await native.mapUpdateBatch(handle, keys, values, count, flags);
    if (rc < 0) throw kernelError(site, rc, { done });
  }

  /**
   * Writes an element to each of these maps off the event loop, one after another: much faster than as many calls. `keys` and
   * `values` hold them in the same order, all of one size; a map may come several times. Not atomic: on failure the error's `done` is
   * how many were written.
   */
  static async updateEach(maps: readonly BpfMap[], keys: Uint8Array, values: Uint8Array): Promise<void> {
    const [first] = maps;
    if (first === undefined) return;
    const { keySize, lookupSize } = first.info;
    const site = first.#descriptor.site("updateEach");
    checkBytes(site, `keys of ${maps.length} elements`, keys, maps.length * keySize);
    checkBytes(site, `values of ${maps.length} elements`, values, maps.length * lookupSize);
    const handles = maps.map((map) => {
      const handle = mapHandle(map, site, "updateEach");
      if (map.info.keySize === keySize && map.info.lookupSize === lookupSize) return handle;
      throw ownError(site, "ARGUMENT", "the elements of the maps have different sizes");
    });
    for (let from = 0; from < handles.length; from += MAPS_PER_CALL) {
      const to = Math.min(from + MAPS_PER_CALL, handles.length);
      const { rc, done } = await native.mapUpdateEach(
        keys.subarray(from * keySize, to * keySize),
        values.subarray(from * lookupSize, to * lookupSize),
        ...handles.slice(from, to),
      );
      if (rc < 0) throw kernelError(site, rc, { done: from + done });
    }
  }

  /**
   * Deletes off the event loop and gives the number deleted; absent keys are skipped. Where the kernel has no batch command for the
   * type, in no particular order.
   */
  async deleteBatch(keys: Uint8Array, count: number): Promise<number> {
    const handle = this.#beginBatch("deleteBatch", keys, count);
    if (count === 0) return 0;
    const { rc, done } = await native.mapDeleteBatch(handle, keys, count);
    if (rc < 0) throw kernelError(this.#descriptor.site("deleteBatch"), rc, { done });
    return done;
  }

  /**
   * The memory of an array that was made with MapFlag.MMAPABLE, for reading without system calls. It is independent of this
   * handle, and must be closed too.
   */
  mmap(): MapMemory {
    const handle = this.#descriptor.use("mmap");
    const site = this.#descriptor.site("mmap");
    const { type, flags, valueSize, maxEntries } = this.info;
    if (type !== MapType.ARRAY || (flags & MapFlag.MMAPABLE) === 0)
      throw ownError(site, "UNSUPPORTED", "the map is not an array with the flag MMAPABLE");
    // The kernel pads each value to 8 bytes.
    const stride = Math.ceil(valueSize / 8) * 8;
    const bytes = stride * maxEntries;
    return new MapMemory(site.object, {
      handle: unwrap(site, native.memoryMap(handle, bytes)),
      bytes,
      stride,
    });
  }

  /** From now on only programs may write. */
  freeze(): void {
    check(this.#descriptor.site("freeze"), native.mapFreeze(this.#descriptor.use("freeze")));
  }

  pin(path: string): void {
    this.#descriptor.pin(path);
  }

  /** Throws ARGUMENT where `path` holds another map. */
  unpin(path: string): void {
    const site = this.#descriptor.site("unpin");
    this.#descriptor.unpin(path, (handle) => unwrap(site, native.mapInfo(handle)).id);
  }

  /** Idempotent. An operation that is under way goes through. */
  close(): void {
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // Sites are made only where there is something to complain about: these two are on the path of every element.
  #begin(verb: string, key: Uint8Array): Handle {
    const handle = this.#descriptor.use(verb);
    if (!(key instanceof Uint8Array) || key.byteLength !== this.info.keySize) {
      checkBytes(this.#descriptor.site(verb), "key", key, this.info.keySize);
    }
    return handle;
  }

  #beginUpdate(verb: string, key: Uint8Array, value: Uint8Array, flags: number): Handle {
    const handle = this.#begin(verb, key);
    if (!(value instanceof Uint8Array) || value.byteLength !== this.info.lookupSize) {
      checkBytes(this.#descriptor.site(verb), "value", value, this.info.lookupSize);
    }
    if (flags !== 0) checkInteger(this.#descriptor.site(verb), "flags", flags, flagRange);
    return handle;
  }

  #read(verb: string, key: Uint8Array): Buffer | undefined {
    const handle = this.#begin(verb, key);
    const value = Buffer.allocUnsafe(this.info.lookupSize);
    const rc = native.mapLookup(handle, key, value);
    if (rc === -errno.ENOENT) return undefined;
    if (rc < 0) throw kernelError(this.#descriptor.site(verb), rc);
    return value;
  }

  #beginBatch(verb: string, keys: Uint8Array, count: number): Handle {
    const handle = this.#descriptor.use(verb);
    const site = this.#descriptor.site(verb);
    checkInteger(site, "count", count);
    checkBytes(site, `keys of ${count} elements`, keys, count * this.info.keySize);
    if (this.info.keySize === 0) throw ownError(site, "UNSUPPORTED", "the map has no keys");
    return handle;
  }

  #deleted(verb: string, rc: number): boolean {
    if (rc === -errno.ENOENT) return false;
    check(this.#descriptor.site(verb), rc);
    return true;
  }

  #mustBeMapOfMaps(site: Site): void {
    if (!isMapOfMaps(this.info.type)) throw ownError(site, "ARGUMENT", "not a map of maps");
  }
}

// 64 bits in the kernel; a JavaScript number holds 53.
const flagRange = { max: Number.MAX_SAFE_INTEGER };
const littleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** For the other files of this package: makes a map of the addon's handle, which it then owns. */
export function wrapMap(handle: Handle, site: Site): BpfMap {
  return wrap(handle, site);
}

/** For the other files of this package: the handle inside; throws CLOSED, or ARGUMENT for anything but a map. */
export function mapHandle(map: BpfMap, site: Site, verb: string): Handle {
  const descriptor = descriptorOf(map);
  if (!descriptor) throw ownError(site, "ARGUMENT", "a BpfMap is needed");
  return descriptor.use(verb);
}
