// Requested resyncs: which reconciliation answers which request, and the answer if it fails or never comes.
import { expect, it } from "vitest";
import { type Outcome, openResyncs } from "../../../src/agent/resync-requests.ts";

const outcome = (change: Partial<Outcome> = {}): Outcome => ({
  applied: 3,
  problems: [],
  repaired: [],
  ...change,
});

it("all waiting requests are answered by the next reconciliation, and none by an earlier one", async () => {
  const resyncs = openResyncs();
  const early = resyncs.request();
  let rings = 0;
  resyncs.onRequest(() => {
    rings += 1;
  });
  expect(rings).toBe(1);
  const taken = resyncs.take();
  const late = resyncs.request();
  expect({ rings, taken: taken.length }).toEqual({ rings: 2, taken: 1 });
  for (const answer of taken) answer(outcome(), true);
  expect(await early).toEqual({ generation: 3, repaired: [] });
  for (const answer of resyncs.take()) answer(outcome({ applied: 4 }), true);
  expect(await late).toEqual({ generation: 4, repaired: [] });
});

it("a failed reconciliation reports why", async () => {
  const resyncs = openResyncs();
  const asked = resyncs.request();
  const problems = [{ severity: "error", reason: "no room", effect: "the state before stays" }] as const;
  for (const answer of resyncs.take()) answer(outcome({ problems }), false);
  await expect(asked).rejects.toThrow("no room; the state before stays");
});

it("an agent that ends answers all waiting requests", async () => {
  const resyncs = openResyncs();
  const taken = resyncs.request();
  resyncs.take();
  const untaken = resyncs.request();
  resyncs.end("the agent is ending");
  await expect(taken).rejects.toThrow("the agent is ending");
  await expect(untaken).rejects.toThrow("the agent is ending");
});
