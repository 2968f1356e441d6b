// Performs each kernel operation of an agent once, with temporary objects: `weir check node`.
//
// The interface is a pair of veth devices, both down, in the node's own network namespace: a separate namespace would need
// CAP_SYS_ADMIN, which an agent does not have either. No packet crosses it.

import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  attachedPrograms,
  BpfLink,
  BpfMap,
  type BpfObject,
  BpfProgram,
  dumpLinks,
  type LinkSpec,
  MapType,
  makeVeth,
  type NetEvent,
  NetWatch,
  type Hook as Place,
  RingBuffer,
  removeLink,
} from "bpf-ts";
import { codeOf, OperationError, succeeds } from "../base/errors.ts";
import { makeDirectory, openPin } from "./bpffs.ts";
import { hookOf } from "./hooks.ts";
import { GUARD_PROGRAMS, PROGRAMS } from "./pins.ts";
import { guardPathOf, loadVariant } from "./program-loader.ts";

export type OperationName =
  | "map creation"
  | "pins"
  | "programs"
  | "ring buffer"
  | "rtnetlink"
  | "interface"
  | "links"
  | "xdp"
  | "xdp links";

export interface Verified {
  readonly program: string;
  /** How many instructions the verifier processed; its limit is a million. */
  readonly instructions: number;
  /** Whether it is JIT-compiled; otherwise it is interpreted. */
  readonly jit: boolean;
}

export interface Attempt {
  readonly operation: OperationName;
  /** Only for programs. */
  readonly verified?: readonly Verified[];
  /** Only for optional operations: what an agent lacks without it, as long as nothing else fails. */
  readonly without?: string;
  /** The earlier operation that it needs and that failed: it was not tried. */
  readonly after?: OperationName;
  readonly error?: unknown;
}

interface Stage {
  readonly directory: string;
  readonly objectPath: string;
  /** Always undone in reverse order. */
  readonly undo: DisposableStack;
  map?: BpfMap;
  filter?: BpfObject;
  guard?: BpfObject;
  ifindex?: number;
}

type Result = Pick<Attempt, "verified" | "without">;

interface Step {
  readonly operation: OperationName;
  readonly needs: readonly OperationName[];
  readonly run: (stage: Stage) => Result | Promise<Result>;
}

/** In the order in which an agent performs them. */
const STEPS: readonly Step[] = [
  { operation: "map creation", needs: [], run: createMap },
  { operation: "pins", needs: ["map creation"], run: pinMap },
  { operation: "programs", needs: [], run: loadFilter },
  { operation: "ring buffer", needs: ["programs"], run: readRing },
  { operation: "rtnetlink", needs: [], run: watchLinks },
  { operation: "interface", needs: [], run: makeInterface },
  { operation: "links", needs: ["programs", "interface", "pins"], run: attachFilter },
  { operation: "xdp", needs: [], run: loadGuard },
  { operation: "xdp links", needs: ["xdp", "interface", "pins"], run: attachGuard },
];

/** No operation takes longer, on a machine that is usable. */
const OPERATION_MS_MAX = 60_000;
const EVENT_MS_MAX = 5_000;
/** Fixed, so that objects left by a killed run are found. Two simultaneous runs would conflict. */
const DEVICE = "weir-check";
const PEER = "weir-check-p";

/** `bpffs` is the directory of pins, beside which the pins are created. Never rejects. */
export async function rehearse(bpffs: string, objectPath: string): Promise<readonly Attempt[]> {
  using undo = new DisposableStack();
  const stage: Stage = { directory: join(dirname(bpffs), "weir-check"), objectPath, undo };
  const attempts: Attempt[] = [];
  for (const { operation, needs, run } of STEPS) {
    const after = attempts.find((each) => needs.includes(each.operation) && !succeeded(each))?.operation;
    if (after !== undefined) attempts.push({ operation, after });
    else attempts.push({ operation, ...(await attempted(() => run(stage), operation)) });
  }
  return attempts;
}

const succeeded = ({ error, after }: Attempt): boolean => error === undefined && after === undefined;

async function attempted(
  run: () => Result | Promise<Result>,
  operation: OperationName,
): Promise<Result & Pick<Attempt, "error">> {
  const timer = new AbortController();
  const late = sleep(OPERATION_MS_MAX, undefined, { signal: timer.signal }).then(() => {
    throw new OperationError(`not done within ${OPERATION_MS_MAX / 1_000} s`, {
      operation,
      object: "kernel",
    });
  });
  try {
    return await Promise.race([run(), late]);
  } catch (error) {
    return { error };
  } finally {
    late.catch(() => undefined);
    timer.abort();
  }
}

/** A trie, as for prefixes: one of the map types that require a capability. */
function createMap(stage: Stage): Result {
  const map = BpfMap.create({
    type: MapType.LPM_TRIE,
    name: "weir_check",
    keySize: 8,
    valueSize: 4,
    maxEntries: 1,
    flags: BPF_F_NO_PREALLOC,
  });
  stage.map = stage.undo.use(map);
  const key = Buffer.from([32, 0, 0, 0, 192, 0, 2, 1]);
  map.update(key, Buffer.alloc(4));
  map.lookup(key);
  return {};
}

const BPF_F_NO_PREALLOC = 1;

