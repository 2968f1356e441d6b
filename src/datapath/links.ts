// Links that are pinned, tcx and XDP alike: taking them up, making and ending them.

import { mkdirSync, rmSync } from "node:fs";
import { BpfLink, type BpfProgram } from "bpf-ts";
import { codeOf, messageOf } from "../base/errors.ts";
import { linkPath, linksDirectory, type UplinkPlace } from "./pins.ts";

/** The device went away: nothing is left to attach to or to detach from. */
export const isGone = (error: unknown): boolean =>
  ["ENODEV", "ENOLINK", "ENOENT"].includes(codeOf(error) ?? "");

/** Whether the link pinned at a path hangs on the interface; it then runs this program. Removes the pin of one that does not. */
export async function takenUp(path: string, ifindex: number, program: BpfProgram): Promise<boolean> {
  const pinned = openLink(path);
  if (pinned === undefined) return false;
  using link = pinned;
  const { ifindex: at, programId } = link.info;
  if (at === ifindex) {
    if (programId !== program.info.id) await link.update(program);
    return true;
  }
  // The interface went and its index came back: the pinned link hangs in the air.
  rmSync(path, { force: true });
  return false;
}

/** Why an interface takes no native XDP program, where the kernel's number alone does not tell. */
const REFUSALS: Readonly<Record<string, string>> = {
  EBUSY: "another XDP program is on it",
  EEXIST: "another XDP program is on it",
  EOPNOTSUPP: "its driver has no native XDP",
  ENOSPC: "its peer has more transmit queues than it has receive queues",
};

/**
 * Makes sure that a program hangs on an interface by XDP. Returns why the interface refuses it, undefined where it
 * hangs there. Errors: BpfError ENODEV where the interface has gone.
 */
export async function attachXdp(
  { root, ifindex }: { readonly root: string; readonly ifindex: number },
  place: "egress-xdp" | UplinkPlace,
  program: BpfProgram,
): Promise<string | undefined> {
  const path = linkPath(root, ifindex, place);
  const mode = place === "uplink-generic" ? "generic" : "native";
  if (await takenUp(path, ifindex, program)) return undefined;
  mkdirSync(linksDirectory(root), { recursive: true, mode: 0o700 });
  try {
    using link = await BpfLink.attach(program, { kind: "xdp", ifindex, mode });
    link.pin(path);
    return undefined;
  } catch (error) {
    if (isGone(error)) throw error;
    return REFUSALS[codeOf(error) ?? ""] ?? messageOf(error);
  }
}

/** Id of the program that a pinned link has on an interface; undefined where there is no such link, or it hangs in the air. */
export function linkedProgram(path: string, ifindex: number): number | undefined {
  using link = openLink(path);
  const info = link?.info;
  return info?.ifindex === ifindex ? info.programId : undefined;
}

/** Takes a pinned link off its interface, and the pin away; where there is none, nothing happens. */
export async function detachLink(path: string): Promise<void> {
  const pinned = openLink(path);
  if (pinned !== undefined) {
    using link = pinned;
    await link.detach().catch((error: unknown) => {
      if (!isGone(error)) throw error;
    });
  }
  rmSync(path, { force: true });
}

function openLink(path: string): BpfLink | undefined {
  try {
    return BpfLink.openPinned(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
