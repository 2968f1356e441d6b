// Attaching programs to devices: tcx and XDP links, and filters of the clsact qdisc.

import { checkInteger } from "./check.ts";
import { AttachType, LinkType } from "./constants.ts";
import { check, errno, kernelError, ownError, type Site, unwrap } from "./error.ts";
import { Descriptor, openById, openPinned } from "./handle.ts";
import {
  type ClsactSpec,
  checkLinkSpec,
  type Direction,
  type LinkSpec,
  type TcxSpec,
  type XdpSpec,
} from "./link-spec.ts";
import { type Handle, type Logged, native } from "./native.ts";
import { type BpfProgram, programHandle } from "./program.ts";

export type LinkInfo = {
  /** 0 for clsact, which has no link in the kernel. */
  readonly id: number;
  /** "other" for links of types this package does not make. */
  readonly kind: "tcx" | "clsact" | "xdp" | "other";
  /** 0 where a clsact filter has gone. */
  readonly programId: number;
  /** 0 when the device has gone, or the link was detached. */
  readonly ifindex: number;
  /** XDP sees what the device receives: "ingress". */
  readonly direction: Direction;
};

// include/uapi/linux/if_link.h and the BPF_F_* of link creation.
const xdpModeFlag = { generic: 1 << 1, native: 1 << 2 } as const;
const tcxPositionFlag = { first: 1 << 3, last: 1 << 4 } as const;

/** What a link is in the kernel: a link object, or a filter that only has an address. */
type Body =
  | { readonly kind: "link"; readonly descriptor: Descriptor }
  | { readonly kind: "clsact"; readonly spec: ClsactSpec; closed: boolean; readonly madeQdisc?: boolean };

export class BpfLink {
  readonly #body: Body;

  private constructor(body: Body) {
    this.#body = body;
  }

  /** EEXIST where the place is taken, EBUSY where another XDP program sits on the device. */
  static async attach(program: BpfProgram, spec: LinkSpec): Promise<BpfLink> {
    const site = siteOf("attach", spec);
    checkLinkSpec(site, spec);
    const handle = programHandle(program, site, "attach");
    if (spec.kind === "clsact") {
      const made = await native.clsactAttach(handle, ...place(spec), false);
      mustSucceed(site, made);
      return new BpfLink({ kind: "clsact", spec, closed: false, madeQdisc: made.rc === 1 });
    }
    const made = await native.linkCreate(handle, spec.ifindex, attachTypeOf(spec), flagsOf(spec));
    return BpfLink.#wrap(unwrap(site, made), site);
  }

  /** Of tcx and XDP links. Throws ARGUMENT where something else than a link is pinned there. */
  static openPinned(path: string): BpfLink {
    return BpfLink.#wrap(openPinned("link", path), { operation: "link.openPinned", object: path });
  }

  static openById(id: number): BpfLink {
    return BpfLink.#wrap(openById("link", id), { operation: "link.openById", object: `id ${id}` });
  }

  /** Takes up a clsact filter that is there already; throws ENOENT where it is not. */
  static openClsact(spec: Omit<ClsactSpec, "kind">): BpfLink {
    const full: ClsactSpec = { ...spec, kind: "clsact" };
    const site = siteOf("openClsact", full);
    checkLinkSpec(site, full);
    if (findFilter(site, full) === undefined) throw kernelError(site, -errno.ENOENT);
    return new BpfLink({ kind: "clsact", spec: full, closed: false });
  }

