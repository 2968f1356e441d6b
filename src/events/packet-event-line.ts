// A packet event in one line: short, with names cut in the middle so that it fits, or wide, with everything in a sentence.

import { clusterPolicyText } from "../model/cluster-network-policy.ts";
import { printable } from "../observe/text-output.ts";
import type { EventEnd, EventView } from "./packet-event.ts";

/** How to display the verdict: the caller chooses colour. */
export type VerdictEmphasis = (verdict: EventView["verdict"], text: string) => string;

const plain: VerdictEmphasis = (_, text) => text;

/** "2026-11-21T10:15:30.123Z dropped denied ingress shop/a (10.0.0.2:4242) -> shop/b (10.0.0.1:80) TCP 60 B: why". */
export function wideEventLine(event: EventView, emphasis = plain): string {
  const { time, verdict, reason, direction, from, to, bytes, text } = event;
  const words = [reason, direction, `${endText(from)} -> ${endText(to)}`, protocolText(event), `${bytes} B`];
  const rest = printable(`${words.filter((word) => word !== "").join(" ")}: ${text}`);
  return `${time} ${emphasis(verdict, verdict)} ${rest}`;
}

/** "2026-11-21T10:15:30.123Z dropped denied ingress shop/a:4242 -> shop/b:80 TCP by shop/deny", at most `width` columns. */
export function eventLine(event: EventView, width: number, emphasis = plain): string {
  const { time, verdict, reason, direction, from, to } = event;
  const names = [nameOf(from), nameOf(to), ...decidedBy(event)].map(printable);
  const lineOf = ([source = "", destination = "", by]: readonly string[], verdictText: string): string => {
    const ends = `${source}${portText(from)} -> ${destination}${portText(to)}`;
    const words = [time, verdictText, reason, direction, ends, protocolText(event), by ?? ""];
    return words.filter((word) => word !== "").join(" ");
  };
  const rest = lineOf(
    names.map(() => ""),
    verdict,
  ).length;
  // With a third name comes the space before it.
  const room = width - rest - (names.length - 2);
  return lineOf(shortened(names, room), emphasis(verdict, verdict));
}

/** The policies that decided; of a packet of neither end's, where it was seen. */
function decidedBy({ policies, allowedBy, decidedBy: by, endpoint, from, to }: EventView): string[] {
  if (by !== undefined) return [`by ${clusterPolicyText({ ...by, name: by.policy })}`];
  const deciding = allowedBy ?? policies;
  if (deciding.length > 0) return [`by ${deciding.join(",")}`];
  return endpoint === undefined || [from.pod, to.pod].includes(endpoint) ? [] : [`at ${endpoint}`];
}

/** Names are not cut below this: then the line is longer. */
const NAME_WIDTH_MIN = 12;

/** The longest of the texts are cut in the middle until all together have at most `room` columns. */
function shortened(texts: readonly string[], room: number): readonly string[] {
  const isFit = (max: number): boolean =>
    texts.reduce((sum, text) => sum + Math.min(text.length, max), 0) <= room;
  let max = Math.max(NAME_WIDTH_MIN, ...texts.map((text) => text.length));
  while (max > NAME_WIDTH_MIN && !isFit(max)) max -= 1;
  return texts.map((text) => cut(text, max));
}

function cut(text: string, max: number): string {
  if (text.length <= max) return text;
  const head = Math.ceil((max - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (max - 1 - head))}`;
}

const protocolText = ({ protocol, icmp }: EventView): string =>
  icmp === undefined ? (protocol ?? "") : `${protocol} type ${icmp.type} code ${icmp.code}`;

function nameOf({ pod, address, port }: EventEnd): string {
  if (pod !== undefined) return pod;
  if (address === undefined) return "?";
  return port !== undefined && address.includes(":") ? `[${address}]` : address;
}

const portText = ({ address, port }: EventEnd): string =>
  address === undefined || port === undefined ? "" : `:${port}`;

function endText(end: EventEnd): string {
  const { pod: _, ...bare } = end;
  const socket = `${nameOf(bare)}${portText(bare)}`;
  return end.pod === undefined ? socket : `${end.pod} (${socket})`;
}
