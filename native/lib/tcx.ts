// Questions about tcx, the attachment of programs to devices that came with Linux 6.6.
import { checkInteger } from "./check.ts";
import { AttachType } from "./constants.ts";
import { errno, kernelError, type Site, unwrap } from "./error.ts";
import { checkDirection, type Direction } from "./link-spec.ts";
import { native } from "./native.ts";

/** Programs in the order in which packets meet them; the link id is 0 for one attached without a link. */
export type TcxQuery = {
  readonly programIds: number[];
  readonly linkIds: number[];
  /** Counts the changes to the list. */
  readonly revision: number;
};

const attachType = { ingress: AttachType.TCX_INGRESS, egress: AttachType.TCX_EGRESS } as const;

/** The tcx attachments of a device. ENODEV where there is no such device, EINVAL where the kernel has no tcx. */
export function queryTc(ifindex: number, direction: Direction): TcxQuery {
  const site = { operation: "tcx.query", object: `ifindex ${String(ifindex)}` };
  checkInteger(site, "ifindex", ifindex, { min: 1, max: 0x7fffffff });
  checkDirection(site, direction);
  return unwrap(site, native.queryTcx(ifindex, attachType[direction]));
}

let known: boolean | undefined;

/** Whether the kernel has tcx: queries the programs on the loopback device once. EPERM without CAP_NET_ADMIN. */
export function hasTcx(): boolean {
  if (known === undefined) {
    const site: Site = { operation: "tcx.probe", object: "loopback" };
    const loopback = 1; // in every network namespace
    const answer = native.queryTcx(loopback, attachType.ingress);
    if (typeof answer === "number" && answer !== -errno.EINVAL) throw kernelError(site, answer);
    known = typeof answer !== "number";
  }
  return known;
}
