// A new connection, and what port matches it: shared by the oracles of all policy kinds.

import { assertNever } from "../base/assert.ts";
import type { Direction } from "../base/direction.ts";
import type { Address } from "../base/ip.ts";
import { isSelectable, isSubject, type Pod, type Protocol } from "../model/cluster.ts";
import type { PortMatch } from "../model/network-policy.ts";

/** One end of a connection: a pod by one of its addresses, or an address that no pod has. */
export type Party =
  | {
      readonly kind: "pod";
      readonly pod: Pod;
      readonly address: Address;
      /** Other pods that may be at this end, if the pod is ambiguous. */
      readonly rivals?: readonly Pod[];
    }
  | { readonly kind: "address"; readonly address: Address };

/** A new connection (for UDP, SCTP and the rest: a first packet). Both addresses are of one family. */
export interface Probe {
  readonly from: Party;
  readonly to: Party;
  /** "ICMP" is every protocol that policies cannot name; only a rule without ports matches those. */
  readonly protocol: Protocol | "ICMP";
  /** Destination port, 0 to 65535; ignored if the protocol is "ICMP". */
  readonly port: number;
  /** The domain names that the source has resolved to the destination's address. */
  readonly names?: readonly string[];
  /** The one of them by which it is judged; rules by names have no other peers. */
  readonly name?: string;
  /** Of rules that may match an end whose labels are not known, those that pass count as ones that do, too, besides those that deny. */
  readonly passes?: true;
}

export function portMatches(match: PortMatch, probe: Probe, direction: Direction): boolean {
  // API, NetworkPolicyPort.port: protocol and port must both match.
  if (match.kind === "nothing" || match.protocol !== probe.protocol) return false;
  switch (match.kind) {
    case "range":
      return match.first <= probe.port && probe.port <= match.last;
    case "name": {
      // API, NetworkPolicyPort.port: a name is that of a port on a pod; ports are destination ports in both directions,
      // so it is the destination pod. An address without a pod has no port names; a name that the pod does not declare
      // for this protocol matches nothing. Two containers may give one name to two ports: then it means either.
      const ports = (direction === "ingress" ? subjectOf(probe.to) : selectablePod(probe.to))?.ports ?? [];
      return ports.some(
        ({ name, protocol, port }) =>
          name === match.name && protocol === match.protocol && port === probe.port,
      );
    }
    default:
      return assertNever(match, "kind of port");
  }
}

/** The pod at this end if a peer's selectors can select it: not a host-network pod, nor a finished one, nor one whose labels are not known. */
export const selectablePod = (party: Party): Pod | undefined =>
  party.kind === "pod" && isSelectable(party.pod) && party.pod.exceeds !== true ? party.pod : undefined;

/** The pod at this end if it can be isolated, even if its object is gone. */
export const subjectOf = (party: Party): Pod | undefined =>
  party.kind === "pod" && isSubject(party.pod) ? party.pod : undefined;
