// Events as sentences and lines that a person reads.

import type { Direction } from "../../base/direction.ts";
import { REASON_NAMES, REASON_TEXTS } from "../../gen/layout.ts";
import type { EventEnd, EventView } from "../packet-event.ts";
import { printable } from "../text-output.ts";

/** Why the packet was dropped, or passed: names the policies where policies decided. */
export function whyText(event: Omit<EventView, "text">): string {
  const { endpoint, interface: name, ifindex, from } = event;
  const owner = endpoint ?? (name === undefined ? `interface ${ifindex}` : `interface ${name}`);
  const isolated = `${event.opener} of ${owner} is isolated by ${event.policies.join(", ") || "a policy"}`;
  switch (event.reason) {
    case "denied":
      return `${isolated}, nothing allows ${askedText(event)}`;
    case "revoked":
      return `${isolated}, nothing allows ${askedText(event)} any more`;
    case "untracked":
      return `${isolated}, nothing allows ${askedText(event)}, and no flow is known that this segment belongs to`;
    case "audit":
      return `${isolated} (audit), nothing allows ${askedText(event)}, which passes`;
    case "policy":
      return `${isolated}, which allows ${askedText(event)}`;
    case "spoofed":
      return `${from.address ?? "its source"} is no address of ${owner}`;
    default: {
      const text = TEXTS.get(event.reason) ?? event.reason;
      return event.policies.length > 0 && !GUARD.has(event.reason)
        ? `${isolated}, and ${text}`
        : `${owner}: ${text}`;
    }
  }
}

/** What the layout says of each reason. */
const TEXTS = new Map(
  Object.entries(REASON_NAMES).map(([number, name]) => [name, REASON_TEXTS[Number(number)] ?? name]),
);

/** Dropped by the guard on what pods send, whatever the policy. */
const GUARD: ReadonlySet<string> = new Set(["router", "limited", "encapsulated", "misdirected"]);

/** "TCP/80 from shop/client": what the opener of the flow asked for. */
function askedText(event: Omit<EventView, "text">): string {
  const { direction, opener, from, to } = event;
  const isAnswer = opener !== direction;
  const port = isAnswer ? from.port : to.port;
  const service = protocolText(event, port);
  const peer = direction === "ingress" ? from : to;
  return `${service} ${preposition(opener)} ${peer.pod ?? peer.address ?? "there"}`;
}

const preposition = (opener: Direction): string => (opener === "ingress" ? "from" : "to");

const protocolText = ({ protocol }: Pick<EventView, "protocol">, port: number | undefined): string =>
  port === undefined ? (protocol ?? "the packet") : `${protocol}/${port}`;

/** "10:15:30.123 dropped denied ingress shop/a (10.0.0.2:4242) -> shop/b (10.0.0.1:80) TCP 60 B: why". One line. */
export function eventLine(event: EventView): string {
  const { time, verdict, reason, direction, from, to, protocol, icmp, bytes, text } = event;
  const what = icmp === undefined ? (protocol ?? "") : `${protocol} type ${icmp.type} code ${icmp.code}`;
  const words = [
    time.slice(11, 23),
    verdict,
    reason,
    direction,
    `${endText(from)} -> ${endText(to)}`,
    what,
    `${bytes} B`,
  ];
  return printable(`${words.filter((word) => word !== "").join(" ")}: ${text}`);
}

function endText({ address, port, pod }: EventEnd): string {
  if (address === undefined) return "?";
  const bare = port !== undefined && address.includes(":") ? `[${address}]` : address;
  const socket = port === undefined ? bare : `${bare}:${port}`;
  return pod === undefined ? socket : `${pod} (${socket})`;
}
