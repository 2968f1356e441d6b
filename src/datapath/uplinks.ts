// Attaching the program that screens uplinks: native XDP where the driver has it, else generic.

import type { BpfProgram } from "bpf-ts";
import { attachXdp, detachLink } from "./links.ts";
import { linkPath, pinnedLinks, UPLINK_PLACES } from "./pins.ts";

export type XdpMode = "native" | "generic";

/** How the program hangs on an uplink, or why it does not. */
export type UplinkAttachment =
  | { readonly ok: true; readonly mode: XdpMode }
  | { readonly ok: false; readonly refused: string };

/** Level-triggered, as attach(). Errors: BpfError ENODEV where the interface has gone. */
export async function attachUplink(
  root: string,
  ifindex: number,
  program: BpfProgram,
): Promise<UplinkAttachment> {
  const generic = linkPath(root, ifindex, "uplink-generic");
  const place = { root, ifindex };
  if (pinnedLinks(root).some(({ path }) => path === generic)) {
    const refused = await attachXdp(place, "uplink-generic", program);
    if (refused === undefined) return { ok: true, mode: "generic" };
  }
  if ((await attachXdp(place, "uplink", program)) === undefined) return { ok: true, mode: "native" };
  const refused = await attachXdp(place, "uplink-generic", program);
  return refused === undefined ? { ok: true, mode: "generic" } : { ok: false, refused };
}

/** Takes the program off all uplinks but these. */
export async function detachOtherUplinks(root: string, wanted: ReadonlySet<number>): Promise<void> {
  const places: readonly string[] = UPLINK_PLACES;
  for (const { ifindex, place, path } of pinnedLinks(root))
    if (places.includes(place) && !wanted.has(ifindex)) await detachLink(path);
}
