// The packets that are generated: which addresses and ports they draw from, and what becomes of them.

/** The pod that they come from. Its policy lets UDP through to one half of the range for benchmarks (RFC 2544). */
export const POD_ADDRESS = "10.63.63.1";
export const ALLOWED = { cidr: "198.18.0.0/16", first: "198.18.0.1", last: "198.18.255.254" } as const;
export const DENIED = { first: "198.19.0.1", last: "198.19.255.254" } as const;
export const PORTS = { first: 5_000, last: 5_999 } as const;

export interface Sweep {
  readonly id: string;
  readonly what: string;
  /** Destinations, drawn at random; one, where first and last are the same. */
  readonly addresses: { readonly first: string; readonly last: string };
  /** Destination's ports, and the source's, likewise. */
  readonly ports: { readonly first: number; readonly last: number };
  readonly sources: { readonly first: number; readonly last: number };
  /** What every packet must be counted as. */
  readonly verdict: "passed" | "dropped";
}

const one = <T>(value: T) => ({ first: value, last: value });

export const SWEEPS: readonly Sweep[] = [
  {
    id: "one",
    what: "one flow",
    addresses: one(ALLOWED.first),
    ports: one(PORTS.first),
    sources: one(40_000),
    verdict: "passed",
  },
  {
    id: "ports",
    what: "random ports at both ends of one pair of addresses: up to 28 million flows",
    addresses: one(ALLOWED.first),
    ports: PORTS,
    sources: { first: 32_768, last: 60_999 },
    verdict: "passed",
  },
  {
    id: "addresses",
    what: "random destinations of 65,534",
    addresses: ALLOWED,
    ports: one(PORTS.first),
    sources: one(40_000),
    verdict: "passed",
  },
  {
    id: "denied",
    what: "random destinations that no rule allows",
    addresses: DENIED,
    ports: one(PORTS.first),
    sources: one(40_000),
    verdict: "dropped",
  },
];

/** UDP from the pod goes to the allowed half only. */
export const POLICY = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "source", namespace: "bench" },
  spec: {
    podSelector: {},
    policyTypes: ["Egress"],
    egress: [
      {
        to: [{ ipBlock: { cidr: ALLOWED.cidr } }],
        ports: [{ protocol: "UDP", port: PORTS.first, endPort: PORTS.last }],
      },
    ],
  },
};
