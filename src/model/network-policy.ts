// NetworkPolicy v1 as closed unions: what it selects, which directions it isolates, and what it allows.

import type { Direction } from "../base/direction.ts";
import { type Cidr, cidrCovers, LINK_LOCAL_V6, UNSPECIFIED_V4 } from "../base/ip.ts";
import type { Protocol } from "./protocol.ts";
import type { Selector } from "./selector.ts";

export type Peer =
  | {
      readonly kind: "pods";
      /** Which namespaces; undefined is the policy's own (no namespaceSelector). */
      readonly namespaces: Selector | undefined;
      /** Which of their pods; everything where podSelector is missing. */
      readonly pods: Selector;
    }
  | {
      readonly kind: "block";
      readonly cidr: Cidr;
      readonly except: readonly Cidr[];
    }
  /**
   * Matches nothing: a peer that cannot be read, so that leaving it out can only deny more, or a block that its
   * exceptions cover.
   */
  | { readonly kind: "nothing" };

/**
 * What a block does not include. An excepted pod or node has a link-local address too, and which one is not known, and may send without an address: a
 * block with exceptions includes link-local addresses, or 0.0.0.0, only if it is about these alone. See docs/decisions/0019-ranking-of-evidence.md.
 */
export const exceptionsOf = ({
  cidr,
  except,
}: Pick<Peer & { kind: "block" }, "cidr" | "except">): readonly Cidr[] => {
  const anybodys = cidr.family === 4 ? UNSPECIFIED_V4 : LINK_LOCAL_V6;
  return except.length > 0 && cidr.length < anybodys.length && cidrCovers(cidr, anybodys)
    ? [...except, anybodys]
    : except;
};

export type PortMatch =
  /** Ports first to last of a protocol, inclusive; 0 to 65535 where the policy names no port. */
  | { readonly kind: "range"; readonly protocol: Protocol; readonly first: number; readonly last: number }
  /** A container port's name, resolved on the pod that the traffic goes to. */
  | { readonly kind: "name"; readonly protocol: Protocol; readonly name: string }
  /** Matches nothing, as it cannot be read. */
  | { readonly kind: "nothing" };

/** One element of spec.ingress or spec.egress, in the order of the manifest. */
export interface Rule {
  /** "anyone" where from/to is missing or empty: every address, outside ones too. */
  readonly peers: "anyone" | readonly Peer[];
  /** "all" where ports is missing or empty: every protocol and port, ICMP included. */
  readonly ports: "all" | readonly PortMatch[];
  /** Replaces a rule that does not fit in the tables: it has no peers and no ports. See policy/limits. */
  readonly leftOut?: true;
}

export interface Policy {
  readonly namespace: string;
  readonly name: string;
  /** spec.podSelector, in the policy's own namespace. */
  readonly subject: Selector;
  /** spec.policyTypes, or its defaults. */
  readonly isolates: { readonly [direction in Direction]: boolean };
  readonly rules: { readonly [direction in Direction]: readonly Rule[] };
  /**
   * Set where the manifest names its pods but cannot be read in full: the pods are isolated and nothing is allowed by
   * it (fail closed). The text is the reason.
   */
  readonly unreadable?: string;
  /**
   * Set where single rules, peers or ports cannot be read, and all else can: what cannot be read allows nothing, the rest
   * counts. The text is the reason.
   */
  readonly omitted?: string;
  /**
   * Set where the policy exceeds its namespace's share of the agent's memory: it isolates its pods, its rules are not kept, and
   * `unreadable` is the reason. See source/apiserver/object-memory.ts.
   */
  readonly exceeds?: true;
  /** Annotation `weir.dev/mode`: model/enforcement-mode.ts resolves it. */
  readonly mode?: "enforce" | "audit";
}
