// Loads the compiled addon and says what it exports. Results are either a value or a negative errno.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { NetEvent, NetTable, NetTables } from "./net-types.ts";

declare const kind: unique symbol;
/** A descriptor owned by the addon: of a map, a program or a link. */
export type Handle = { readonly [kind]: "fd" };
export type ObjectHandle = { readonly [kind]: "object" };
/** What waits on a thread of its own: a ring buffer or a watch. */
export type FeedHandle = { readonly [kind]: "feed" };
/** A map's memory in the process. */
export type MemoryHandle = { readonly [kind]: "memory" };
export type HandleKind = "map" | "program" | "link";

/** A result with what libbpf printed on the way; `rc` is 0 or a negative errno. */
export type Logged = { rc: number; log: string };

export type RawMapSpec = {
  name: string;
  type: number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
};
export type RawProgramSpec = { name: string; section: string; type: number; autoload: boolean };
export type RawMapInfo = RawMapSpec & {
  id: number;
  extra: number;
  btfId: number;
  btfKeyTypeId: number;
  btfValueTypeId: number;
};
export type RawProgramInfo = {
  id: number;
  name: string;
  type: number;
  tag: string;
  jitedSize: number;
  translatedSize: number;
  verifiedInstructions: number;
  loadTime: number;
  btfId: number;
  runTimeNs: number;
  runCount: number;
  mapIds: number[];
};
export type RawLinkInfo = {
  id: number;
  type: number;
  programId: number;
  ifindex: number;
  attachType: number;
};
export type RawTestRun = { repeat: number; dataOutSize: number; flags: number; cpu: number };
export type RawTestRunResult = { result: number; dataOut: Buffer; contextOut: Buffer; duration: number };

type BatchResult = { rc: number; done: number };

interface Native {
  closeHandle(handle: Handle): void;

  // Maps of an object are identified by their index.
  objectOpen(source: string | Uint8Array, name?: string): Logged & { handle?: ObjectHandle };
  objectDescribe(object: ObjectHandle): { maps: RawMapSpec[]; programs: RawProgramSpec[] } | number;
  objectBtf(object: ObjectHandle): Buffer | number;
  objectGetData(object: ObjectHandle, map: number): Buffer | number;
  objectSetData(object: ObjectHandle, map: number, bytes: Uint8Array): number;
  objectSetMaxEntries(object: ObjectHandle, map: number, entries: number): number;
  objectSetAutoload(object: ObjectHandle, program: string, on: boolean): number;
  objectReuseMap(object: ObjectHandle, map: number, other: Handle): number;
  objectSetInnerMap(object: ObjectHandle, map: number, other: Handle): number;
  objectLoad(object: ObjectHandle, logAlways: boolean): Promise<Logged>;
  objectMap(object: ObjectHandle, map: number): Handle | number;
  objectProgram(object: ObjectHandle, name: string): Handle | number;
  objectClose(object: ObjectHandle): void;

  mapCreate(spec: RawMapSpec, inner?: Handle): Handle | number;
  mapInfo(map: Handle): RawMapInfo | number;
  mapLookup(map: Handle, key: Uint8Array, value: Uint8Array): number;
  mapUpdate(map: Handle, key: Uint8Array, value: Uint8Array, flags: number): number;
  mapDelete(map: Handle, key: Uint8Array): number;
  mapNextKey(map: Handle, key: Uint8Array | undefined, next: Uint8Array): number;
  mapUpdateAsync(map: Handle, key: Uint8Array, value: Uint8Array, flags: number): Promise<number>;
  mapDeleteAsync(map: Handle, key: Uint8Array): Promise<number>;
  /** Of maps whose values are descriptors: `inner` is a map or a program. */
  mapSetInner(map: Handle, key: Uint8Array, inner: Handle): Promise<number>;
  mapFreeze(map: Handle): number;
  mapEntries(
    map: Handle,
    keySize: number,
    valueSize: number,
    maxEntries: number,
    bounded: boolean,
    slots: boolean,
  ): Promise<{ count: number; keys: Buffer; values: Buffer } | number>;
  mapUpdateBatch(
    map: Handle,
    keys: Uint8Array,
    values: Uint8Array,
    count: number,
    flags: number,
  ): Promise<BatchResult>;
  mapDeleteBatch(map: Handle, keys: Uint8Array, count: number): Promise<BatchResult>;
  mapSetInners(map: Handle, keys: Uint8Array, ...inners: readonly Handle[]): Promise<BatchResult>;
  mapUpdateEach(keys: Uint8Array, values: Uint8Array, ...maps: readonly Handle[]): Promise<BatchResult>;

