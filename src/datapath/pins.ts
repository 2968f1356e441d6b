// Where Weir's objects are pinned, and opening them. The paths are the only state passed from one agent to the next.
//
//   ROOT/<layout digest>/maps/NAME        every map of the object
//   ROOT/<layout digest>/earlier/ID/NAME  flow tables of another size and their secret, until their flows are in the tables above
//   ROOT/<layout digest>/layout           that layout, for later builds (layout-record.ts)
//   ROOT/<layout digest>/inner/MAP/N-ID   the maps inside a map of maps (inner-maps.ts)
//   ROOT/<layout digest>/programs/NAME    from_pod, to_pod and flow_requests; from_pod_xdp and from_uplink if they are enabled
//   ROOT/links/<ifindex>-<direction>      tcx links
//   ROOT/links/<ifindex>-egress-xdp       XDP links, in place of <ifindex>-egress
//   ROOT/links/<ifindex>-clsact           a directory: the interface's clsact qdisc was created for a filter of ours
//   ROOT/links/<ifindex>-uplink           XDP links of uplinks; with -generic if the driver has no native XDP

import { dirname, join } from "node:path";
import { BpfMap, BpfProgram } from "bpf-ts";
import type { Direction } from "../base/direction.ts";
import { LAYOUT_DIGEST, MAPS } from "../gen/layout.ts";
import { listDirectory, makeDirectory, openPin, remove } from "./bpffs.ts";
import { type InnerMaps, pinnedInner } from "./inner-maps.ts";
import type { NestedName } from "./typed-maps.ts";

export type MapName = keyof typeof MAPS;

export { listDirectory } from "./bpffs.ts";

export const MAP_NAMES = Object.keys(MAPS) as MapName[];
export const NESTED_NAMES = MAP_NAMES.filter((name): name is NestedName => "inner" in MAPS[name]);

/** The program for each direction, as the C source names it. */
export const PROGRAMS: { readonly [direction in Direction]: string } = {
  ingress: "to_pod",
  egress: "from_pod",
};

/** The XDP programs, as the C source names them. */
export const GUARD_PROGRAMS = { fromPod: "from_pod_xdp", fromUplink: "from_uplink" } as const;
export type GuardProgram = keyof typeof GUARD_PROGRAMS;

/** What a link on an endpoint's interface filters: a direction of its pod, by tcx or by XDP. */
export const ENDPOINT_PLACES = ["ingress", "egress", "egress-xdp"] as const;
export type LinkPlace = (typeof ENDPOINT_PLACES)[number];

/** And on an uplink, by native or by generic XDP. */
export const UPLINK_PLACES = ["uplink", "uplink-generic"] as const;
export type UplinkPlace = (typeof UPLINK_PLACES)[number];

const PINNED_PLACES = [...ENDPOINT_PLACES, ...UPLINK_PLACES];
export type PinnedPlace = (typeof PINNED_PLACES)[number];

export const mapPath = (root: string, name: string): string => join(root, LAYOUT_DIGEST, "maps", name);
/** Pinned by another build. */
export const otherMapPath = (root: string, digest: string, name: string): string =>
  join(root, digest, "maps", name);
export const layoutRecordPath = (root: string, digest: string): string => join(root, digest, "layout");
/** Directories of flow tables of another size. */
export const earlierDirectory = (root: string): string => join(root, LAYOUT_DIGEST, "earlier");
export const programPath = (root: string, name: string): string =>
  join(root, LAYOUT_DIGEST, "programs", name);
export const innerDirectory = (root: string, name: string): string =>
  join(root, LAYOUT_DIGEST, "inner", name);
export const linksDirectory = (root: string): string => join(root, "links");
export const linkPath = (root: string, ifindex: number, place: PinnedPlace): string =>
  join(linksDirectory(root), `${ifindex}-${place}`);

