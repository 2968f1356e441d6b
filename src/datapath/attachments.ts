// The programs on interfaces: where they must be attached, the links that hold them, and the actual state in the kernel.
//
// Links are pinned, so that they outlive the agent, and held open, so that they outlive their pins (rm, umount -l).

import { attachedPrograms, BpfLink, type BpfProgram, type Hook as Place } from "bpf-ts";
import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { codeOf, messageOf, succeeds } from "../base/errors.ts";
import { ensurePinned, openPin, remove } from "./bpffs.ts";
import {
  type Attached,
  attachClsact,
  attachedInterfaces,
  attachedProgram,
  detachClsact,
  forgetQdiscs,
  HOOK_OF,
  type Hook,
  hookOf,
  isGone,
  removeQdisc,
} from "./hooks.ts";
import { removeOneSidedFlows } from "./one-sided-flows.ts";
import { ENDPOINT_PLACES, linkPath, type PinnedPlace, pinnedLinks, UPLINK_PLACES } from "./pins.ts";
import type { Datapath } from "./program-loader.ts";

/** What is wrong at one hook of an interface. */
export type Fault = {
  readonly ifindex: number;
  /** "uplink": the program that screens packets from outside. */
  readonly place: Direction | "uplink";
  readonly hook: Hook | "xdp";
} & (
  | { readonly kind: "detached" }
  /** Programs that run first, and may let packets bypass ours. 0 is a filter that is not BPF. */
  | { readonly kind: "preceded"; readonly programs: readonly number[] }
);

export type XdpMode = "native" | "generic";

/** How the program is attached to an uplink, or why it is not. */
export type UplinkAttachment =
  | { readonly ok: true; readonly mode: XdpMode }
  | { readonly ok: false; readonly refused: string };

export interface Attachments {
  readonly hook: Hook;
  /**
   * Makes sure that both programs are attached to an endpoint's interface, and that they are this build's. Level-triggered:
   * what is right stays, an older program is replaced in one step, and a hook is left only after the other one is
   * attached (for a moment both see a packet, which is then counted twice). Errors: BpfError; ENODEV if the interface is gone.
   */
  attach(ifindex: number): Promise<Attached>;
  /**
   * Like attach, and for an interface without programs faster: filters make both active (see addFilters), and links replace them later, one
   * interface after the other. `onLate` gets the error if that fails; the filters stay then. Errors: as attach.
   */
  attachFirst(ifindex: number, onLate: (error: unknown) => void): Promise<Attached>;
  /** Resolves when no interface waits for its links. */
  linked(): Promise<void>;
  /** Like attach, but faster: see addFilters(). Calls `onFiltered` when both programs are active. Errors: as attach. */
  attachSoon(ifindex: number, onFiltered: () => void): Promise<void>;
  /** Removes all programs from an endpoint's interface; a missing interface is not an error. Errors: BpfError. */
  detach(ifindex: number): Promise<void>;
  /** Interfaces of endpoints that have links, whether they still exist or not. */
  interfaces(): readonly number[];
  /** Those to which this agent has attached programs. */
  ownInterfaces(): readonly number[];
  /** Like attach, for an uplink: native XDP if the driver supports it, else generic. Errors: BpfError ENODEV. */
  attachUplink(ifindex: number): Promise<UplinkAttachment>;
  /** Removes the program from all uplinks except these. Errors: BpfError. */
  detachOtherUplinks(wanted: ReadonlySet<number>): Promise<void>;
  /** Queries what is attached at each required hook; interfaces that are gone are not reported. */
  examine(): Promise<readonly Fault[]>;
  /** Attaches what is missing on an interface. Returns what was missing; empty if nothing is missing any more. Errors: BpfError. */
  repair(ifindex: number): Promise<readonly Fault[]>;
  /** Removes the flows that are wrong since a program of attach() or repair() was missing: see one-sided-flows.ts. Errors: BpfError, OperationError. */
  closeGaps(): Promise<void>;
  /** Called with what attach() found externally detached, and has attached again. */
  onRestored(listener: (faults: readonly Fault[]) => void): void;
  /** Creates missing pins of links. Returns their number. Errors: OperationError, BpfError. */
  pin(): number;
  /** Whether a link that was created since could not be pinned. */
  hasUnpinned(): boolean;
  /** Closes the links; links that are not pinned are thus detached. Idempotent. */
  close(): void;
}

