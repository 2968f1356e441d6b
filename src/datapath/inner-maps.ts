// The inner maps of maps of maps, which can be reopened only by a pin: the kernel opens maps by id for CAP_SYS_ADMIN only.
//
//   ROOT/<layout digest>/inner/<map>/<number>-<id>     the map `id` under `number` of a map of maps
//
// The id is part of the name, so a pin never has to be replaced: the outer map determines which pin is valid, and
// every other one is left over from a process that ended between two steps.

import { join } from "node:path";
import type { BpfMap } from "bpf-ts";
import { succeeds } from "../base/errors.ts";
import { ensurePinned, listDirectory, openPin, remove } from "./bpffs.ts";

/** The inner maps of one map of maps. The caller closes the maps that it opens through this. */
export interface InnerMaps {
  /** The map with this id under this number; undefined if it is not pinned. Errors: BpfError. */
  open(number: number, id: number): OpenInner | undefined;
  /** The map that was opened or kept last under this number, without a look at the outer map; undefined if there is none, or not one. */
  current(number: number): BpfMap | undefined;
  /** Takes ownership of a new map, before the outer map refers to it. */
  add(number: number, map: BpfMap): void;
  /** To be called when the outer map refers to nothing else under this number. */
  keep(number: number, id: number | undefined): void;
  /** Marks the current pins; the returned function removes those of them to which the outer map does not refer. */
  sweep(): (inForce: ReadonlyMap<number, number>) => void;
}

export interface OpenInner {
  readonly map: BpfMap;
  /** The map stays open if it is held longer. */
  release(): void;
}

/** The inner maps of an agent: open for as long as it runs, so that lost pins can be restored. */
export interface HeldInner extends InnerMaps {
  /** Creates missing pins. Returns their number. Errors: OperationError, BpfError. */
  pin(): number;
  close(): void;
}

const pinName = (number: number, id: number): string => `${number}-${id}`;

/** Other names do not belong to Weir, and are not removed. */
const isPinName = (name: string): boolean => /^\d+-\d+$/.test(name);

/** For commands: opens the pins, and changes nothing. */
export function pinnedInner(directory: string): InnerMaps {
  const refuse = (): never => {
    throw new Error("assertion failed: a command does not write maps");
  };
  return {
    open(number, id) {
      const map = openInner(directory, number, id);
      return map && { map, release: () => map.close() };
    },
    current: () => undefined,
    add: refuse,
    keep: refuse,
    sweep: () => () => undefined,
  };
}

/** Without a directory they are only held. */
export function heldInner(directory?: string): HeldInner {
  const held = new Map<number, Map<number, BpfMap>>();

  const hold = (number: number, map: BpfMap): void => {
    const under = held.get(number) ?? new Map<number, BpfMap>();
    held.set(number, under.set(map.info.id, map));
  };
  const pathOf = (name: string): string => join(directory ?? "", name);
  const pinOne = (number: number, map: BpfMap): boolean =>
    directory !== undefined && ensurePinned("map", map, pathOf(pinName(number, map.info.id)));
  /** A pin that cannot be removed now is removed by a later sweep. */
  const unpin = (name: string): void => {
    if (directory !== undefined) succeeds(() => remove(pathOf(name)));
  };
  const keep = (number: number, id: number | undefined): void => {
    for (const [other, map] of held.get(number) ?? []) {
      if (other === id) continue;
      map.close();
      held.get(number)?.delete(other);
      unpin(pinName(number, other));
    }
  };
  return {
    open(number, id) {
      const map = held.get(number)?.get(id) ?? (directory && openInner(directory, number, id));
      if (!map) return undefined;
      hold(number, map);
      return { map, release: () => undefined };
    },
    current(number) {
      const [map, ...others] = held.get(number)?.values() ?? [];
      return others.length === 0 ? map : undefined;
    },
    add(number, map) {
      hold(number, map);
      // Without a pin it takes effect too, and is pinned later: see pin().
      succeeds(() => pinOne(number, map));
    },
    keep,
    sweep() {
      const pins = directory === undefined ? [] : listDirectory(directory).filter(isPinName);
      return (inForce) => {
        const kept = new Set([...inForce].map(([number, id]) => pinName(number, id)));
        for (const number of held.keys()) keep(number, inForce.get(number));
        for (const name of pins) if (!kept.has(name)) unpin(name);
      };
    },
    pin: () =>
      [...held].flatMap(([number, maps]) => [...maps.values()].filter((map) => pinOne(number, map))).length,
    close() {
      for (const maps of held.values()) for (const map of maps.values()) map.close();
      held.clear();
    },
  };
}

function openInner(directory: string, number: number, id: number): BpfMap | undefined {
  const map = openPin("map", join(directory, pinName(number, id)));
  if (map === undefined || map.info.id === id) return map;
  // Another process has pinned another map at this path.
  map.close();
  return undefined;
}