function pinMap({ directory, map, undo }: Stage): Result {
  if (map === undefined) throw new Error("assertion failed: no map");
  rmSync(directory, { recursive: true, force: true });
  makeDirectory(directory);
  undo.defer(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, "map");
  map.pin(path);
  using opened = openPin("map", path);
  if (opened?.info.id !== map.info.id) throw notThere("open by path", path);
  return {};
}

const notThere = (operation: string, object: string): OperationError =>
  new OperationError("what is there is not what was made", { operation, object });

async function loadFilter(stage: Stage): Promise<Result> {
  const { object } = await loadVariant(stage.objectPath, () => undefined);
  stage.undo.use(object);
  stage.filter = object;
  return { verified: verifiedOf(object, Object.values(PROGRAMS)) };
}

async function loadGuard(stage: Stage): Promise<Result> {
  // Two objects at once would need twice the memory.
  stage.filter?.close();
  const { object } = await loadVariant(guardPathOf(stage.objectPath), () => undefined);
  stage.undo.use(object);
  stage.guard = object;
  return { verified: verifiedOf(object, Object.values(GUARD_PROGRAMS)) };
}

const verifiedOf = (object: BpfObject, names: readonly string[]): Verified[] =>
  names.map((program) => {
    using loaded = object.program(program);
    const { verifiedInstructions, jitedSize } = loaded.info;
    return { program, instructions: verifiedInstructions, jit: jitedSize > 0 };
  });

function readRing({ filter }: Stage): Result {
  if (filter === undefined) throw new Error("assertion failed: no object");
  using events = filter.map("events");
  RingBuffer.open(events, () => undefined).close();
  return {};
}

/** Changes on other devices are ignored. */
async function watchLinks({ undo }: Stage): Promise<Result> {
  await dumpLinks();
  const seen: NetEvent[] = [];
  const take = (events: readonly NetEvent[]): void => void seen.push(...events);
  const { watch, without } = openWatch(take);
  undo.use(watch);
  succeeds(() => removeLink(DEVICE));
  makeVeth(DEVICE, PEER);
  removeLink(DEVICE);
  const isThere = (): boolean => seen.some((event) => event.kind === "link" && event.link.name === DEVICE);
  for (const deadline = Date.now() + EVENT_MS_MAX; !isThere(); await sleep(10)) {
    if (Date.now() > deadline)
      throw new OperationError("no change of a link was reported", {
        operation: "watch",
        object: "rtnetlink",
      });
  }
  watch.close();
  return without === undefined ? {} : { without };
}

function openWatch(take: (events: readonly NetEvent[]) => void): { watch: NetWatch; without?: string } {
  try {
    return { watch: NetWatch.open(take, { allNamespaces: true }) };
  } catch (error) {
    if (codeOf(error) !== "EPERM") throw error;
    return { watch: NetWatch.open(take), without: "changes of addresses in pods' namespaces" };
  }
}

async function makeInterface(stage: Stage): Promise<Result> {
  succeeds(() => removeLink(DEVICE));
  makeVeth(DEVICE, PEER);
  stage.undo.defer(() => void succeeds(() => removeLink(DEVICE)));
  const links = await dumpLinks();
  const made = links.find(({ name }) => name === DEVICE);
  if (made === undefined) throw notThere("list", DEVICE);
  stage.ifindex = made.ifindex;
  return {};
}

async function attachFilter(stage: Stage): Promise<Result> {
  const { filter, ifindex = 0 } = stage;
  if (filter === undefined) throw new Error("assertion failed: no object");
  using program = filter.program(PROGRAMS.ingress);
  if (hookOf() === "tcx") {
    const place = { kind: "tcx", ifindex, direction: "egress" } as const;
    await attachPinned(stage, program, place, place);
    return {};
  }
  const place = { kind: "clsact", ifindex, direction: "egress" } as const;
  using link = await BpfLink.attach(program, { ...place, handle: 1, priority: 1, removeQdisc: true });
  await expectAttached(place, program);
  await link.detach();
  return {};
}

async function attachGuard(stage: Stage): Promise<Result> {
  const { guard, ifindex = 0 } = stage;
  if (guard === undefined) throw new Error("assertion failed: no object");
  using program = guard.program(GUARD_PROGRAMS.fromUplink);
  const place = { kind: "xdp", ifindex } as const;
  await attachPinned(stage, program, place, { ...place, mode: "native" });
  return {};
}

/** Attaches by a link, pins link and program, opens both by path, replaces the link's program, and detaches it. */
async function attachPinned(
  { directory }: Stage,
  program: BpfProgram,
  place: Place,
  spec: LinkSpec,
): Promise<void> {
  const [programPath, linkPath] = [join(directory, "program"), join(directory, "link")];
  rmSync(programPath, { force: true });
  rmSync(linkPath, { force: true });
  program.pin(programPath);
  using opened = BpfProgram.openPinned(programPath);
  using link = await BpfLink.attach(program, spec);
  link.pin(linkPath);
  await expectAttached(place, program);
  using again = BpfLink.openPinned(linkPath);
  await again.update(opened);
  await again.detach();
}

async function expectAttached(place: Place, program: BpfProgram): Promise<void> {
  const [programs = []] = await attachedPrograms([place]);
  if (!programs.includes(program.info.id)) throw notThere("query", DEVICE);
}
