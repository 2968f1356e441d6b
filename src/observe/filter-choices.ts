// The values of the filters of commands. A module of its own, so that a command's options load little.

export const EVENT_VERDICTS = ["dropped", "passed", "audit"] as const;

export type EventVerdict = (typeof EVENT_VERDICTS)[number];

// The states by which flows of conntrack can be filtered.

/** States to filter by, besides the flags of a flow ("replied", …). */
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
