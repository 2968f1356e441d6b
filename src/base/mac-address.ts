// MAC addresses, as text: "52:54:00:12:34:56".

import type { Parsed } from "./ip.ts";

/** No frame has this source. */
export const NO_HARDWARE = "00:00:00:00:00:00";

const MAC = /^[0-9a-f]{2}([:-])[0-9a-f]{2}(?:\1[0-9a-f]{2}){4}$/;

/** The address of one station, in its canonical form. */
export function parseHardware(text: string): Parsed<string> {
  const lower = text.toLowerCase();
  if (!MAC.test(lower)) return { ok: false, reason: "it is not a MAC address, as 52:54:00:12:34:56" };
  // A text of its own: V8 keeps the whole of a text that a part is kept of.
  const canonical = lower.split(/[-:]/).join(":");
  if (canonical === NO_HARDWARE) return { ok: false, reason: "it is the zero address" };
  if (Number.parseInt(canonical.slice(0, 2), 16) & 1)
    return { ok: false, reason: "it is a multicast address" };
  return { ok: true, value: canonical };
}
