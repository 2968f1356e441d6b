// When reconciliations begin: soon if there were none, and with pauses that follow their length.
import { describe, expect, it } from "vitest";
import { openDebounce } from "../../../src/agent/debounce-and-backoff.ts";

describe("the debounce of reconciliations", () => {
  it("lets the first one begin as soon as simultaneous changes can have arrived", () => {
    expect(openDebounce().wait(1_000)).toBe(5);
  });

  it("pauses for as long as the last one took, counted from its end", () => {
    const pace = openDebounce();
    pace.ended(1_000, 1_080);
    expect(pace.wait(1_080)).toBe(80);
    expect(pace.wait(1_120)).toBe(40);
    expect(pace.wait(1_158)).toBe(5);
    expect(pace.wait(9_000)).toBe(5);
  });

  it("never pauses for longer than a quarter of a second", () => {
    const pace = openDebounce();
    pace.ended(0, 60_000);
    expect(pace.wait(60_000)).toBe(250);
  });
});
