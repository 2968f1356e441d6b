// The hooks of interfaces: tcx links or filters of clsact, what is attached there, and detaching it.

import { BpfLink, deviceName, findClsact, hasTcx, removeEmptyClsact } from "bpf-ts";
import type { Direction } from "../base/direction.ts";
import { codeOf } from "../base/errors.ts";
import { openPin, remove } from "./bpffs.ts";
import {
  ENDPOINT_PLACES,
  type LinkPlace,
  linkPath,
  markedQdiscs,
  markQdisc,
  pinnedLinks,
  unmarkQdisc,
} from "./pins.ts";
import type { Datapath } from "./program-loader.ts";

export type Hook = "tcx" | "clsact";

/** Our filters' own handle in a clsact qdisc; "weir" in hexadecimal letters as far as possible. */
export const CLSACT_HANDLE = 0x7e1;
/** Early, since a filter before ours that accepts a packet would hide it from ours. */
export const CLSACT_PRIORITY = 1;

/** The hook of an endpoint's interface: traffic to the pod leaves the node there. */
export const HOOK_OF: { readonly [direction in Direction]: Direction } = {
  ingress: "egress",
  egress: "ingress",
};

/** The kind of hook on this kernel. Determined once at start. */
export const hookOf = (): Hook => (hasTcx() ? "tcx" : "clsact");

/** Where an interface's programs are attached, by the direction of the pod's traffic. */
export interface Attached {
  readonly ingress: Hook;
  readonly egress: Hook | "xdp";
  /** Why the interface refuses an XDP program, with --from-pod-hook xdp. */
  readonly refused?: string;
}

/** Attaches a filter instead of a link. Returns whether there was none with this program. Errors: BpfError. */
export async function attachClsact(
  datapath: Datapath,
  ifindex: number,
  direction: Direction,
): Promise<boolean> {
  const program = datapath.programs[direction];
  const place = { ifindex, direction: HOOK_OF[direction], handle: CLSACT_HANDLE, priority: CLSACT_PRIORITY };
  const found = findClsact(ifindex, place.direction, place.handle, place.priority);
  if (found?.programId === program.info.id) return false;
  if (found === undefined) {
    using made = await BpfLink.attach(program, { kind: "clsact", ...place });
    if (made.madeQdisc) markQdisc(datapath.root, ifindex);
    return true;
  }
  using link = BpfLink.openClsact(place);
  await link.update(program);
  return true;
}

/** Removes our filter. Returns whether there was one. The qdisc stays: see `removeQdisc`. Errors: BpfError. */
export async function detachClsact(ifindex: number, direction: Direction): Promise<boolean> {
  const place = { ifindex, direction: HOOK_OF[direction], handle: CLSACT_HANDLE, priority: CLSACT_PRIORITY };
  if (findClsact(ifindex, place.direction, place.handle, place.priority) === undefined) return false;
  using link = BpfLink.openClsact(place);
  await link.detach().catch((error: unknown) => {
    if (!isGone(error)) throw error;
  });
  return true;
}

/**
 * Removes the interface's clsact qdisc if a filter of ours has created it and it has no filters. One that was there before is
 * somebody else's, who may be about to use it. Errors: BpfError, OperationError.
 */
export async function removeQdisc(root: string, ifindex: number): Promise<void> {
  if (!markedQdiscs(root).includes(ifindex)) return;
  await removeEmptyClsact(ifindex);
  unmarkQdisc(root, ifindex);
}

/** Forgets qdiscs that have gone with their interfaces. Errors: OperationError. */
export function forgetQdiscs(root: string, interfaces: readonly number[] = markedQdiscs(root)): void {
  for (const ifindex of interfaces) if (deviceName(ifindex) === undefined) unmarkQdisc(root, ifindex);
}

/** The id of the program attached to an interface for a direction of the pod's traffic; undefined if there is none. */
export function attachedProgram(
  root: string,
  ifindex: number,
  direction: Direction,
): { readonly place: LinkPlace; readonly id: number } | undefined {
  // XDP comes first in a packet's path, but while it is being attached the other one exists as well.
  const places: readonly LinkPlace[] = direction === "egress" ? ["egress-xdp", "egress"] : [direction];
  for (const place of places) {
    const id = linkedProgram(linkPath(root, ifindex, place), ifindex);
    if (id !== undefined) return { place, id };
  }
  const filter = findClsact(ifindex, HOOK_OF[direction], CLSACT_HANDLE, CLSACT_PRIORITY);
  return filter === undefined ? undefined : { place: direction, id: filter.programId };
}

const isEndpointPlace = (place: string): boolean => (ENDPOINT_PLACES as readonly string[]).includes(place);

/** Interfaces of endpoints on which an earlier agent left links, whether they still exist or not. */
export function attachedInterfaces(root: string): number[] {
  const links = pinnedLinks(root).filter(({ place }) => isEndpointPlace(place));
  return [...new Set(links.map(({ ifindex }) => ifindex))].sort((a, b) => a - b);
}

// Links by their pins: the programs they run, and detaching them.

/** The device is gone: there is nothing to attach to or detach from. */
export const isGone = (error: unknown): boolean =>
  ["ENODEV", "ENOLINK", "ENOENT"].includes(codeOf(error) ?? "");

/** Id of the program that a pinned link has on an interface; undefined if there is no such link, or it is detached. */
export function linkedProgram(path: string, ifindex: number): number | undefined {
  using link = openPin("link", path);
  const info = link?.info;
  return info?.ifindex === ifindex ? info.programId : undefined;
}

/** Detaches a pinned link, and removes its pin. Idempotent. Errors: BpfError, OperationError. */
export async function detachLink(path: string): Promise<void> {
  using link = openPin("link", path);
  await link?.detach().catch((error: unknown) => {
    if (!isGone(error)) throw error;
  });
  remove(path);
}
