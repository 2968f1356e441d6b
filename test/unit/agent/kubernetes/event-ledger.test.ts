// When notices are due: first, again, at their end, and how many of them are remembered.

import { describe, expect, it } from "vitest";
import { type Ledger, type Outcome, openLedger } from "../../../../src/agent/kubernetes/event-ledger.ts";
import type { Notice, Reason } from "../../../../src/agent/kubernetes/event-notices.ts";
import { NOTICE_TIMING, openTokenBucket } from "../../../../src/agent/kubernetes/event-rate-limit.ts";

const { settleMs, leastMs, periodMs, retryMs } = NOTICE_TIMING;
const notice = (name: string, kind: "Pod" | "Node" | "NetworkPolicy" = "Pod", note = "wrong"): Notice => ({
  key: `${kind} ${name}`,
  reason: kind === "Node" ? "StateNotApplied" : kind === "Pod" ? "InterfaceUnknown" : "PolicyInvalid",
  subject: { kind, namespace: "shop", name },
  note,
});
const of = (...notices: readonly Notice[]) => new Map(notices.map((each) => [each.key, each]));
const A = of(notice("a"));
const NONE = of();

function told(ledger: Pick<Ledger, "begin" | "settle">, now: number, outcome: Outcome = "created") {
  const telling = ledger.begin(now);
  if (telling !== undefined) ledger.settle(outcome, "uid", now);
  return telling;
}

/** Of a node with three others before it in the order. */
function open(entriesMax = NOTICE_TIMING.entriesMax) {
  const leftOut: Reason[] = [];
  const opened = openLedger({ ...NOTICE_TIMING, entriesMax }, (reason) => leftOut.push(reason));
  const take = (notices: ReadonlyMap<string, Notice>, now: number) => opened.take(notices, now, () => 3);
  const ledger = { ...opened, take };
  return { ledger, leftOut };
}