  static #wrap(handle: Handle, site: Site): BpfLink {
    const { id } = unwrap(site, native.linkInfo(handle));
    return new BpfLink({ kind: "link", descriptor: new Descriptor("link", `id ${id}`, handle) });
  }

  /** Read from the kernel each time. */
  get info(): LinkInfo {
    const body = this.#use("info");
    if (body.kind === "clsact") return clsactInfo(this.#site("info"), body.spec);
    const raw = unwrap(this.#site("info"), native.linkInfo(body.descriptor.use("info")));
    const kind = raw.type === LinkType.TCX ? "tcx" : raw.type === LinkType.XDP ? "xdp" : "other";
    const direction = raw.attachType === AttachType.TCX_EGRESS ? "egress" : "ingress";
    return { id: raw.id, kind, programId: raw.programId, ifindex: raw.ifindex, direction };
  }

  /** Whether the device had no clsact qdisc before this filter was attached. */
  get madeQdisc(): boolean {
    return this.#body.kind === "clsact" && this.#body.madeQdisc === true;
  }

  get closed(): boolean {
    return this.#body.kind === "clsact" ? this.#body.closed : this.#body.descriptor.closed;
  }

  /** Replaces the program at one stroke: every packet meets the old one or the new one. */
  async update(program: BpfProgram): Promise<void> {
    const body = this.#use("update");
    const site = this.#site("update");
    const handle = programHandle(program, site, "update");
    if (body.kind === "clsact")
      mustSucceed(site, await native.clsactAttach(handle, ...place(body.spec), true));
    else check(site, await native.linkUpdate(body.descriptor.use("update"), handle));
  }

  /** Takes the program off the device, even where the link is pinned. ENOENT where a clsact filter is gone already. */
  async detach(): Promise<void> {
    const body = this.#use("detach");
    const site = this.#site("detach");
    if (body.kind === "clsact") {
      const { spec } = body;
      const { rc, log } = await native.clsactDetach(...place(spec), spec.removeQdisc ?? false);
      // EINVAL: there is not even a clsact qdisc.
      mustSucceed(site, rc === -errno.EINVAL ? { rc: -errno.ENOENT, log } : { rc, log });
    } else {
      check(site, await native.linkDetach(body.descriptor.use("detach")));
    }
  }

  /** Keeps a tcx or XDP link attached beyond this process. A clsact filter stays anyway: UNSUPPORTED. */
  pin(path: string): void {
    this.#pinnable("pin").pin(path);
  }

  /** Throws ARGUMENT where `path` holds another link. */
  unpin(path: string): void {
    const site = this.#site("unpin");
    this.#pinnable("unpin").unpin(path, (handle) => unwrap(site, native.linkInfo(handle)).id);
  }

  /** Idempotent. Closing a tcx or XDP link that is not pinned detaches it; a clsact filter stays. */
  close(): void {
    if (this.#body.kind === "clsact") this.#body.closed = true;
    else this.#body.descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #site(verb: string): Site {
    return this.#body.kind === "clsact" ? siteOf(verb, this.#body.spec) : this.#body.descriptor.site(verb);
  }

  #use(verb: string): Body {
    if (this.closed) throw ownError(this.#site(verb), "CLOSED", "the link has been closed");
    return this.#body;
  }

  #pinnable(verb: string): Descriptor {
    const body = this.#use(verb);
    if (body.kind === "link") return body.descriptor;
    throw ownError(
      this.#site(verb),
      "UNSUPPORTED",
      "a clsact filter cannot be pinned; it outlives the process anyway",
    );
  }
}

function siteOf(verb: string, spec: LinkSpec): Site {
  return { operation: `link.${verb}`, object: `${spec?.kind} on ifindex ${String(spec?.ifindex)}` };
}

function attachTypeOf(spec: TcxSpec | XdpSpec): number {
  if (spec.kind === "xdp") return AttachType.XDP;
  return spec.direction === "ingress" ? AttachType.TCX_INGRESS : AttachType.TCX_EGRESS;
}

function flagsOf(spec: TcxSpec | XdpSpec): number {
  if (spec.kind === "xdp") return xdpModeFlag[spec.mode];
  return spec.position === undefined ? 0 : tcxPositionFlag[spec.position];
}

function place(spec: ClsactSpec): [ifindex: number, egress: boolean, handle: number, priority: number] {
  return [spec.ifindex, spec.direction === "egress", spec.handle, spec.priority];
}

function mustSucceed(site: Site, { rc, log }: Logged): void {
  if (rc < 0) throw kernelError(site, rc, { log });
}

/** The filter's program id; undefined where there is no filter, no clsact qdisc, or no device. */
function findFilter(site: Site, spec: ClsactSpec): number | undefined {
  const rc = native.clsactFind(...place(spec));
  // EINVAL: the device has no clsact qdisc; the arguments themselves have been checked before.
  if (rc === -errno.ENOENT || rc === -errno.EINVAL || rc === -errno.ENODEV) return undefined;
  return check(site, rc);
}

function clsactInfo(site: Site, spec: ClsactSpec): LinkInfo {
  const programId = findFilter(site, spec) ?? 0;
  const gone = programId === 0 && deviceName(spec.ifindex) === undefined;
  return { id: 0, kind: "clsact", programId, ifindex: gone ? 0 : spec.ifindex, direction: spec.direction };
}

/** The name of a device of this network namespace; undefined if there is none with this index. */
export function deviceName(ifindex: number): string | undefined {
  const name = native.deviceName(ifindex);
  return typeof name === "string" ? name : undefined;
}

/** The program of the clsact filter with that address; undefined if there is no such filter. */
export function findClsact(
  ifindex: number,
  direction: Direction,
  handle: number,
  priority: number,
): { programId: number } | undefined {
  const spec: ClsactSpec = { kind: "clsact", ifindex, direction, handle, priority };
  const site = siteOf("findClsact", spec);
  checkLinkSpec(site, spec);
  const programId = findFilter(site, spec);
  return programId === undefined ? undefined : { programId };
}

/**
 * Removes the device's clsact qdisc if it has no filters; false if it has some, or there is no such qdisc. While the kernel adds or
 * removes a qdisc, it drops what the device would send.
 */
export async function removeEmptyClsact(ifindex: number): Promise<boolean> {
  const site = { operation: "removeEmptyClsact", object: `ifindex ${ifindex}` };
  checkInteger(site, "ifindex", ifindex, { min: 1, max: 0x7fffffff });
  const { rc, log } = await native.clsactRemoveEmpty(ifindex);
  if (rc === -errno.ENOENT || rc === -errno.EINVAL || rc === -errno.ENODEV) return false;
  mustSucceed(site, { rc, log });
  return rc === 0;
}
