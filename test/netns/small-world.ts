// A small cluster for the tests of change, restart, trouble and removal: a server, a friend of it, an unknown peer, and policies.

import type { PodSpec } from "../../src/lab/lab-manifests.ts";
import type { Probe } from "../../src/lab/pod-protocol.ts";
import type { WorldSpec } from "./world.ts";

const SERVES = { tcp: [80, 81], udp: [80] } as const;

const pod = (name: string, number: number, role: string): PodSpec => ({
  name: `shop/${name}`,
  labels: { role },
  addresses: [`10.63.61.${number}`, `fd63:61::${number}`],
  ...SERVES,
});

export const SERVER = "shop/server";
export const FRIEND = "shop/friend";
export const STRANGER = "shop/stranger";
export const BYSTANDER = "shop/bystander";

export const SERVER_V4 = "10.63.61.1";
export const SERVER_V6 = "fd63:61::1";
export const BYSTANDER_V4 = "10.63.61.4";

const PODS: readonly PodSpec[] = [
  pod("server", 1, "server"),
  pod("friend", 2, "friend"),
  pod("stranger", 3, "stranger"),
  pod("bystander", 4, "bystander"),
];

export const smallWorld = (prefix: string, files: Readonly<Record<string, string>> = {}): WorldSpec => ({
  prefix,
  namespaces: { shop: {} },
  pods: PODS,
  files,
});

const policy = (name: string, role: string, spec: string): string =>
  [
    "apiVersion: networking.k8s.io/v1",
    "kind: NetworkPolicy",
    `metadata: { name: ${name}, namespace: shop }`,
    "spec:",
    `  podSelector: { matchLabels: { role: ${role} } }`,
    spec,
    "",
  ].join("\n");

/** The server is isolated both ways; only the friend may connect, on every port; no egress is allowed. */
export const FRIENDS_ONLY = policy(
  "friends-only",
  "server",
  "  policyTypes: [Ingress, Egress]\n  ingress: [{ from: [{ podSelector: { matchLabels: { role: friend } } }] }]",
);

/** The server is isolated for ingress alone: what gets to it is answered. */
export const FRIENDS_IN = policy(
  "friends-only",
  "server",
  "  policyTypes: [Ingress]\n  ingress: [{ from: [{ podSelector: { matchLabels: { role: friend } } }] }]",
);

/** The same name, with no peer allowed. */
export const NOBODY = policy("friends-only", "server", "  policyTypes: [Ingress, Egress]");

/** The same name, with a second peer beside the friend. */
export const FRIENDS_AND_BLOCK = policy(
  "friends-only",
  "server",
  "  policyTypes: [Ingress, Egress]\n" +
    "  ingress: [{ from: [{ podSelector: { matchLabels: { role: friend } } }, { ipBlock: { cidr: 198.51.100.0/24 } }] }]",
);

/** About another pod. */
export const BYSTANDER_DENY = policy("bystander-deny", "bystander", "  policyTypes: [Ingress]");

export const BYSTANDER_DENY_EGRESS = policy("bystander-deny", "bystander", "  policyTypes: [Egress]");

export const FRIEND_DENY = policy("friend-deny", "friend", "  policyTypes: [Ingress, Egress]");

/** What must hold with FRIENDS_ONLY enforced. */
export const FRIENDS_ONLY_HOLDS = `
  shop/friend    -> shop/server tcp/80 tcp/81 udp/80 icmp : 46
  shop/stranger  -> shop/server tcp/80 udp/80 icmp : --
  shop/server    -> shop/friend tcp/80 udp/80 icmp : --
  shop/server    -> shop/bystander tcp/80 udp/80 icmp : --
  shop/stranger  -> shop/friend tcp/80 udp/80 icmp : 46
  node           -> shop/server tcp/80 udp/80 icmp : 46`;

/** And without any enforcement. */
export const EVERYTHING_OPEN = `
  shop/friend    -> shop/server tcp/80 udp/80 icmp : 46
  shop/stranger  -> shop/server tcp/80 udp/80 icmp : 46
  shop/server    -> shop/friend tcp/80 udp/80 icmp : 46
  shop/server    -> shop/bystander tcp/80 udp/80 icmp : 46`;

/**
 * One datagram or one SYN, and time for one answer. An answer takes well under a millisecond and a dropped SYN is sent
 * again only after a second, so nothing that was dropped can look as if it had passed.
 */
export const single = (kind: "tcp" | "udp", address: string, timeoutMs: number): Probe => ({
  kind,
  address,
  port: 80,
  timeoutMs,
  once: true,
});
