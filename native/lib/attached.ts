// Which programs are attached where, of many devices at once and off the event loop.
import { checkInteger } from "./check.ts";
import { errno, kernelError, unwrap } from "./error.ts";
import { checkDirection, type Direction } from "./link-spec.ts";
import { native } from "./native.ts";

/** A place where a device runs programs. XDP sees what the device receives. */
export type Hook =
  | { readonly kind: "tcx" | "clsact"; readonly ifindex: number; readonly direction: Direction }
  | { readonly kind: "xdp"; readonly ifindex: number };

/**
 * The ids of the programs at each place, in the order in which packets meet them; undefined where there is no such
 * device. A filter of clsact that is not BPF counts as program 0; only the first chain counts. Of XDP those of hardware,
 * driver and generic mode. Errors: BpfError; EPERM without CAP_NET_ADMIN, EINVAL for tcx where the kernel has none.
 */
export async function attachedPrograms(places: readonly Hook[]): Promise<(number[] | undefined)[]> {
  const site = { operation: "attached", object: `${places.length} places` };
  const words = new Uint32Array(places.length * 2);
  for (const [at, place] of places.entries()) {
    checkInteger(site, "ifindex", place.ifindex, { min: 1, max: 0x7fffffff });
    words.set([place.ifindex, codeOf(place)], at * 2);
  }
  const found = unwrap(site, await native.attachedPrograms(new Uint8Array(words.buffer)));
  return found.map((ids, at) => {
    if (ids === -errno.ENODEV) return undefined;
    if (typeof ids !== "number") return ids;
    throw kernelError({ ...site, object: `${places[at]?.kind} of ifindex ${places[at]?.ifindex}` }, ids);
  });

  function codeOf(place: Hook): number {
    if (place.kind === "xdp") return 4;
    checkDirection(site, place.direction);
    return (place.kind === "tcx" ? 0 : 2) + (place.direction === "ingress" ? 0 : 1);
  }
}
