// Packet events with names: the programs write numbers, which the state that was in force then translates.

import type { Direction } from "../base/direction.ts";
import { type Address, addressOf, parseAddress } from "../base/ip.ts";
import { memo } from "../base/memo.ts";
import { type AddressV6, type Event, POLICY_NAMES, REASON_NAMES, Reason } from "../gen/layout.ts";
import { holdersText } from "../model/address-ownership.ts";
import { type Cluster, keyOf } from "../model/cluster.ts";
import { hasPorts, isIcmp, PROTOCOLS, protocolText } from "../model/protocol.ts";
import type { EventVerdict } from "../observe/filter-choices.ts";
import type { TierDecision } from "../policy/cluster-policy-oracle.ts";
import type { Compiled, EndpointSides } from "../policy/compile.ts";
import { localText } from "../policy/local-endpoints.ts";
import { type Probe, sideVerdict } from "../policy/oracle.ts";
import { partyAt } from "../policy/service-oracle.ts";
import { domainsIn } from "../policy/tiers.ts";
import { decisionText } from "../policy/verdict-text.ts";
import { decidingRule } from "./deciding-rule.ts";
import { type EventEnd, type EventView, ISOLATION_REASONS, POLICY_REASONS, whyText } from "./packet-event.ts";

/** A state in force, as far as it names the ends of packets. */
export interface NamingState {
  readonly compiled: Pick<Compiled, "meaning"> & Partial<Pick<Compiled, "enforced" | "state">>;
  /** By interface index. */
  readonly interfaces: ReadonlyMap<number, { readonly name: string }>;
}

const NO_SIDES: readonly EndpointSides[] = [];

const sidesByInterface = memo(
  (sides: readonly EndpointSides[]) => new Map(sides.map((entry) => [entry.local.ifindex, entry])),
);

/** Converts events into views by one state. */
export type Namer = (event: Event, time: Date) => EventView;

const WORD_BITS = 64n;
/** An IPv4 address is in the first bytes of the low half. */
const V4_SHIFT = 32n;

/** Which of these domain names a pod has resolved to an address. */
export type NameLookup = (pod: {
  readonly incarnation: number;
  readonly address: Address;
  readonly domains: readonly string[];
}) => readonly string[];

