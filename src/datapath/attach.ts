// Attaching the programs to endpoints' interfaces: tcx links where the kernel has them, else filters of clsact.

import { mkdirSync } from "node:fs";
import { BpfLink, type BpfProgram, findClsact, hasTcx } from "bpf-ts";
import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { attachXdp, detachLink, isGone, linkedProgram, takenUp } from "./links.ts";
import type { Datapath } from "./object.ts";
import { ENDPOINT_PLACES, type LinkPlace, linkPath, linksDirectory, pinnedLinks } from "./pins.ts";

export type Hook = "tcx" | "clsact";

/** Our filters' own address in a clsact qdisc; "weir" in hexadecimal letters as far as it goes. */
export const CLSACT_HANDLE = 0x7e1;
/** Early, since a filter before ours that accepts a packet would keep it from us. */
export const CLSACT_PRIORITY = 1;

/** The hook of an endpoint's interface: traffic to the pod leaves the node there. */
const HOOK_OF: { readonly [direction in Direction]: Direction } = { ingress: "egress", egress: "ingress" };

/** Which hook this kernel has. Asked once at start. */
export const hookOf = (): Hook => (hasTcx() ? "tcx" : "clsact");

/** Where an interface's programs hang, by the direction of the pod's traffic. */
export interface Attached {
  readonly ingress: Hook;
  readonly egress: Hook | "xdp";
  /** Why the interface takes no XDP program, where one was wanted. */
  readonly refused?: string;
}

/**
 * Makes sure that both programs hang on an interface, and that they are this build's: with `xdp`, that program filters
 * what the pod sends, unless the interface refuses it. Level-triggered: what is right is left alone, an older program is
 * replaced in one step, and a hook is left only when the other one is taken (for a moment both see a packet, which is
 * then counted twice). Errors: BpfError; ENODEV where the interface has gone.
 */
export async function attach(
  datapath: Datapath,
  ifindex: number,
  hook: Hook,
  xdp?: BpfProgram,
): Promise<Attached> {
  await attachTc(datapath, ifindex, "ingress", hook);
  const { root } = datapath;
  const refused = xdp === undefined ? undefined : await attachXdp({ root, ifindex }, "egress-xdp", xdp);
  if (xdp !== undefined && refused === undefined) {
    if (hook === "tcx") await detachLink(linkPath(root, ifindex, "egress"));
    else await detachClsact(ifindex, "egress");
    return { ingress: hook, egress: "xdp" };
  }
  await attachTc(datapath, ifindex, "egress", hook);
  await detachLink(linkPath(root, ifindex, "egress-xdp"));
  return { ingress: hook, egress: hook, ...(refused === undefined ? {} : { refused }) };
}

/**
 * Has both programs at work on an interface sooner than `attach`: a tcx link waits for a grace period of the kernel's while it is
 * made, some milliseconds for each direction, a filter of clsact does not. Such filters stand in until the links are there.
 * Errors: as attach.
 */
export async function standIn(datapath: Datapath, ifindex: number): Promise<void> {
  if (attachedProgram(datapath.root, ifindex, "egress") !== undefined) return;
  for (const direction of DIRECTIONS) await attachClsact(datapath, ifindex, direction);
}

/** Takes away what stood in, where links have taken its place. */
export async function standDown(ifindex: number, hook: Hook): Promise<void> {
  if (hook === "tcx") for (const direction of DIRECTIONS) await detachClsact(ifindex, direction);
}

async function attachTc(
  datapath: Datapath,
  ifindex: number,
  direction: Direction,
  hook: Hook,
): Promise<void> {
  if (hook === "tcx") await attachTcx(datapath, ifindex, direction);
  else await attachClsact(datapath, ifindex, direction);
}

async function attachTcx(datapath: Datapath, ifindex: number, direction: Direction): Promise<void> {
  const program = datapath.programs[direction];
  const path = linkPath(datapath.root, ifindex, direction);
  if (await takenUp(path, ifindex, program)) return;
  mkdirSync(linksDirectory(datapath.root), { recursive: true, mode: 0o700 });
  using link = await BpfLink.attach(program, {
    kind: "tcx",
    ifindex,
    direction: HOOK_OF[direction],
    position: "first",
  });
  link.pin(path);
}

async function attachClsact(datapath: Datapath, ifindex: number, direction: Direction): Promise<void> {
  const program = datapath.programs[direction];
  const place = { ifindex, direction: HOOK_OF[direction], handle: CLSACT_HANDLE, priority: CLSACT_PRIORITY };
  const found = findClsact(ifindex, place.direction, place.handle, place.priority);
  if (found?.programId === program.info.id) return;
  if (found === undefined) {
    (await BpfLink.attach(program, { kind: "clsact", ...place })).close();
    return;
  }
  using link = BpfLink.openClsact(place);
  await link.update(program);
}

/** Takes all programs off an interface; an interface that has gone is no error. */
export async function detach(root: string, ifindex: number): Promise<void> {
  for (const place of ENDPOINT_PLACES) await detachLink(linkPath(root, ifindex, place));
  for (const direction of DIRECTIONS) await detachClsact(ifindex, direction);
}

export async function detachClsact(ifindex: number, direction: Direction): Promise<boolean> {
  const place = { ifindex, direction: HOOK_OF[direction], handle: CLSACT_HANDLE, priority: CLSACT_PRIORITY };
  if (findClsact(ifindex, place.direction, place.handle, place.priority) === undefined) return false;
  using link = BpfLink.openClsact({ ...place, removeQdisc: true });
  await link.detach().catch((error: unknown) => {
    if (!isGone(error)) throw error;
  });
  return true;
}

/** Which program hangs on an interface for a direction of the pod's traffic, by id; undefined where none does. */
export function attachedProgram(
  root: string,
  ifindex: number,
  direction: Direction,
): { readonly place: LinkPlace; readonly id: number } | undefined {
  // XDP comes first on the way of a packet, but for a moment of its making the other one is there as well.
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
