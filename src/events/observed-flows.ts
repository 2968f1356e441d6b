// From packet events, as `weir monitor -o json` writes them, to the connections that they show.

import { DIRECTIONS } from "../base/direction.ts";
import { type Address, fail, type Parsed, parseAddress } from "../base/ip.ts";
import { isProtocol, type Protocol } from "../model/protocol.ts";
import { EVENT_VERDICTS } from "../observe/filter-choices.ts";
import type { FlowEnd, ObservedFlow } from "../policy/suggest/suggest-policies.ts";
import type { EventEnd, EventView } from "./packet-event.ts";

type PacketEvent = Pick<
  EventView,
  "time" | "verdict" | "reason" | "direction" | "opener" | "endpoint" | "from" | "to" | "protocol" | "opens"
>;

const OBJECT_NAME = "[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?";
const POD_NAMES = new RegExp(`^${OBJECT_NAME}/${OBJECT_NAME}(?: or ${OBJECT_NAME}/${OBJECT_NAME})*$`);
const PORT_MAX = 65_535;

/** One line of the file. Of an event that is not one the reason names the field. */
export function parseEventLine(text: string): Parsed<PacketEvent> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return fail("not a line of JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return fail("not a JSON object");
  const event = value as Readonly<Record<string, unknown>>;
  if ("packets" in event)
    return fail("a line of the history (--since), which does not show who opened a connection");
  const wrong = wrongField(event);
  return wrong === undefined ? { ok: true, value: event as unknown as PacketEvent } : fail(wrong);
}

function wrongField(event: Readonly<Record<string, unknown>>): string | undefined {
  const isOneOf = (name: string, all: readonly string[]): boolean => all.some((each) => each === event[name]);
  const { time, reason, endpoint, protocol, opens } = event;
  if (typeof time !== "string" || !/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(time) || Number.isNaN(Date.parse(time)))
    return "`time` is not a time in UTC (ISO 8601)";
  if (!isOneOf("verdict", EVENT_VERDICTS)) return `\`verdict\` is not one of ${EVENT_VERDICTS.join(", ")}`;
  if (typeof reason !== "string") return "`reason` is not a text";
  if (!isOneOf("direction", DIRECTIONS)) return `\`direction\` is not one of ${DIRECTIONS.join(", ")}`;
  if (!isOneOf("opener", DIRECTIONS)) return `\`opener\` is not one of ${DIRECTIONS.join(", ")}`;
  if (endpoint !== undefined && !isPodNames(endpoint)) return "`endpoint` is not NAMESPACE/NAME";
  if (protocol !== undefined && typeof protocol !== "string") return "`protocol` is not a text";
  if (opens !== undefined && opens !== true) return "`opens` is not true";
  return wrongEnd("from", event["from"]) ?? wrongEnd("to", event["to"]);
}

const isPodNames = (value: unknown): boolean => typeof value === "string" && POD_NAMES.test(value);

function wrongEnd(name: string, value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return `\`${name}\` is not an object`;
  const { address, port, pod } = value as Readonly<Record<string, unknown>>;
  if (address !== undefined && (typeof address !== "string" || !parseAddress(address).ok))
    return `\`${name}.address\` is not an IP address`;
  if (port !== undefined && !(Number.isInteger(port) && Number(port) >= 0 && Number(port) <= PORT_MAX))
    return `\`${name}.port\` is not a number from 0 to ${PORT_MAX}`;
  return pod === undefined || isPodNames(pod) ? undefined : `\`${name}.pod\` is not NAMESPACE/NAME`;
}

/** Why an event shows no connection that a policy could allow. */
export const NO_FLOW_REASONS = {
  dropped: "were dropped, and are not allowed (see --denied)",
  protocol: "are of ICMP or another protocol that NetworkPolicies cannot name",
  older: "belong to connections that were open before, and do not show who opened them",
  answer: "are answers",
  unread: "name no pod or no port",
} as const;

export type NoFlowReason = keyof typeof NO_FLOW_REASONS;

export interface FlowCollector {
  add(event: PacketEvent): void;
  flows(): readonly ObservedFlow[];
  /** Events that are part of no flow. */
  unused(): ReadonlyMap<NoFlowReason, number>;
}

export interface CollectOptions {
  /** In ms since the epoch: what is older does not count at all. */
  readonly since: number;
  /** Connections that policies dropped count, too. */
  readonly denied: boolean;
}

interface Collected extends ObservedFlow {
  /** The flow whose answer it may be, as `serviceKey` has it. */
  readonly answers: string | undefined;
}

