// Where a program can be attached, and the checks before the system call.
import { checkInteger } from "./check.ts";
import { ownError, type Site } from "./error.ts";

export type Direction = "ingress" | "egress";

export type TcxSpec = {
  readonly kind: "tcx";
  readonly ifindex: number;
  readonly direction: Direction;
  /** Where among the programs already there; default last. */
  readonly position?: "first" | "last";
};

/** The handle and priority are the filter's address: attaching fails with EEXIST where another filter has it. */
export type ClsactSpec = {
  readonly kind: "clsact";
  readonly ifindex: number;
  readonly direction: Direction;
  readonly handle: number;
  readonly priority: number;
  /** On detach(): remove the clsact qdisc too if no filter is left on it. */
  readonly removeQdisc?: boolean;
};

export type XdpSpec = { readonly kind: "xdp"; readonly ifindex: number; readonly mode: "native" | "generic" };

export type LinkSpec = TcxSpec | ClsactSpec | XdpSpec;

/** Throws ARGUMENT for anything that is not a LinkSpec. */
export function checkLinkSpec(site: Site, spec: LinkSpec): void {
  checkOneOf(site, "kind", spec?.kind, ["tcx", "clsact", "xdp"]);
  checkInteger(site, "ifindex", spec.ifindex, { min: 1, max: 0x7fffffff });
  switch (spec.kind) {
    case "tcx":
      checkDirection(site, spec.direction);
      if (spec.position !== undefined) checkOneOf(site, "position", spec.position, ["first", "last"]);
      return;
    case "clsact":
      checkDirection(site, spec.direction);
      checkInteger(site, "handle", spec.handle, { min: 1 });
      checkInteger(site, "priority", spec.priority, { min: 1, max: 0xffff });
      return;
    case "xdp":
      checkOneOf(site, "mode", spec.mode, ["native", "generic"]);
  }
}

export function checkDirection(site: Site, direction: Direction): void {
  checkOneOf(site, "direction", direction, ["ingress", "egress"]);
}

function checkOneOf(site: Site, what: string, value: string, allowed: readonly string[]): void {
  if (!allowed.includes(value)) {
    throw ownError(site, "ARGUMENT", `${what} must be one of ${allowed.join(", ")}, got ${String(value)}`);
  }
}
