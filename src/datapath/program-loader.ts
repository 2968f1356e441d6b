// Loads the programs, or adopts those that an earlier agent left: actual and desired programs are compared by the pins.

import { existsSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  BpfMap,
  BpfObject,
  type BpfProgram,
  kernelFeature,
  netnsCookie,
  ProgramType,
  possibleCpus,
} from "bpf-ts";
import { present } from "../base/assert.ts";
import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";
import { LAYOUT_DIGEST } from "../gen/layout.ts";
import { ensurePinned } from "./bpffs.ts";
import type { Layout } from "./btf-layout.ts";
import { type Clock, clockOf, FRAME_MIN } from "./clock.ts";
import { bucketsFor, FLOWS_DEFAULT, fragmentsFor } from "./flow-capacity.ts";
import { FLOW_REQUESTS_PROGRAM, runOn } from "./flow-requests.ts";
import { bucketsIn, ensureSecret, setAside, setSizes } from "./flow-table-pins.ts";
import { type HeldInner, heldInner } from "./inner-maps.ts";
import { checkLayout } from "./layout-checks.ts";
import { openRecord, pinRecord } from "./layout-record.ts";
import {
  GUARD_PROGRAMS,
  type GuardProgram,
  innerDirectory,
  MAP_NAMES,
  type MapName,
  mapPath,
  NESTED_NAMES,
  openProgram,
  PROGRAMS,
  preparePins,
  programPath,
} from "./pins.ts";
import type { NestedName } from "./typed-maps.ts";

/** The loaded datapath: maps and the program for each direction, all pinned. */
export interface Datapath extends Clock {
  readonly root: string;
  readonly programs: { readonly [direction in Direction]: BpfProgram };
  /** Changes the flow table (flow-requests.ts). */
  readonly flowRequests: BpfProgram;
  /** Makes a generation the active one, atomically. Errors: BpfError. */
  activate(generation: number): void;
  map(name: MapName): BpfMap;
  /** The maps inside a map of maps, open for as long as this is. */
  inner(name: NestedName): HeldInner;
  /** Why the programs do not use the kernel's conntrack to find the opener of a connection; absent if they do. */
  readonly withoutConntrack?: string;
  /** Creates missing pins. Returns their number. Errors: OperationError, BpfError. */
  pin(): number;
  close(): void;
}

/**
 * Loads `objectPath` with the maps that are pinned under `root`, and pins what is not pinned yet. Pinned programs
 * with the same code stay, so that links need no update. Flow tables for another number of flows are set aside
 * (flow-table-pins.ts). Errors: OperationError (no BPF filesystem, another layout), BpfError (no privilege, verifier).
 */
