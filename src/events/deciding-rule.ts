// The rule of a cluster policy that decided a packet: the maps hold the result for all policies together, so it is found again by
// the oracle, in the state that judged the packet.

import type { Direction } from "../base/direction.ts";
import { type Address, parseAddress } from "../base/ip.ts";
import { memo } from "../base/memo.ts";
import type { Cluster } from "../model/cluster.ts";
import { judgedIn } from "../model/frontends.ts";
import { isProtocol } from "../model/protocol.ts";
import { type TierDecision, tierDecision } from "../policy/cluster-policy-oracle.ts";
import type { EndpointSides, Meaning } from "../policy/compile.ts";
import { podsOf } from "../policy/local-endpoints.ts";
import type { Party, Probe } from "../policy/oracle.ts";
import { partyAt } from "../policy/service-oracle.ts";

/** The connection that a packet belongs to, as its opener requested it. */
export interface AskedConnection {
  readonly entry: EndpointSides;
  /** Seen from the endpoint: whose policy decided. */
  readonly direction: Direction;
  readonly remote: string;
  /** "TCP", or another protocol's text. */
  readonly protocol: string;
  readonly port: number | undefined;
  /** The domain names that the endpoint has resolved to the other end. */
  readonly names?: readonly string[];
}

export interface DecidingState {
  readonly cluster: Cluster;
  readonly meaning: Pick<Meaning, "services" | "closed">;
}

/** Undefined where no cluster policy decided; of a frontend with several backends, the rule for the first one that is denied. */
export function decidingRule(
  state: DecidingState,
  { names = [], ...asked }: AskedConnection,
): TierDecision | undefined {
  const plain = decidingRuleBy(state, asked);
  if (plain?.action === "Accept") return plain;
  return (
    names.map((name) => decidingRuleBy(state, asked, name)).find((by) => by?.action === "Accept") ?? plain
  );
}

function decidingRuleBy(
  state: DecidingState,
  { entry, direction, remote, protocol, port = 0 }: AskedConnection,
  name?: string,
): TierDecision | undefined {
  const side = entry.sides[direction];
  const parsed = parseAddress(remote);
  if (side?.tiers === undefined || !parsed.ok) return undefined;
  const named = isProtocol(protocol) ? protocol : "ICMP";
  const { services, closed } = state.meaning;
  const frontend =
    direction === "egress" ? frontendsOf(services).get(`${remote} ${protocol} ${port}`) : undefined;
  // No rule decides where it is not known where packets go to.
  if (direction === "egress" && (frontend?.refused === true || closed.has(parsed.value))) return undefined;
  const targets =
    frontend !== undefined
      ? judgedIn(frontend).map(({ address, port: at }) => ({ address, port: at }))
      : [{ address: parsed.value, port }];
  const decisions = podsOf(entry.local).flatMap((pod) =>
    targets.flatMap((target) => {
      const own = ownParty(pod, target.address);
      if (own === undefined) return [];
      const other = partyAt(state.cluster, target.address);
      const ends = direction === "ingress" ? { from: other, to: own } : { from: own, to: other };
      const probe: Probe = {
        ...ends,
        protocol: named,
        port: target.port,
        ...(name !== undefined && { name }),
      };
      const decide = (tier: "Admin" | "Baseline") =>
        tierDecision(state.cluster, { pod, tier, probe, direction });
      const admin = decide("Admin");
      if (admin !== undefined && admin.action !== "Pass") return [admin];
      const baseline = side.isolated ? undefined : decide("Baseline");
      return baseline === undefined || baseline.action === "Pass" ? [] : [baseline];
    }),
  );
  return decisions.find(({ action }) => action === "Deny") ?? decisions[0];
}

const frontendsOf = memo(
  (services: Meaning["services"]) =>
    new Map(
      services().map(({ frontend }) => [
        `${frontend.address.text} ${frontend.protocol} ${frontend.port}`,
        frontend,
      ]),
    ),
);

function ownParty(pod: EndpointSides["local"]["pod"], other: Address): Party | undefined {
  const address = pod.ips.find(({ family }) => family === other.family);
  return address && { kind: "pod", pod, address };
}
