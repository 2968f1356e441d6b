// The shadow instance: the programs loaded a second time, with the same policy maps but their own flows and counters. So a
// packet is judged by the actual maps, and leaves no trace in them.

import { BpfMap, type BpfObject, type BpfProgram } from "bpf-ts";
import { present } from "../base/assert.ts";
import { sumCounters } from "./codec.ts";
import { FLOW_TABLES } from "./flow-table.ts";
import { ensureSecret, setSizes } from "./flow-table-pins.ts";
import { checkLayout } from "./layout-checks.ts";
import {
  GUARD_PROGRAMS,
  type LinkPlace,
  MAP_NAMES,
  type MapName,
  mapPath,
  openProgram,
  PROGRAMS,
  programPath,
} from "./pins.ts";
import { guardPathOf, loadVariant } from "./program-loader.ts";
import { type TestPacket, testRunner } from "./program-test-run.ts";
import { tableOf } from "./typed-maps.ts";

/** The writer of each map; of the secret, the loader. Maps that programs write are not shared, so that a query does not change the live datapath. */
const WRITERS: { readonly [name in MapName]: "control plane" | "programs" } = {
  node: "control plane",
  endpoints: "control plane",
  sources_v4: "control plane",
  sources_v6: "control plane",
  addresses_v4: "control plane",
  addresses_v6: "control plane",
  address_filter: "control plane",
  closed_filter: "control plane",
  frontend_filter: "control plane",
  services_v4: "control plane",
  services_v6: "control plane",
  cidrs_v4: "control plane",
  cidrs_v6: "control plane",
  policy: "control plane",
  domain_names: "control plane",
  name_policies: "control plane",
  // The programs write it, and a query only reads it: no packet of one is an answer of a resolver.
  names: "control plane",
  questions: "programs",
  name_rings: "programs",
  name_counters: "programs",
  dns_scratch: "programs",
  cidr_filter_v4: "control plane",
  cidr_index_v4: "control plane",
  ports: "control plane",
  rows: "control plane",
  peer_cache_v4: "programs",
  peer_cache_v6: "programs",
  flow_cache_v4: "programs",
  flow_cache_v6: "programs",
  pod_sockets: "programs",
  scratch: "programs",
  conntrack_v4: "programs",
  conntrack_v6: "programs",
  flow_secret: "programs",
  flow_statistics: "programs",
  fragments: "programs",
  neighbour_rates: "programs",
  counters: "programs",
  uplink: "control plane",
  denied_v4: "control plane",
  denied_v6: "control plane",
  denied_counts: "programs",
  uplink_counters: "programs",
  events: "programs",
  event_buckets: "programs",
};

/** Capacity of the tables that only have to hold the flows of a few queries. */
const OWN_ENTRIES = 1_024;
const OWN_BUCKETS = { conntrack_v4: OWN_ENTRIES, conntrack_v6: OWN_ENTRIES };

/** The program at each hook, as the C sources name it. */
export const PROGRAM_AT: { readonly [place in LinkPlace]: string } = {
  ...PROGRAMS,
  "egress-xdp": GUARD_PROGRAMS.fromPod,
};

export interface ShadowPrograms {
  /** The verdict on a packet, and its reason (a number of `Reason` in the layout). Errors: BpfError, OperationError. */
  judge(packet: ShadowPacket): Promise<{ readonly passes: boolean; readonly reason: number }>;
  /**
   * Whether a program in the kernel is equal to ours for its hook: this code (equal tag) with these policy maps. Only
   * the pinned one can be compared: the kernel opens programs by id for CAP_SYS_ADMIN only.
   */
  isShadowOf(place: LinkPlace, programId: number): boolean;
  /** Removes the flows of earlier packets, so that later ones are judged as if they were the first. */
  forget(): Promise<void>;
  /** Idempotent. */
  close(): void;
}

export interface ShadowPacket extends Omit<TestPacket, "direction" | "hook"> {
  /** Which program runs. */
  readonly place: LinkPlace;
  /** Of the endpoint, if it is known: then not all counters are read to find the reason. */
  readonly id?: number;
}

/**
 * Loads the programs with the policy maps that are pinned under `root`, which must exist. Loads only the programs of the
 * given hooks, each as an object of its own and in parallel, because the verifier is slow. Errors: BpfError,
 * OperationError.
 */
export async function openShadowPrograms(
  root: string,
  objectPath: string,
  places: readonly LinkPlace[] = ["ingress", "egress"],
): Promise<ShadowPrograms> {
  const opened: { close(): void }[] = [];
  const close = (): void => {
    for (const handle of opened.splice(0)) handle.close();
  };
  try {
    const loading = places.map(
      async (place) => [place, await load(root, objectPath, { place, opened })] as const,
    );
    const loaded = new Map(await Promise.all(loading));
    const at = (place: LinkPlace): Loaded => present(loaded.get(place), `the program of ${place}`);
    const programs = Object.fromEntries([...loaded].map(([place, { program }]) => [place, program]));
    const fromPod = loaded.get("egress-xdp")?.program;
    const run = testRunner({ programs }, objectPath, fromPod && { programs: { fromPod } });
    return {
      async judge({ place, id, ...packet }) {
        const [direction, hook] =
          place === "egress-xdp" ? (["egress", "xdp"] as const) : ([place, "tc"] as const);
        const passes = run({ ...packet, direction, hook }) === "pass";
        return { passes, reason: await at(place).newReason(id) };
      },
      isShadowOf(place, programId) {
        using pinned = openProgram(programPath(root, PROGRAM_AT[place]));
        return pinned?.info.id === programId && isShadowOf(pinned, at(place));
      },
      async forget() {
        for (const { forget } of loaded.values()) await forget();
      },
      close,
    };
  } catch (thrown) {
    close();
    throw thrown;
  }
}