/** All directories in which an agent pins. */
export const pinDirectories = (root: string): string[] => [
  root,
  dirname(mapPath(root, "-")),
  dirname(programPath(root, "-")),
  ...NESTED_NAMES.map((name) => innerDirectory(root, name)),
  linksDirectory(root),
];

/** The maps that an agent pinned, with this build's layout. */
export interface Pins {
  readonly digest: string;
  map(name: MapName): BpfMap;
  inner(name: NestedName): InnerMaps;
  /** The caller must close it. Errors: BpfError. */
  program(name: string): BpfProgram;
  close(): void;
}

/** Whether maps of a layout are pinned under a root, not only a directory of its name. */
export const hasPins = (root: string, digest: string): boolean =>
  listDirectory(join(root, digest, "maps")).length > 0;

/** Opens the pinned maps under a root; undefined if there are none with this build's layout. */
export function openPins(root: string): Pins | undefined {
  if (!hasPins(root, LAYOUT_DIGEST)) return undefined;
  const maps = new Map<string, BpfMap>();
  return {
    digest: LAYOUT_DIGEST,
    map(name) {
      const map = maps.get(name) ?? BpfMap.openPinned(mapPath(root, name));
      maps.set(name, map);
      return map;
    },
    inner: (name) => pinnedInner(innerDirectory(root, name)),
    program: (name) => BpfProgram.openPinned(programPath(root, name)),
    close() {
      for (const map of maps.values()) map.close();
    },
  };
}

/** Layout digests that have pins under a root: this build's, and those of other builds. Errors: OperationError. */
export function pinnedDigests(root: string): string[] {
  return listDirectory(root).filter((name) => /^[0-9a-f]{16}$/.test(name));
}

export const openProgram = (path: string): BpfProgram | undefined => openPin("program", path);

/** Links pinned under a root. Names that are not ours are left out. */
export function pinnedLinks(
  root: string,
): { readonly ifindex: number; readonly place: PinnedPlace; readonly path: string }[] {
  return listDirectory(linksDirectory(root)).flatMap((name) => {
    const match = /^([1-9][0-9]*)-(.*)$/.exec(name);
    const place = PINNED_PLACES.find((each) => each === match?.[2]);
    if (match === null || place === undefined) return [];
    return [{ ifindex: Number(match[1]), place, path: join(linksDirectory(root), name) }];
  });
}

const qdiscMark = (root: string, ifindex: number): string => join(linksDirectory(root), `${ifindex}-clsact`);

/** Records that the interface's clsact qdisc is ours. Errors: OperationError. */
export const markQdisc = (root: string, ifindex: number): void => makeDirectory(qdiscMark(root, ifindex));

/** Idempotent. Errors: OperationError. */
export const unmarkQdisc = (root: string, ifindex: number): void => remove(qdiscMark(root, ifindex), true);

/** Interfaces whose clsact qdisc is ours. Errors: OperationError. */
export const markedQdiscs = (root: string): number[] =>
  listDirectory(linksDirectory(root)).flatMap((name) => {
    const ifindex = /^([1-9][0-9]*)-clsact$/.exec(name)?.[1];
    return ifindex === undefined ? [] : [Number(ifindex)];
  });

/** Creates the directories, after checking that they are on a BPF filesystem. Errors: OperationError. */
export function preparePins(root: string): void {
  for (const path of [dirname(mapPath(root, "-")), dirname(programPath(root, "-")), linksDirectory(root)])
    makeDirectory(path);
}

/** Layouts of other builds that have pins under a root. */
export const otherLayouts = (root: string): string[] =>
  pinnedDigests(root).filter((digest) => digest !== LAYOUT_DIGEST);

/** Removes the pins of other builds, once nothing refers to their programs. Returns their digests. Errors: OperationError. */
export function removeOtherLayouts(root: string): string[] {
  const others = otherLayouts(root);
  for (const digest of others) remove(join(root, digest), true);
  return others;
}