export interface AttachmentPrograms {
  /** Filters packets from pods by XDP, if the interface supports it. */
  readonly fromPodXdp?: BpfProgram;
  /** Screens uplinks. */
  readonly fromUplink?: BpfProgram;
}

/** One program and its hook. */
interface Wanted {
  readonly place: Fault["place"];
  readonly at: Place;
  readonly programId: number;
}

export function openAttachments(
  datapath: Datapath,
  programs: AttachmentPrograms = {},
  hook: Hook = hookOf(),
): Attachments {
  const { root } = datapath;
  forgetQdiscs(root);
  const links = openLinks(root);
  const inTurn = openTurns();
  let restored: (faults: readonly Fault[]) => void = () => undefined;
  const endpoints = new Map<number, Attached>();
  const uplinks = new Set<number>();
  /** Interfaces whose filters links are still to replace. */
  const unlinked = new Set<number>();
  let linking: Promise<void> = Promise.resolve();
  /** Those, and interfaces whose links could not be created: only filters are attached there. */
  const onlyFiltered = new Set<number>();
  /** What was missing on interfaces that are attached again, whose one-sided flows are still there. */
  let gaps = new Map<number, ReadonlySet<Direction>>();

  /** Returns whether something that this agent had attached was missing. */
  const attachTc = (ifindex: number, direction: Direction): Promise<boolean> =>
    hook === "tcx"
      ? links.ensure(ifindex, direction, datapath.programs[direction], () =>
          BpfLink.attach(datapath.programs[direction], {
            kind: "tcx",
            ifindex,
            direction: HOOK_OF[direction],
            position: "first",
          }),
        )
      : attachClsact(datapath, ifindex, direction);

  /** Like attach(). If part of an endpoint that was attached before is missing, it was detached externally. */
  async function attachAgain(ifindex: number): Promise<Attached> {
    const before = endpoints.get(ifindex);
    const bare = before === undefined ? bareDirections(ifindex) : [];
    const { attached, missing } = await attachNow(ifindex);
    const lost = missing.filter((place) => before?.[place] === attached[place]);
    // One alone was detached while no agent ran; both are missing on a new interface.
    noteGap(ifindex, bare.length === 1 ? bare : lost);
    if (lost.length > 0)
      restored(lost.map((place): Fault => ({ ifindex, place, hook: attached[place], kind: "detached" })));
    return attached;
  }

  const noteGap = (ifindex: number, missing: readonly Direction[]): void => {
    if (missing.length > 0) gaps.set(ifindex, new Set([...(gaps.get(ifindex) ?? []), ...missing]));
  };

  const bareDirections = (ifindex: number): readonly Direction[] =>
    DIRECTIONS.filter((direction) => attachedProgram(root, ifindex, direction) === undefined);

  /** Why the interface refuses the program; undefined if it is attached. Errors: BpfError ENODEV. */
  async function attachXdp(
    ifindex: number,
    place: Exclude<PinnedPlace, Direction>,
    program: BpfProgram,
  ): Promise<{ readonly refused?: string; readonly wasMissing?: boolean }> {
    const mode = place === "uplink-generic" ? "generic" : "native";
    try {
      const attach = () => BpfLink.attach(program, { kind: "xdp", ifindex, mode });
      return { wasMissing: await links.ensure(ifindex, place, program, attach) };
    } catch (error) {
      if (isGone(error)) throw error;
      return { refused: REFUSALS[codeOf(error) ?? ""] ?? messageOf(error) };
    }
  }

  async function attachNow(
    ifindex: number,
  ): Promise<{ readonly attached: Attached; readonly missing: readonly Direction[] }> {
    const { fromPodXdp } = programs;
    const missing: Direction[] = [];
    if (await attachTc(ifindex, "ingress")) missing.push("ingress");
    const xdp = fromPodXdp && (await attachXdp(ifindex, "egress-xdp", fromPodXdp));
    const isXdp = xdp !== undefined && xdp.refused === undefined;
    if (isXdp) {
      if (xdp.wasMissing === true) missing.push("egress");
      if (hook === "tcx") await links.end(ifindex, "egress");
      else await detachClsact(ifindex, "egress");
    } else {
      if (await attachTc(ifindex, "egress")) missing.push("egress");
      await links.end(ifindex, "egress-xdp");
    }
    // Left by a process that ended before its links replaced such filters.
    if (hook === "tcx" && !endpoints.has(ifindex)) await removeFilters(ifindex);
    const attached: Attached = {
      ingress: hook,
      egress: isXdp ? "xdp" : hook,
      ...(xdp?.refused === undefined ? {} : { refused: xdp.refused }),
    };
    endpoints.set(ifindex, attached);
    return { attached, missing };
  }

  /**
   * Creating a tcx link waits for an RCU grace period, some milliseconds for each direction; a filter of
   * clsact does not. So such filters bridge the time until the links exist.
   */
  async function addFilters(ifindex: number): Promise<void> {
    if (links.has(ifindex, "ingress") || links.has(ifindex, "egress-xdp")) return;
    for (const direction of DIRECTIONS) await attachClsact(datapath, ifindex, direction);
    // An ingress qdisc of others has one list for both directions: the second filter has replaced the first.
    for (const direction of DIRECTIONS)
      if (await attachClsact(datapath, ifindex, direction))
        throw new Error("one list of filters for both directions");
  }

  /** A kernel without clsact has no such filters. */
  const isFiltered = (ifindex: number): Promise<boolean> =>
    addFilters(ifindex).then(
      () => true,
      () => false,
    );

  async function link(ifindex: number, onLate: (error: unknown) => void): Promise<void> {
    try {
      if (unlinked.has(ifindex)) {
        await attachNow(ifindex);
        onlyFiltered.delete(ifindex);
      }
    } catch (error) {
      onLate(error);
    } finally {
      unlinked.delete(ifindex);
    }
  }

  const ownInterfaces = (): number[] => [...new Set([...endpoints.keys(), ...onlyFiltered])];

  /**
   * Their qdisc stays: while the kernel removes one, packets to the pod are lost, and its connections are open by now. Empty
   * it costs nothing, and goes with the interface, or with `weir cleanup`.
   */
  async function removeFilters(ifindex: number): Promise<void> {
    for (const direction of DIRECTIONS) await detachClsact(ifindex, direction);
  }

  const wantedAt = (ifindex: number): readonly Wanted[] => [
    ...endpointPlaces(ifindex, endpoints.get(ifindex)),
    ...(uplinks.has(ifindex) && programs.fromUplink !== undefined
      ? [{ place: "uplink", at: { kind: "xdp", ifindex }, programId: idOf(programs.fromUplink) } as const]
      : []),
  ];

  function endpointPlaces(ifindex: number, attached: Attached | undefined): Wanted[] {
    if (attached === undefined) return [];
    return DIRECTIONS.map((direction): Wanted => {
      const kind = attached[direction];
      if (kind === "xdp" && programs.fromPodXdp !== undefined)
        return { place: direction, at: { kind: "xdp", ifindex }, programId: idOf(programs.fromPodXdp) };
      const at = {
        kind: kind === "clsact" ? "clsact" : "tcx",
        ifindex,
        direction: HOOK_OF[direction],
      } as const;
      return { place: direction, at, programId: idOf(datapath.programs[direction]) };
    });
  }

  async function faultsAt(interfaces: Iterable<number>): Promise<readonly Fault[]> {
    const wanted = [...interfaces].flatMap(wantedAt);
    const found = await attachedPrograms(wanted.map(({ at }) => at));
    return wanted.flatMap(({ place, at, programId }, index): Fault[] => {
      const ids = found[index];
      if (ids === undefined) return [];
      const first = ids.indexOf(programId);
      const where = { ifindex: at.ifindex, place, hook: at.kind };
      if (first < 0) return [{ ...where, kind: "detached" }];
      return first === 0 ? [] : [{ ...where, kind: "preceded", programs: ids.slice(0, first) }];
    });
  }

  const generic = async (ifindex: number, program: BpfProgram): Promise<UplinkAttachment> => {
    const { refused } = await attachXdp(ifindex, "uplink-generic", program);
    return refused === undefined ? { ok: true, mode: "generic" } : { ok: false, refused };
  };

  async function attachUplinkNow(ifindex: number): Promise<UplinkAttachment> {
    const { fromUplink } = programs;
    if (fromUplink === undefined) throw new Error("assertion failed: no program for uplinks is loaded");
    if (links.has(ifindex, "uplink-generic")) {
      const attached = await generic(ifindex, fromUplink);
      if (attached.ok) return attached;
    }
    if ((await attachXdp(ifindex, "uplink", fromUplink)).refused === undefined)
      return { ok: true, mode: "native" };
    return generic(ifindex, fromUplink);
  }

  return {
    hook,
    attach: (ifindex) => inTurn(ifindex, () => attachAgain(ifindex)),
    attachFirst: (ifindex, onLate) =>
      inTurn(ifindex, async () => {
        const attached: Attached = { ingress: hook, egress: hook };
        // Unless the filters have gone, or belonged to a link that had this index before.
        if (unlinked.has(ifindex)) return (await isFiltered(ifindex)) ? attached : attachAgain(ifindex);
        const isBare = !endpoints.has(ifindex) && bareDirections(ifindex).length === DIRECTIONS.length;
        // Of XDP only attaching it shows whether the interface takes it.
        const isQuick = hook === "tcx" && programs.fromPodXdp === undefined && isBare;
        if (!isQuick || !(await isFiltered(ifindex))) return attachAgain(ifindex);
        unlinked.add(ifindex);
        onlyFiltered.add(ifindex);
        linking = linking.then(() => inTurn(ifindex, () => link(ifindex, onLate)));
        return attached;
      }),
    linked: () => linking,
    attachSoon: (ifindex, onFiltered) =>
      inTurn(ifindex, async () => {
        const filtered = await isFiltered(ifindex);
        if (filtered) onFiltered();
        await attachNow(ifindex);
        if (!filtered) onFiltered();
        else if (hook === "tcx") await removeFilters(ifindex);
      }),
    detach: (ifindex) =>
      inTurn(ifindex, async () => {
        endpoints.delete(ifindex);
        unlinked.delete(ifindex);
        onlyFiltered.delete(ifindex);
        for (const place of ENDPOINT_PLACES) await links.end(ifindex, place);
        const filtered: boolean[] = [];
        for (const direction of DIRECTIONS) filtered.push(await detachClsact(ifindex, direction));
        if (filtered.includes(true)) await removeQdisc(root, ifindex);
        else forgetQdiscs(root, [ifindex]);
      }),
    interfaces: () => [...new Set([...attachedInterfaces(root), ...ownInterfaces()])],
    ownInterfaces,
    attachUplink: (ifindex) =>
      inTurn(ifindex, async () => {
        const attached = await attachUplinkNow(ifindex);
        if (attached.ok) uplinks.add(ifindex);
        return attached;
      }),
    async detachOtherUplinks(wanted) {
      const screened = pinnedLinks(root).filter(({ place }) => UPLINK_PLACES.some((each) => each === place));
      for (const ifindex of new Set([...uplinks, ...screened.map((link) => link.ifindex)])) {
        if (wanted.has(ifindex)) continue;
        await inTurn(ifindex, async () => {
          uplinks.delete(ifindex);
          for (const place of UPLINK_PLACES) await links.end(ifindex, place);
        });
      }
    },
    examine: () => faultsAt(new Set([...endpoints.keys(), ...uplinks])),
    repair: (ifindex) =>
      inTurn(ifindex, async () => {
        // It may have been repaired, or detached permanently, since it was examined.
        const faults = (await faultsAt([ifindex])).filter(({ kind }) => kind === "detached");
        const lost = faults.flatMap(({ place }) => (place === "uplink" ? [] : [place]));
        if (lost.length > 0) await attachNow(ifindex);
        noteGap(ifindex, lost);
        if (faults.some(({ place }) => place === "uplink")) await attachUplinkNow(ifindex);
        return faults;
      }),
    async closeGaps() {
      if (gaps.size === 0) return;
      const closing = gaps;
      gaps = new Map();
      try {
        await removeOneSidedFlows(datapath, closing);
      } catch (error) {
        for (const [ifindex, missing] of closing) noteGap(ifindex, [...missing]);
        throw error;
      }
    },
    onRestored(listener) {
      restored = listener;
    },
    pin: () => links.pin(),
    hasUnpinned: () => links.hasUnpinned(),
    close() {
      unlinked.clear();
      links.close();
    },
  };
}