  memoryMap(map: Handle, bytes: number): MemoryHandle | number;
  memoryRead(memory: MemoryHandle, target: Uint8Array, offset: number): number;
  memoryClose(memory: MemoryHandle): void;

  programInfo(program: Handle): RawProgramInfo | number;
  programTestRun(
    program: Handle,
    data: Uint8Array,
    context: Uint8Array | undefined,
    options: RawTestRun,
  ): RawTestRunResult | number;
  programTestRunAsync(
    program: Handle,
    data: Uint8Array,
    context: Uint8Array | undefined,
    options: RawTestRun,
  ): Promise<RawTestRunResult | number>;

  linkCreate(program: Handle, ifindex: number, attachType: number, flags: number): Promise<Handle | number>;
  linkUpdate(link: Handle, program: Handle): Promise<number>;
  linkDetach(link: Handle): Promise<number>;
  linkInfo(link: Handle): RawLinkInfo | number;
  queryTcx(
    ifindex: number,
    attachType: number,
  ): { programIds: number[]; linkIds: number[]; revision: number } | number;

  clsactAttach(
    program: Handle,
    ifindex: number,
    egress: boolean,
    handle: number,
    priority: number,
    replace: boolean,
  ): Promise<Logged>;
  clsactDetach(
    ifindex: number,
    egress: boolean,
    handle: number,
    priority: number,
    removeQdisc: boolean,
  ): Promise<Logged>;
  clsactFind(ifindex: number, egress: boolean, handle: number, priority: number): number;
  /** rc 1: it has filters. */
  clsactRemoveEmpty(ifindex: number): Promise<Logged>;

  /** `places` are pairs of u32: ifindex, and tcx ingress 0, tcx egress 1, clsact ingress 2, clsact egress 3 or XDP 4. */
  attachedPrograms(places: Uint8Array): Promise<(number[] | number)[] | number>;
  linkMakeVeth(name: string, peer: string): number;
  linkRemove(name: string): number;

  ringOpen(
    map: Handle,
    onBatch: (data: Buffer, offsets: Uint32Array, count: number) => void,
    bytesMax: number,
  ): Logged & { handle?: FeedHandle };
  feedSetRef(feed: FeedHandle, on: boolean): void;
  feedClose(feed: FeedHandle): void;

  /** In the namespace of a path, or in the one with an id; "" and -1 mean this one. */
  netDump<T extends NetTable>(table: T, path: string, id: number): Promise<NetTables[T][] | number>;
  /** An id, -1 without one, or a negative errno less one. */
  netNamespaceId(path: string): number;
  netWatch(
    onEvents: (events: NetEvent[]) => void,
    allNamespaces: boolean,
    bufferBytes: number,
  ): FeedHandle | number;

  btfParse(path: string): Logged & { data?: Buffer };
  btfOfKernel(id: number): { data: Buffer; name: string; kernel: boolean } | number;

  pin(handle: Handle, path: string): number;
  unpin(path: string): number;
  openPinned(path: string, kind: HandleKind): Handle | number;
  openById(kind: HandleKind, id: number): Handle | number;
  lockFile(path: string): Handle | number;
  fileIdentity(handle: Handle): { device: number; inode: number } | number;
  listIds(kind: HandleKind): number[] | number;
  probe(kind: string, type: number, helper: number): number;
  deviceName(ifindex: number): string | number;
  netnsCookie(): bigint | number;
  errorText(errno: number): string;
  possibleCpus(): number;
  /** pid, uid and gid. */
  peerCredentials(fd: number): [number, number, number] | number;
  openForWriting(fd: number): number;
  libbpfVersion(): string;
}

/** Throws a plain Error that says how to build the addon where that has not been done. */
function loadAddon(): Native {
  // lib/ and dist/ are both one level below the package.
  const addon = fileURLToPath(new URL("../build/bpf_ts.node", import.meta.url));
  if (!existsSync(addon)) {
    const folder = relative(process.cwd(), fileURLToPath(new URL("..", import.meta.url))) || ".";
    throw new Error(`bpf-ts: ${addon} is missing; build it with: make -C ${folder}`);
  }
  return createRequire(import.meta.url)(addon) as Native;
}

export const native: Native = loadAddon();
