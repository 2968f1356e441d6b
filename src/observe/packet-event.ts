// An event as the agent tells it: one packet that was dropped, or opened a new flow, with the names of both ends; and filters.

import type { Direction } from "../base/direction.ts";
import { cidrContains, parseAddress, parseCidr } from "../base/ip.ts";
import type { EventVerdict } from "./filter-choices.ts";

/** One end of a packet, as far as it is known. */
export interface EventEnd {
  readonly address?: string;
  readonly port?: number;
  /** `namespace/name` of the pod whose address it is. */
  readonly pod?: string;
}

export interface EventView {
  /** ISO 8601. */
  readonly time: string;
  readonly verdict: EventVerdict;
  /** As `weir maps dump counters` names it. */
  readonly reason: string;
  /** Of the packet, seen from the pod. */
  readonly direction: Direction;
  /** `namespace/name` of the pod whose interface it crossed; unknown where the interface is no endpoint. */
  readonly endpoint?: string;
  readonly interface?: string;
  readonly ifindex: number;
  readonly from: EventEnd;
  readonly to: EventEnd;
  /** "TCP", "ICMPv6", or a number; absent where the packet cannot be read. */
  readonly protocol?: string;
  readonly icmp?: { readonly type: number; readonly code: number };
  readonly bytes: number;
  /** Policy generation that judged it. */
  readonly generation: number;
  readonly identity: number;
  /** Whose policy judged it: of the side that opened the flow, or asks to. */
  readonly opener: Direction;
  /** Policies that isolate the endpoint there, as `namespace/name`; none where the reason is no matter of policy. */
  readonly policies: readonly string[];
  /** Why, in a sentence. */
  readonly text: string;
}

/** What somebody wants to see; what is not given is not asked. */
export interface EventFilter {
  readonly verdict?: EventVerdict;
  readonly reason?: string;
  readonly from?: EndMatch;
  readonly to?: EndMatch;
  /** The endpoint, or either end. */
  readonly pod?: string;
  /** Of either end. */
  readonly port?: number;
}

export type EndMatch = (end: EventEnd) => boolean;

/** A match from `namespace/name`, `namespace/`, an address or a prefix; undefined where the text is none of these. */
export function endMatch(text: string): EndMatch | undefined {
  const block = parseCidr(text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`);
  if (block.ok)
    return ({ address }) => {
      const parsed = address === undefined ? undefined : parseAddress(address);
      return parsed?.ok === true && cidrContains(block.value, parsed.value);
    };
  if (/^[^/]+\/$/.test(text)) return ({ pod }) => pod?.startsWith(text) === true;
  if (/^[^/]+\/[^/]+$/.test(text)) return ({ pod }) => pod === text;
  return undefined;
}

export function eventMatches(event: EventView, filter: EventFilter): boolean {
  const { from, to } = event;
  return (
    (filter.verdict === undefined || filter.verdict === event.verdict) &&
    (filter.reason === undefined || filter.reason === event.reason) &&
    (filter.from === undefined || filter.from(from)) &&
    (filter.to === undefined || filter.to(to)) &&
    (filter.pod === undefined || [event.endpoint, from.pod, to.pod].includes(filter.pod)) &&
    (filter.port === undefined || [from.port, to.port].includes(filter.port))
  );
}