/** Created once for each state; walks all endpoints with the first event. */
export function namerOf(force: NamingState | undefined, lookup: NameLookup = () => []): Namer {
  const namesOf = (ifindex: number, remote: string | undefined): readonly string[] => {
    const endpoint = force?.compiled.state?.endpoints.get(ifindex);
    const parsed = parseAddress(remote ?? "");
    if (endpoint === undefined || (endpoint.policy.egress & POLICY_NAMES) === 0 || !parsed.ok) return [];
    const domains = domainsIn(force?.compiled.enforced?.clusterPolicies ?? new Map());
    return lookup({ incarnation: endpoint.incarnation, address: parsed.value, domains });
  };
  const all = force?.compiled.meaning.sides ?? NO_SIDES;
  const podAt = (address: string): string | undefined => {
    const held = force?.compiled.meaning.classified.holders.get(address);
    return held && holdersText(held);
  };
  return (event, time) => {
    const entry = sidesByInterface(all).get(event.ifindex);
    const name = force?.interfaces.get(event.ifindex)?.name;
    const opener = directionOf(event.opener);
    const reason = REASON_NAMES[event.reason] ?? String(event.reason);
    const isRead = event.protocol !== 0;
    const end = (address: AddressV6, port: number): EventEnd => {
      const text = addressText(address, event.family);
      const pod = text === undefined ? undefined : podAt(text);
      return {
        ...(text === undefined ? {} : { address: text }),
        ...(hasPorts(event.protocol) ? { port } : {}),
        ...(pod === undefined ? {} : { pod }),
      };
    };
    const [from, to] = [end(event.source, event.sourcePort), end(event.destination, event.destinationPort)];
    const remote = event.direction === event.opener ? [from, to] : [to, from];
    const asked = opener === "ingress" ? remote[0] : remote[1];
    const { enforced: cluster, meaning } = force?.compiled ?? {};
    const decision =
      cluster === undefined || meaning === undefined || entry === undefined || !POLICY_REASONS.has(reason)
        ? undefined
        : decidingRule(
            { cluster, meaning },
            {
              ...{ entry, direction: opener, protocol: protocolText(event.protocol) },
              remote: asked?.address ?? "",
              port: remote[1]?.port,
              // Names only ever accept: where one is known but has expired, or has been learned since, it has not decided about a drop.
              ...(opener === "egress" &&
                verdictOf(event.reason) === "passed" && { names: namesOf(event.ifindex, asked?.address) }),
            },
          );
    // A rule of a cluster policy that decides leaves nothing to these.
    const policies =
      ISOLATION_REASONS.has(reason) && decision === undefined
        ? (entry?.sides[opener]?.policies ?? []).map(keyOf)
        : [];
    const view = {
      time: time.toISOString(),
      verdict: verdictOf(event.reason),
      reason,
      direction: directionOf(event.direction),
      ...(entry === undefined ? {} : { endpoint: localText(entry.local) }),
      ...(name === undefined ? {} : { interface: name }),
      ifindex: event.ifindex,
      from,
      to: isRead ? to : {},
      ...(isRead ? { protocol: protocolText(event.protocol) } : {}),
      ...(isIcmp(event.protocol) ? { icmp: { type: event.icmpType, code: event.icmpCode } } : {}),
      ...(event.opens === 0 ? {} : { opens: true as const }),
      bytes: event.bytes,
      generation: event.generation,
      identity: event.identity,
      opener,
      policies: [...new Set(policies)],
      ...(decision === undefined ? {} : { decidedBy: decisionView(decision, opener) }),
    } as const satisfies Omit<EventView, "text">;
    const allowedBy =
      reason === "policy" && decision === undefined
        ? allowingPolicies(force?.compiled.enforced, view)
        : undefined;
    const named = { ...view, ...(allowedBy === undefined ? {} : { allowedBy }) };
    return { ...named, text: whyText(named) };
  };
}

/**
 * The policies that allow a new flow, by the oracle; undefined where the packet does not show its connection as policies see
 * it (a Service's address), or it is not allowed by the oracle.
 */
function allowingPolicies(
  cluster: Cluster | undefined,
  { from, to, protocol, direction, opener }: Omit<EventView, "text">,
): readonly string[] | undefined {
  const named = PROTOCOLS.find((each) => each === protocol);
  const [source, destination] = [parseAddress(from.address ?? ""), parseAddress(to.address ?? "")];
  if (cluster === undefined || direction !== opener || !source.ok || !destination.ok) return undefined;
  const probe: Probe = {
    from: partyAt(cluster, source.value),
    to: partyAt(cluster, destination.value),
    protocol: named ?? "ICMP",
    port: to.port ?? 0,
  };
  const verdict = sideVerdict(cluster, probe, opener);
  return verdict.kind === "allowed" ? [...new Set(verdict.by.map(({ policy }) => policy))] : undefined;
}

function decisionView(by: TierDecision, direction: Direction): NonNullable<EventView["decidedBy"]> {
  const { policy, tier, priority, action, rule, ruleName } = by;
  return {
    ...{ policy, tier, priority, action, rule: `${direction}[${rule}]` },
    ...(ruleName === undefined ? {} : { name: ruleName }),
    text: decisionText(by, direction),
  };
}

function verdictOf(reason: Reason): EventVerdict {
  if (reason === Reason.AUDIT) return "audit";
  return reason >= Reason.DROPS ? "dropped" : "passed";
}

const directionOf = (number: number): Direction => (number === 0 ? "ingress" : "egress");

function addressText({ high, low }: AddressV6, family: number): string | undefined {
  switch (family) {
    case 1:
      return addressOf(4, low >> V4_SHIFT).text;
    case 2:
      return addressOf(6, (high << WORD_BITS) | low).text;
    default:
      return undefined;
  }
}
