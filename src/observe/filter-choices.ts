// What becomes of a packet that an event tells of.

export const EVENT_VERDICTS = ["dropped", "passed", "audit"] as const;

export type EventVerdict = (typeof EVENT_VERDICTS)[number];
