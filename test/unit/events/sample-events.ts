// Two events, as the agent would emit them.

import { type EventView, whyText } from "../../../src/events/packet-event.ts";

export const DENIED: Omit<EventView, "text"> = {
  time: "2025-06-01T12:00:00.123Z",
  verdict: "dropped",
  reason: "denied",
  direction: "ingress",
  endpoint: "shop/web",
  interface: "veth7",
  ifindex: 7,
  from: { address: "10.0.0.2", port: 40_000, pod: "shop/client" },
  to: { address: "10.0.0.1", port: 80, pod: "shop/web" },
  protocol: "TCP",
  bytes: 74,
  generation: 3,
  identity: 2,
  opener: "ingress",
  policies: ["shop/deny", "shop/web"],
};

export const SPOOFED: Omit<EventView, "text"> = {
  ...DENIED,
  reason: "spoofed",
  direction: "egress",
  from: { address: "10.0.0.77" },
  to: { address: "10.0.0.9" },
  protocol: "ICMP",
  icmp: { type: 8, code: 0 },
  bytes: 98,
  opener: "egress",
  policies: [],
};

export const withText = (event: Omit<EventView, "text">): EventView => ({ ...event, text: whyText(event) });