export async function openDatapath(
  root: string,
  objectPath: string,
  conntrackFlows: number = FLOWS_DEFAULT,
): Promise<Datapath> {
  const buckets = bucketsFor(conntrackFlows);
  preparePins(root);
  setAside(root, buckets);
  const opened: { close(): void }[] = [];
  try {
    let layout: Layout | undefined;
    const setUp = (object: BpfObject, path: string): void => {
      layout = checkLayout(object, path);
      setSizes(object, buckets);
      object.setMaxEntries("fragments", fragmentsFor(possibleCpus()));
    };
    const prepare = (object: BpfObject, path: string): void => {
      setUp(object, path);
      for (const name of MAP_NAMES) reusePinned(object, root, name);
    };
    const { object, withoutConntrack } = await loadVariant(objectPath, prepare);
    opened.push(object);
    const maps = new Map(MAP_NAMES.map((name) => [name, object.map(name)]));
    opened.push(...maps.values());
    ensureSecret(present(maps.get("flow_secret"), "map flow_secret"), buckets);
    const pinMaps = (): number =>
      [...maps].filter(([name, map]) => ensurePinned("map", map, mapPath(root, name))).length;
    const record = openRecord(root, LAYOUT_DIGEST, present(layout, "a layout"));
    opened.push(record);
    const pinLayout = (): boolean => pinRecord(root, LAYOUT_DIGEST, record);
    pinMaps();
    pinLayout();
    const programs = {
      ingress: adopt(object, root, PROGRAMS.ingress),
      egress: adopt(object, root, PROGRAMS.egress),
    };
    opened.push(...Object.values(programs));
    using requestsObject = openObject(objectPath);
    setUp(requestsObject, objectPath);
    const flowRequests = await loadFlowRequests(requestsObject, maps);
    opened.push(flowRequests);
    ensurePinned("program", flowRequests, programPath(root, FLOW_REQUESTS_PROGRAM));
    const activation = object.program("activate");
    opened.push(activation);
    const inners = new Map(NESTED_NAMES.map((name) => [name, heldInner(innerDirectory(root, name))]));
    opened.push(...inners.values());
    const clock = await clockOf(present(maps.get("node"), "map node"), object);
    object.close();
    return {
      root,
      programs,
      flowRequests,
      ...clock,
      activate(generation) {
        const frame = Buffer.alloc(FRAME_MIN);
        frame.writeUInt32LE(generation);
        if (runOn(activation, frame).result !== 1) throw new Error("the node has no settings");
      },
      ...(withoutConntrack === undefined ? {} : { withoutConntrack }),
      map: (name) => maps.get(name) as BpfMap,
      inner: (name) => inners.get(name) as HeldInner,
      pin() {
        const pinProgram = (direction: Direction): boolean =>
          ensurePinned("program", programs[direction], programPath(root, PROGRAMS[direction]));
        const pinned = [...inners.values()].reduce((sum, inner) => sum + inner.pin(), pinMaps());
        const requests = ensurePinned("program", flowRequests, programPath(root, FLOW_REQUESTS_PROGRAM));
        return pinned + Number(pinLayout()) + Number(requests) + DIRECTIONS.filter(pinProgram).length;
      },
      close: () => {
        for (const handle of opened) handle.close();
      },
    };
  } catch (error) {
    for (const handle of opened) handle.close();
    throw error;
  }
}

/**
 * Loads flow_requests alone, with the maps of the other programs except a scratch of its own. Before Linux 6.3 a run by user space does not keep
 * packets from its CPU: they would put their keys into its scratch. For the same reason each agent has its own; a command uses the agent's.
 */
async function loadFlowRequests(object: BpfObject, maps: ReadonlyMap<MapName, BpfMap>): Promise<BpfProgram> {
  for (const { name } of object.programs) object.setAutoload(name, name === FLOW_REQUESTS_PROGRAM);
  for (const [name, map] of maps) if (name !== "scratch") object.reuseMap(name, map);
  await object.load();
  return object.program(FLOW_REQUESTS_PROGRAM);
}

/** The variant of an object that calls the kernel's conntrack: bpf/kernel_conntrack.h. */
const withConntrack = (path: string): string => path.replace(/\.bpf\.o$/, "-ct.bpf.o");

const GUARD_FILE = "guard.bpf.o";

/** bpf_get_netns_cookie (linux/bpf.h). */
const GET_NETNS_COOKIE = 122;

/** Whether tc programs may query the network namespace of a packet's socket (Linux 6.13). Between 6.1 and that, libbpf may not recognize the refusal. */
const mayQueryNetns = (): boolean =>
  kernelFeature({ kind: "helper", programType: ProgramType.SCHED_CLS, helper: GET_NETNS_COOKIE });

/**
 * Opens, prepares and loads an object: its variant with the kernel's conntrack, or the other one if the kernel does not give programs
 * access to it (no conntrack, a module whose types only CAP_SYS_ADMIN may read, no JIT compiler). tc programs get the number of the
 * node's network namespace, which is this process's, if the kernel lets them use it. Errors: as open and prepare, BpfError.
 */