/** Why an interface refuses a native XDP program, as text for the kernel's error codes. */
const REFUSALS: Readonly<Record<string, string>> = {
  EBUSY: "another XDP program is on it",
  EEXIST: "another XDP program is on it",
  EOPNOTSUPP: "its driver has no native XDP",
  ENOSPC: "its peer has more transmit queues than it has receive queues",
};

/** A program's id never changes; reading it is a system call. */
const ids = new WeakMap<BpfProgram, number>();
function idOf(program: BpfProgram): number {
  const id = ids.get(program) ?? program.info.id;
  ids.set(program, id);
  return id;
}

interface Links {
  has(ifindex: number, place: PinnedPlace): boolean;
  /**
   * Makes sure that a link runs the program: the one that is held, or pinned, or one that `attach` creates. Returns whether an
   * earlier link had been detached or ran another program. Errors: BpfError.
   */
  ensure(
    ifindex: number,
    place: PinnedPlace,
    program: BpfProgram,
    attach: () => Promise<BpfLink>,
  ): Promise<boolean>;
  /** Detaches it, and removes its pin. Errors: BpfError. */
  end(ifindex: number, place: PinnedPlace): Promise<void>;
  pin(): number;
  hasUnpinned(): boolean;
  close(): void;
}

const isAtPlace = ({ kind, direction }: BpfLink["info"], place: PinnedPlace): boolean =>
  place === "ingress" || place === "egress" ? kind === "tcx" && direction === HOOK_OF[place] : kind === "xdp";