describe("the ledger of notices", () => {
  it("emits what lasts once in a period, however often it is seen", () => {
    const { ledger } = open();
    for (let now = 0; now <= settleMs; now += 100) ledger.take(A, now);
    expect(ledger.nextAt()).toBe(settleMs);
    expect(told(ledger, settleMs - 1)).toBeUndefined();
    expect(told(ledger, settleMs)).toMatchObject({ solved: false });
    ledger.take(A, settleMs + 1);
    expect(ledger.nextAt()).toBe(settleMs + periodMs);
    expect(told(ledger, settleMs + periodMs)).toMatchObject({ solved: false });
  });

  it("emits nothing for what ends before it has settled, and does not count that as dropped", () => {
    const { ledger, leftOut } = open();
    ledger.take(A, 0);
    ledger.take(NONE, settleMs - 1);
    expect([ledger.nextAt(), ledger.size(), leftOut]).toEqual([undefined, 0, []]);
  });

  it("emits a bypass and its end at once", () => {
    const { ledger } = open();
    const bypassed = of({ ...notice("a"), reason: "PolicyBypassed" });
    ledger.take(bypassed, 0);
    expect(told(ledger, 0)).toMatchObject({ solved: false });
    ledger.take(NONE, 1);
    expect(told(ledger, leastMs)).toMatchObject({ solved: true });
  });

  it("emits the end of what it reported, and forgets it a period later", () => {
    const { ledger } = open();
    ledger.take(A, 0);
    told(ledger, settleMs);
    ledger.take(NONE, 10_000);
    expect(told(ledger, 10_000 + settleMs)).toMatchObject({ solved: true, earlier: { solved: false } });
    expect(ledger.nextAt()).toBeUndefined();
    ledger.take(NONE, 20_000 + periodMs);
    expect(ledger.size()).toBe(0);
  });

  it("emits again what was gone for a moment: it may be that of a new object", () => {
    const { ledger } = open();
    ledger.take(A, 0);
    told(ledger, settleMs);
    ledger.take(NONE, 10_000);
    ledger.take(A, 10_001);
    expect(ledger.nextAt()).toBe(settleMs + leastMs);
    expect(told(ledger, settleMs + leastMs)).toMatchObject({ solved: false, returns: 0 });
  });

  it("emits flapping problems at increasing intervals", () => {
    const { ledger } = open();
    let now = 0;
    const pauses: number[] = [];
    for (let round = 0; round < 8; round += 1) {
      ledger.take(A, now);
      const began = ledger.nextAt() ?? 0;
      pauses.push(began - now);
      told(ledger, began);
      ledger.take(NONE, began);
      now = ledger.nextAt() ?? 0;
      expect(told(ledger, now)).toMatchObject({ solved: true, returns: round });
    }
    expect(pauses.slice(0, 3)).toEqual([settleMs, leastMs, 3 * leastMs]);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(periodMs);
    expect(pauses.at(-1)).toBe(periodMs);
  });

  it("emits a policy's notice again when its note changes, but not a pod's", () => {
    const { ledger } = open();
    ledger.take(of(notice("p", "NetworkPolicy", "one"), notice("a", "Pod", "for 1 s")), 0);
    const first = settleMs + 3 * NOTICE_TIMING.turnMs;
    told(ledger, first);
    told(ledger, first);
    ledger.take(of(notice("p", "NetworkPolicy", "two"), notice("a", "Pod", "for 2 s")), first + 1);
    expect(ledger.nextAt()).toBe(first + leastMs);
    expect(told(ledger, first + leastMs)?.notice.note).toBe("two");
    expect(ledger.nextAt()).toBe(first + periodMs);
  });

  it("retries what failed a few times, and then waits for the next period", () => {
    const { ledger } = open();
    ledger.take(A, 0);
    let now = settleMs;
    for (const wait of retryMs) {
      told(ledger, now, "failed");
      expect(ledger.nextAt()).toBe(now + wait);
      now += wait;
    }
    told(ledger, now, "failed");
    expect(ledger.nextAt()).toBe(now + periodMs);
    told(ledger, now + periodMs, "refused");
    expect(ledger.nextAt()).toBe(now + 2 * periodMs);
  });

  it("emits an end that comes while the problem is being sent", () => {
    const { ledger } = open();
    ledger.take(A, 0);
    ledger.begin(settleMs);
    ledger.take(NONE, settleMs + 1);
    ledger.settle("created", "uid", settleMs + 2);
    expect(told(ledger, ledger.nextAt() ?? 0)).toMatchObject({ solved: true });

    ledger.take(of(notice("b")), 100_000);
    ledger.begin(100_000 + settleMs);
    ledger.take(NONE, 100_000 + settleMs);
    ledger.settle("refused", "", 100_000 + settleMs);
    expect(ledger.nextAt()).toBeUndefined();
  });

  it("has a limit on what it remembers, emits the node's notices all the same, and counts the others once", () => {
    const { ledger, leftOut } = open(10);
    const flood = of(...Array.from({ length: 10_000 }, (_, index) => notice(`p${index}`)));
    for (let now = 0; now < 500; now += 100) ledger.take(flood, now);
    expect([ledger.size(), leftOut.length]).toEqual([10, 9_990]);
    ledger.take(new Map([...flood, ...of(notice("n", "Node"))]), 500);
    expect(told(ledger, 500 + settleMs)?.notice.subject.kind).toBe("Node");
    // Those that were never sent.
    ledger.take(NONE, 500 + settleMs);
    expect([ledger.size(), leftOut.length]).toEqual([1, 10_000]);
  });
});

describe("the token bucket", () => {
  it("allows a burst, then one per interval", () => {
    const tokens = openTokenBucket({ burst: 3, tokenMs: 10 });
    const times: number[] = [];
    for (let now = 0; now < 100; now += 1) {
      if (tokens.readyAt(now) > now) continue;
      tokens.take(now);
      times.push(now);
      now -= 1;
    }
    expect(times).toEqual([0, 0, 0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
  });
});
