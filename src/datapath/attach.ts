// Attaching the programs to endpoints' interfaces: tcx links where the kernel has them, else filters of clsact.

import { mkdirSync, rmSync } from "node:fs";
import { BpfLink, findClsact, hasTcx } from "bpf-ts";
import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { codeOf } from "../base/errors.ts";
import type { Datapath } from "./object.ts";
import { linkPath, linksDirectory, pinnedLinks } from "./pins.ts";

export type Hook = "tcx" | "clsact";

/** Our filters' own address in a clsact qdisc; "weir" in hexadecimal letters as far as it goes. */
export const CLSACT_HANDLE = 0x7e1;
/** Early, since a filter before ours that accepts a packet would keep it from us. */
export const CLSACT_PRIORITY = 1;

/** The hook of an endpoint's interface: traffic to the pod leaves the node there. */
const HOOK_OF: { readonly [direction in Direction]: Direction } = { ingress: "egress", egress: "ingress" };

/** Which hook this kernel has. Asked once at start. */
export const hookOf = (): Hook => (hasTcx() ? "tcx" : "clsact");

/** The device went away: nothing is left to attach to or to detach from. */
const isGone = (error: unknown): boolean => ["ENODEV", "ENOLINK", "ENOENT"].includes(codeOf(error) ?? "");

/**
 * Makes sure that both programs hang on an interface, and that they are this build's. Level-triggered: what is right is
 * left alone, an older program is replaced in one step. Errors: BpfError; ENODEV where the interface has gone.
 */
export async function attach(datapath: Datapath, ifindex: number, hook: Hook): Promise<void> {
  for (const direction of DIRECTIONS) {
    if (hook === "tcx") await attachTcx(datapath, ifindex, direction);
    else await attachClsact(datapath, ifindex, direction);
  }
}

async function attachTcx(datapath: Datapath, ifindex: number, direction: Direction): Promise<void> {
  const program = datapath.programs[direction];
  const path = linkPath(datapath.root, ifindex, direction);
  const pinned = openLink(path);
  if (pinned !== undefined) {
    using link = pinned;
    const { ifindex: at, programId } = link.info;
    if (at === ifindex) {
      if (programId !== program.info.id) await link.update(program);
      return;
    }
    // The interface went and its index came back: the pinned link hangs in the air.
    rmSync(path, { force: true });
  }
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

/** Takes both programs off an interface; an interface that has gone is no error. */
export async function detach(root: string, ifindex: number): Promise<void> {
  for (const direction of DIRECTIONS) {
    await detachTcx(linkPath(root, ifindex, direction));
    await detachClsact(ifindex, direction);
  }
}

export async function detachTcx(path: string): Promise<void> {
  const pinned = openLink(path);
  if (pinned !== undefined) {
    using link = pinned;
    await link.detach().catch((error: unknown) => {
      if (!isGone(error)) throw error;
    });
  }
  rmSync(path, { force: true });
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

function openLink(path: string): BpfLink | undefined {
  try {
    return BpfLink.openPinned(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Interfaces on which an earlier agent left tcx links, whether they still exist or not. */
export function attachedInterfaces(root: string): number[] {
  return [...new Set(pinnedLinks(root).map(({ ifindex }) => ifindex))].sort((a, b) => a - b);
}