export async function loadVariant(
  path: string,
  prepare: (object: BpfObject, path: string) => void,
): Promise<{ readonly object: BpfObject; readonly withoutConntrack?: string }> {
  const load = async (file: string, netns: bigint): Promise<BpfObject> => {
    const object = openObject(file);
    try {
      prepare(object, file);
      if (netns !== 0n) object.setVariable("node_netns", new Uint8Array(BigUint64Array.of(netns).buffer));
      await object.load();
      return object;
    } catch (error) {
      object.close();
      throw error;
    }
  };
  const loadEither = async (netns: bigint) => {
    let withoutConntrack: string;
    try {
      return { object: await load(withConntrack(path), netns) };
    } catch (error) {
      withoutConntrack = messageOf(error);
    }
    return { object: await load(path, netns), withoutConntrack };
  };
  if (path.endsWith(GUARD_FILE) || !mayQueryNetns()) return await loadEither(0n);
  return await loadEither(netnsCookie()).catch(() => loadEither(0n));
}

/** Opens a built object. Errors: OperationError if it does not exist. */
export function openObject(path: string): BpfObject {
  try {
    return BpfObject.open(path);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
    throw new OperationError("the file does not exist; build it with: npm run build", {
      operation: "open",
      object: path,
      code: "ENOENT",
      cause: error,
    });
  }
}

/** The object has a descriptor of its own then: a load that fails leaves none open. */
function reusePinned(object: BpfObject, root: string, name: MapName): void {
  const path = mapPath(root, name);
  if (!existsSync(path)) return;
  using map = BpfMap.openPinned(path);
  try {
    object.reuseMap(name, map);
  } catch (error) {
    throw new OperationError(`${messageOf(error)}; remove the pins of the other build with: weir cleanup`, {
      operation: "take up",
      object: path,
      cause: error,
    });
  }
}

/** The pinned program if its code is the same (equal tag), else the new one, pinned in its place. */
export function adopt(object: BpfObject, root: string, name: string): BpfProgram {
  const path = programPath(root, name);
  const pinned = openProgram(path);
  const loaded = object.program(name);
  if (pinned !== undefined && pinned.info.tag === loaded.info.tag && sameMaps(pinned, loaded)) {
    loaded.close();
    return pinned;
  }
  pinned?.close();
  ensurePinned("program", loaded, path);
  return loaded;
}

/** Equal code with other maps is another program: a pin was removed and recreated. */
function sameMaps(a: BpfProgram, b: BpfProgram): boolean {
  const key = (program: BpfProgram) => [...program.info.mapIds].sort((x, y) => x - y).join(",");
  return key(a) === key(b);
}

// Loads the XDP programs with the maps of a loaded datapath. Only if an option needs them.

/** The XDP programs, pinned beside the others. */
export interface Guard {
  readonly programs: { readonly [name in GuardProgram]: BpfProgram };
  /** Like Datapath.pin. */
  pin(): number;
  close(): void;
}

/** Their object is built beside that of the tc programs. */
export const guardPathOf = (objectPath: string): string => join(dirname(objectPath), GUARD_FILE);

/** Like openDatapath, for the object beside `objectPath`. Errors: OperationError, BpfError. */
export async function openGuard(datapath: Datapath, objectPath: string): Promise<Guard> {
  const path = guardPathOf(objectPath);
  const prepare = (object: BpfObject, file: string): void => {
    checkLayout(object, file);
    setSizes(object, bucketsIn(datapath));
    for (const name of MAP_NAMES) object.reuseMap(name, datapath.map(name));
  };
  using object = (await loadVariant(path, prepare)).object;
  const opened: BpfProgram[] = [];
  const close = (): void => {
    for (const program of opened) program.close();
  };
  try {
    const open = (name: GuardProgram): BpfProgram => {
      const program = adopt(object, datapath.root, GUARD_PROGRAMS[name]);
      opened.push(program);
      return program;
    };
    const programs = { fromPod: open("fromPod"), fromUplink: open("fromUplink") };
    const pin = (): number =>
      (Object.keys(programs) as GuardProgram[]).filter((name) =>
        ensurePinned("program", programs[name], programPath(datapath.root, GUARD_PROGRAMS[name])),
      ).length;
    return { programs, pin, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Removes the pins of an earlier agent if no option needs the guard any more. Links keep their programs. */
export function dropGuard(root: string): void {
  for (const name of Object.values(GUARD_PROGRAMS)) rmSync(programPath(root, name), { force: true });
}