function openLinks(root: string): Links {
  const held = new Map<string, BpfLink>();
  /** Paths of links that could not be pinned. */
  const unpinned = new Set<string>();
  /** Paths of links that were found detached, and have not been replaced yet. */
  const lost = new Set<string>();
  const linkAt = (path: string): BpfLink | undefined => {
    const link = held.get(path);
    if (link !== undefined) return link;
    try {
      return openPin("link", path);
    } catch (error) {
      // On a filesystem that has become read-only no pin opens; a pin that this agent does not hold belongs to a former link.
      if (codeOf(error) === "EROFS") return undefined;
      throw error;
    }
  };
  const forget = (path: string, link: BpfLink): void => {
    link.close();
    held.delete(path);
    unpinned.delete(path);
    // If that fails, it is the pin of a detached link: harmless, and removed once its interface has no endpoint.
    succeeds(() => remove(path));
  };
  return {
    has: (ifindex, place) => held.get(linkPath(root, ifindex, place))?.info.ifindex === ifindex,
    async ensure(ifindex, place, program, attach) {
      const path = linkPath(root, ifindex, place);
      let link = linkAt(path);
      if (link !== undefined) {
        const { info } = link;
        // Detached externally, or its interface is gone and the index has been reused; or it is another link that was renamed to this path.
        const isThere = info.ifindex === ifindex && isAtPlace(info, place);
        if (!isThere || info.programId !== idOf(program)) lost.add(path);
        if (!isThere) {
          forget(path, link);
          link = undefined;
        } else if (lost.has(path)) await link.update(program);
      }
      const isNew = link === undefined;
      link ??= await attach();
      if (isNew || !held.has(path)) {
        held.set(path, link);
        // Without a pin it is attached too, and pinned later: see pin().
        const made = link;
        if (succeeds(() => ensurePinned("link", made, path))) unpinned.delete(path);
        else unpinned.add(path);
      }
      return lost.delete(path);
    },
    async end(ifindex, place) {
      const path = linkPath(root, ifindex, place);
      const link = linkAt(path);
      lost.delete(path);
      if (link === undefined) return;
      await link.detach().catch((error: unknown) => {
        if (!isGone(error)) throw error;
      });
      forget(path, link);
    },
    pin() {
      const missing = [...held].filter(([path, link]) => ensurePinned("link", link, path));
      unpinned.clear();
      return missing.length;
    },
    hasUnpinned: () => unpinned.size > 0,
    close() {
      for (const link of held.values()) link.close();
      held.clear();
    },
  };
}

type InTurn = <T>(ifindex: number, work: () => Promise<T>) => Promise<T>;

/** Serializes the operations on one interface. */
function openTurns(): InTurn {
  const last = new Map<number, Promise<unknown>>();
  return async (ifindex, work) => {
    const before = last.get(ifindex);
    const mine = Promise.resolve(before).then(work, work);
    last.set(ifindex, mine);
    try {
      return await mine;
    } finally {
      if (last.get(ifindex) === mine) last.delete(ifindex);
    }
  };
}
