// The programs on the node's interfaces, from the kernel and the pins: for commands, with or without a running agent.
//
// Programs are compared by id with the pinned ones: the kernel opens the others for CAP_SYS_ADMIN only.

import { join } from "node:path";
import { attachedPrograms, findClsact, hasTcx, type Hook as Place } from "bpf-ts";
import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { messageOf } from "../base/errors.ts";
import { listDirectory, openPin } from "./bpffs.ts";
import { CLSACT_HANDLE, CLSACT_PRIORITY, HOOK_OF } from "./hooks.ts";
import { pinnedDigests, pinnedLinks } from "./pins.ts";

/** A program that is attached to an interface. */
export interface AttachedProgram {
  readonly ifindex: number;
  /** Seen from the pod behind the interface; XDP sees the packets that the pod sends. */
  readonly direction: Direction;
  readonly hook: "tcx" | "clsact" | "xdp";
  readonly id: number;
  /** Whether it is Weir's: pinned, run by a pinned link, or at the place of Weir's filters. Unknown for others. */
  readonly ours: boolean;
}

export interface PinnedObject {
  readonly path: string;
  readonly id?: number;
  readonly name?: string;
  /** For a link: its interface, 0 if it is detached, and its program. */
  readonly ifindex?: number;
  readonly programId?: number;
  /** Why it cannot be opened. */
  readonly error?: string;
}

export interface Survey {
  readonly programs: readonly PinnedObject[];
  readonly links: readonly PinnedObject[];
  /** In the order in which they see packets. */
  readonly attached: readonly AttachedProgram[];
}

/** Queries these interfaces. Errors: BpfError EPERM without CAP_NET_ADMIN. */
export async function survey(root: string, interfaces: Iterable<number>): Promise<Survey> {
  const programs = pinnedDigests(root).flatMap((digest) => {
    const directory = join(root, digest, "programs");
    return listDirectory(directory).map((name) => describe(join(directory, name), "program"));
  });
  const links = pinnedLinks(root).map(({ path }) => describe(path, "link"));
  const known = new Set([...programs.map(({ id }) => id), ...links.map(({ programId }) => programId)]);
  const places = [...interfaces].flatMap((ifindex) => placesOf(ifindex));
  const found = await attachedPrograms(places.map(({ at }) => at));
  const attached = places.flatMap(({ at, direction }, index) =>
    (found[index] ?? []).map((id): AttachedProgram => {
      const { ifindex, kind: hook } = at;
      const ours = known.has(id) || (hook === "clsact" && isAtOurPlace(ifindex, direction, id));
      return { ifindex, direction, hook, id, ours };
    }),
  );
  return { programs, links, attached };
}

function placesOf(ifindex: number): { readonly at: Place; readonly direction: Direction }[] {
  const hooks = hasTcx() ? (["tcx", "clsact"] as const) : (["clsact"] as const);
  return [
    { at: { kind: "xdp", ifindex }, direction: "egress" },
    ...hooks.flatMap((kind) =>
      DIRECTIONS.map((direction) => ({
        at: { kind, ifindex, direction: HOOK_OF[direction] },
        direction,
      })),
    ),
  ];
}

const isAtOurPlace = (ifindex: number, direction: Direction, id: number): boolean =>
  findClsact(ifindex, HOOK_OF[direction], CLSACT_HANDLE, CLSACT_PRIORITY)?.programId === id;

function describe(path: string, kind: "program" | "link"): PinnedObject {
  try {
    if (kind === "program") {
      using program = openPin("program", path);
      return program === undefined ? { path } : { path, id: program.info.id, name: program.info.name };
    }
    using link = openPin("link", path);
    const info = link?.info;
    return info === undefined
      ? { path }
      : { path, id: info.id, ifindex: info.ifindex, programId: info.programId };
  } catch (error) {
    return { path, error: messageOf(error) };
  }
}
