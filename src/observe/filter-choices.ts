// The values that filters of commands take. A module of its own, so that a command's options load little.

// What becomes of a packet that an event tells of.

export const EVENT_VERDICTS = ["dropped", "passed", "audit"] as const;

export type EventVerdict = (typeof EVENT_VERDICTS)[number];

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
