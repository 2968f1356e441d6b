// What the events of the agent keep of past states.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test, vi } from "vitest";
import { openLog } from "../../../src/base/log.ts";
import type { NamingState } from "../../../src/events/packet-event-names.ts";
import { openAgentEvents } from "../../../src/events/packet-events.ts";

test("a past state is kept for a moment only: it has all policies of its time", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const log = openLog({ level: "error", format: "text", write: () => undefined, now: () => new Date() });
  const events = openAgentEvents(undefined, log, () => undefined);
  const settle = (generation: number): WeakRef<object> => {
    // All that is read before an event comes.
    const state = { compiled: { meaning: { sides: [] } } } as unknown as NamingState;
    events.settle(generation, state);
    return new WeakRef(state);
  };
  const states = [1, 2, 3, 4].map(settle);
  const kept = (): number[] => {
    collect();
    return states.flatMap((state, index) => (state.deref() === undefined ? [] : index + 1));
  };
  await vi.waitFor(() => expect(kept()).toEqual([4]), { timeout: 30_000, interval: 200 });
  events.close();
});
