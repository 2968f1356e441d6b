// The states that flows of conntrack may be asked for.

/** States that a flow may be asked for, besides the flags that it carries ("replied", …). */
export const FLOW_STATES = [
  "new",
  "replied",
  "confirmed",
  "fin-opener",
  "fin-other",
  "node",
  "expired",
  "stale",
] as const;

export type FlowStateName = (typeof FLOW_STATES)[number];