interface Loaded {
  readonly program: BpfProgram;
  /** Ids of the maps that are shared with the live datapath. */
  readonly shared: ReadonlySet<number>;
  readonly newReason: (id: number | undefined) => Promise<number>;
  readonly forget: () => Promise<void>;
}

async function load(
  root: string,
  objectPath: string,
  { place, opened }: { readonly place: LinkPlace; readonly opened: { close(): void }[] },
): Promise<Loaded> {
  const path = place === "egress-xdp" ? guardPathOf(objectPath) : objectPath;
  const shared = new Set<number>();
  const prepare = (object: BpfObject, file: string): void => {
    checkLayout(object, file);
    for (const { name } of object.programs) object.setAutoload(name, name === PROGRAM_AT[place]);
    setSizes(object, OWN_BUCKETS);
    object.setMaxEntries("fragments", OWN_ENTRIES);
    for (const name of MAP_NAMES) {
      if (WRITERS[name] === "programs") continue;
      const map = BpfMap.openPinned(mapPath(root, name));
      opened.push(map);
      shared.add(map.info.id);
      object.reuseMap(name, map);
    }
  };
  const { object } = await loadVariant(path, prepare);
  opened.push(object);
  using secret = object.map("flow_secret");
  ensureSecret(secret, OWN_BUCKETS);
  const program = object.program(PROGRAM_AT[place]);
  const counters = object.map("counters");
  const flows = FLOW_TABLES.map((name) => object.map(name));
  const caches = FLOW_CACHES.map((name) => object.map(name));
  const fragments = object.map("fragments");
  opened.push(program, counters, fragments, ...flows, ...caches);
  return {
    program,
    shared,
    newReason: reasonCounter(counters),
    async forget() {
      for (const map of flows) await emptyTable(map);
      await emptyFragments(fragments);
      for (const [index, name] of FLOW_CACHES.entries()) await invalidate(name, present(caches[index], name));
    },
  };
}

const FLOW_CACHES = ["flow_cache_v4", "flow_cache_v6"] as const;

/** These tables are ours, and no program runs meanwhile: a store is safe here, unlike in the live ones. */
async function emptyTable(map: BpfMap): Promise<void> {
  const { keySize, lookupSize } = map.info;
  const { count, keys, values } = await map.entries();
  const free = Buffer.alloc(lookupSize);
  for (let at = 0; at < count; at++) {
    const value = values.subarray(at * lookupSize, (at + 1) * lookupSize);
    if (!value.equals(free)) map.update(keys.subarray(at * keySize, (at + 1) * keySize), free);
  }
}

async function emptyFragments(map: BpfMap): Promise<void> {
  const table = tableOf("fragments", map);
  await table.deleteBatch((await table.read()).map(([key]) => key));
}

/** No flow is of tick 0: an entry with it is empty. */
async function invalidate(name: (typeof FLOW_CACHES)[number], map: BpfMap): Promise<void> {
  const table = tableOf<"flow_cache_v4" | "flow_cache_v6">(name, map);
  for (const [place, perCpu] of await table.read({ skipZero: true }))
    table.set(
      place,
      perCpu.map((cached) => ({ ...cached, tick: 0n })),
    );
}

/** What no endpoint owns is counted under this id. */
const UNOWNED = 0;

/** The reason under which the last packet was counted, by the increase of the counters. */
function reasonCounter(counters: BpfMap): Loaded["newReason"] {
  const table = tableOf("counters", counters);
  const before = new Map<string, bigint>();
  const increased = (entries: Awaited<ReturnType<typeof table.read>>): number | undefined => {
    let found: number | undefined;
    for (const [id, perCpu] of entries) {
      for (const [direction, reasons] of sumCounters(perCpu).count.entries()) {
        for (const [reason, { packets }] of reasons.entries()) {
          const key = `${id}/${direction}/${reason}`;
          if (packets !== (before.get(key) ?? 0n)) found = reason;
          before.set(key, packets);
        }
      }
    }
    return found;
  };
  return async (id) => {
    // With many CPUs the whole table has hundreds of megabytes.
    const ids = id === undefined ? [] : [UNOWNED, id];
    const near = increased(
      ids.flatMap((each) => {
        const perCpu = table.get(each);
        return perCpu === undefined ? [] : [[each, perCpu]];
      }),
    );
    return near ?? present(increased(await table.read({ skipZero: true })), "the count of a packet");
  };
}

/** Equal code with other policy maps is another program: a pin was removed and recreated. */
function isShadowOf(other: BpfProgram, { program, shared }: Loaded): boolean {
  const [theirs, own] = [other.info, program.info];
  return theirs.tag === own.tag && own.mapIds.every((id) => !shared.has(id) || theirs.mapIds.includes(id));
}