export function collectFlows({ since, denied }: CollectOptions): FlowCollector {
  const flows = new Map<string, Collected>();
  const services = new Set<string>();
  const noFlow = new Map<NoFlowReason, number>();
  const wanted = new Set(["policy", "audit", ...(denied ? ["denied"] : [])]);
  const classify = (event: PacketEvent): NoFlowReason | undefined => {
    if (!wanted.has(event.reason)) return "dropped";
    if (!isProtocol(event.protocol ?? "")) return "protocol";
    const isOpening = event.opens === true || event.protocol === "UDP";
    if (!isOpening && event.direction === event.opener) return "older";
    return undefined;
  };
  return {
    add(event) {
      if (Date.parse(event.time) < since) return;
      const flow = flowOf(event);
      const reason = classify(event) ?? (flow === undefined ? "unread" : undefined);
      if (flow === undefined || reason !== undefined) {
        noFlow.set(reason ?? "unread", (noFlow.get(reason ?? "unread") ?? 0) + 1);
        return;
      }
      const { key, ...collected } = flow;
      const known = flows.get(key);
      services.add(serviceKey(collected));
      flows.set(key, known === undefined ? collected : joined(known, collected));
    },
    flows: () => [...flows.values()].filter(({ answers }) => answers === undefined || !services.has(answers)),
    unused() {
      const answers = [...flows.values()].filter(
        (each) => each.answers !== undefined && services.has(each.answers),
      );
      const count = answers.reduce((sum, each) => sum + each.count, 0);
      return count === 0 ? noFlow : new Map([...noFlow, ["answer", count]]);
    },
  };
}

const joined = (a: Collected, b: Collected): Collected => ({
  ...a,
  count: a.count + b.count,
  first: a.first < b.first ? a.first : b.first,
  last: a.last > b.last ? a.last : b.last,
});

function flowOf(event: PacketEvent): (Collected & { readonly key: string }) | undefined {
  const { direction, opener, endpoint, protocol = "", time } = event;
  // A packet of the other end shows the connection reversed.
  const [source, destination] = direction === opener ? [event.from, event.to] : [event.to, event.from];
  const { port } = destination;
  if (endpoint === undefined || !isProtocol(protocol) || port === undefined || port === 0) return undefined;
  const [from, to] =
    opener === "egress"
      ? [endOf({ ...source, pod: endpoint }), endOf(destination)]
      : [endOf(source), endOf({ ...destination, pod: endpoint })];
  if ([from, to].some(({ pods, address }) => pods.length === 0 && address === undefined)) return undefined;
  const seen = { from, to, protocol, port, seenAt: opener };
  const answers = answeredBy(seen, source.port);
  const key = [opener, endText(from), endText(to), protocol, port, answers].join(" ");
  return { ...seen, count: 1, first: time, last: time, answers, key };
}

/**
 * A datagram from a port to a higher one is an answer, if the other end was seen to send to that port: the request may have come
 * before the policy by which flows are reported. Segments of TCP show it themselves.
 */
function answeredBy(
  { from, to, protocol, port }: Pick<ObservedFlow, "from" | "to" | "protocol" | "port">,
  sourcePort: number | undefined,
): string | undefined {
  if (protocol !== "UDP" || sourcePort === undefined || sourcePort >= port) return undefined;
  return serviceKey({ from: to, to: from, protocol, port: sourcePort });
}

const serviceKey = ({
  from,
  to,
  protocol,
  port,
}: {
  readonly from: FlowEnd;
  readonly to: FlowEnd;
  readonly protocol: Protocol;
  readonly port: number;
}): string => `${endText(from)} ${endText(to)} ${protocol}/${port}`;

/** Of a pod without its addresses: a flow over both families is one. */
const endText = ({ pods, address }: FlowEnd): string => pods.join(" or ") || (address?.text ?? "");

const endOf = ({ pod, address }: EventEnd): FlowEnd => ({
  pods: pod === undefined ? [] : pod.split(" or "),
  address: addressIn(address),
});

function addressIn(text: string | undefined): Address | undefined {
  const parsed = parseAddress(text ?? "");
  return parsed.ok ? parsed.value : undefined;
}

/** "shop/web-1 to 192.0.2.1 TCP/443". */
export const flowText = ({
  from,
  to,
  protocol,
  port,
}: Pick<ObservedFlow, "from" | "to" | "protocol" | "port">): string =>
  `${endText(from)} to ${endText(to)} ${protocol}/${port}`;
