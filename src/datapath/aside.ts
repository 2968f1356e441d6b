// The programs once more, beside those in force: over the same policy maps, with flows and counters of their own. So a
// packet is judged by what the kernel holds, and leaves no trace there.

import { BpfMap, BpfProgram } from "bpf-ts";
import { present } from "../base/assert.ts";
import { checkLayout } from "./btf.ts";
import { sumCounters } from "./codec.ts";
import { guardPathOf } from "./guard.ts";
import { openObject } from "./object.ts";
import { GUARD_PROGRAMS, type LinkPlace, MAP_NAMES, type MapName, mapPath, PROGRAMS } from "./pins.ts";
import { tableOf } from "./tables.ts";
import { type TestPacket, testRunner } from "./testrun.ts";

/** Who writes each map. What programs write is not shared, so that no question changes what is in force. */
const WRITERS: { readonly [name in MapName]: "control plane" | "programs" } = {
  node: "control plane",
  endpoints: "control plane",
  sources_v4: "control plane",
  sources_v6: "control plane",
  addresses_v4: "control plane",
  addresses_v6: "control plane",
  known_addresses: "control plane",
  services_v4: "control plane",
  services_v6: "control plane",
  cidrs_v4: "control plane",
  cidrs_v6: "control plane",
  policy: "control plane",
  ports: "control plane",
  rows: "control plane",
  recent_peers_v4: "programs",
  recent_peers_v6: "programs",
  recent_flows_v4: "programs",
  recent_flows_v6: "programs",
  scratch: "programs",
  conntrack_v4: "programs",
  conntrack_v6: "programs",
  fragments: "programs",
  counters: "programs",
  uplink: "control plane",
  denied_v4: "control plane",
  denied_v6: "control plane",
  denied_counts: "programs",
  uplink_counters: "programs",
  events: "programs",
  event_buckets: "programs",
};

/** Room in the tables that only have to hold the flows of a few questions. */
const OWN_ENTRIES = 1_024;
const SMALL: ReadonlySet<MapName> = new Set(["conntrack_v4", "conntrack_v6", "fragments"]);

/** Which program hangs at which place, as the C sources name them. */
export const PROGRAM_AT: { readonly [place in LinkPlace]: string } = {
  ...PROGRAMS,
  "egress-xdp": GUARD_PROGRAMS.fromPod,
};

export interface Aside {
  /** The verdict on a packet, and its reason (a number of `Reason` in the layout). Errors: BpfError, OperationError. */
  judge(packet: AsidePacket): Promise<{ readonly passes: boolean; readonly reason: number }>;
  /** Whether a program of the kernel is the same as ours for its place: this code (equal tag) over these policy maps. */
  isTwin(place: LinkPlace, programId: number): boolean;
  /** Idempotent. */
  close(): void;
}

export interface AsidePacket extends Omit<TestPacket, "direction" | "hook"> {
  /** Which program runs. */
  readonly place: LinkPlace;
}

const FILTER_PLACES = ["ingress", "egress"] as const;

/**
 * Loads the programs over the policy maps that are pinned under `root` and must be there. Only those of the places asked
 * for are loaded: the verifier takes its time. Errors: BpfError, OperationError.
 */
export async function openAside(
  root: string,
  objectPath: string,
  places: readonly LinkPlace[] = FILTER_PLACES,
): Promise<Aside> {
  const opened: { close(): void }[] = [];
  const close = (): void => {
    for (const handle of opened.splice(0)) handle.close();
  };
  try {
    const wanted = (each: readonly LinkPlace[]) => each.filter((place) => places.includes(place));
    const filter = await loadAside(root, objectPath, { places: wanted(FILTER_PLACES), opened });
    const guard = await loadAside(root, guardPathOf(objectPath), { places: wanted(["egress-xdp"]), opened });
    const programs = { ...filter.programs, ...guard.programs };
    const { "egress-xdp": fromPod } = programs;
    const run = testRunner({ programs }, objectPath, fromPod && { programs: { fromPod } });
    return {
      async judge({ place, ...packet }) {
        const [direction, hook] =
          place === "egress-xdp" ? (["egress", "xdp"] as const) : ([place, "tc"] as const);
        const passes = run({ ...packet, direction, hook }) === "pass";
        return { passes, reason: await (hook === "xdp" ? guard : filter).newReason() };
      },
      isTwin(place, programId) {
        using program = BpfProgram.openById(programId);
        const shared = new Set([...filter.shared, ...guard.shared]);
        return isTwin(program, present(programs[place], `the program of ${place}`), shared);
      },
      close,
    };
  } catch (thrown) {
    close();
    throw thrown;
  }
}

type Programs = { [place in LinkPlace]?: BpfProgram };

interface Loaded {
  readonly programs: Programs;
  /** Ids of the maps that are also those in force. */
  readonly shared: ReadonlySet<number>;
  readonly newReason: () => Promise<number>;
}

async function loadAside(
  root: string,
  path: string,
  { places, opened }: { readonly places: readonly LinkPlace[]; readonly opened: { close(): void }[] },
): Promise<Loaded> {
  const programs: Programs = {};
  const shared = new Set<number>();
  const newReason = () => Promise.reject(new Error("assertion failed: no program is loaded"));
  if (places.length === 0) return { programs, shared, newReason };
  const object = openObject(path);
  opened.push(object);
  checkLayout(object, path);
  const wanted = new Set(places.map((place) => PROGRAM_AT[place]));
  for (const { name } of object.programs) object.setAutoload(name, wanted.has(name));
  for (const name of MAP_NAMES) {
    if (SMALL.has(name)) object.setMaxEntries(name, OWN_ENTRIES);
    if (WRITERS[name] === "programs") continue;
    const map = BpfMap.openPinned(mapPath(root, name));
    opened.push(map);
    shared.add(map.info.id);
    object.reuseMap(name, map);
  }
  await object.load();
  for (const place of places) {
    const program = object.program(PROGRAM_AT[place]);
    opened.push(program);
    programs[place] = program;
  }
  const counters = object.map("counters");
  opened.push(counters);
  return { programs, shared, newReason: reasonCounter(counters) };
}

/** Tells under which reason the last packet was counted, by what the counters have more than before. */
function reasonCounter(counters: BpfMap): () => Promise<number> {
  const table = tableOf("counters", counters);
  const before = new Map<string, bigint>();
  return async () => {
    let found: number | undefined;
    for (const [id, perCpu] of await table.read({ skipZero: true })) {
      for (const [direction, reasons] of sumCounters(perCpu).count.entries()) {
        for (const [reason, { packets }] of reasons.entries()) {
          const key = `${id}/${direction}/${reason}`;
          if (packets !== (before.get(key) ?? 0n)) found = reason;
          before.set(key, packets);
        }
      }
    }
    return present(found, "the count of a packet");
  };
}

/** Equal code over other policy maps is another program: someone removed and remade a pin. */
function isTwin(program: BpfProgram, ours: BpfProgram, shared: ReadonlySet<number>): boolean {
  const [theirs, own] = [program.info, ours.info];
  return theirs.tag === own.tag && own.mapIds.every((id) => !shared.has(id) || theirs.mapIds.includes(id));
}
