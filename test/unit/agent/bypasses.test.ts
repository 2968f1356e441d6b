// Emergency bypasses end: by their time, whatever the clock says, and whatever the disk does; and are shown until they have.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Bypasses, openBypasses } from "../../../src/agent/bypasses.ts";
import type { ClusterSnapshot } from "../../../src/model/cluster-snapshot.ts";
import { cluster } from "../../support/model.ts";

const START = Date.parse("2026-11-30T12:00:00Z");
const SNAPSHOT: ClusterSnapshot = { cluster: cluster({}), readable: true, problems: [] };

let directory: string;
let path: string;
/** How far the machine's clock was set, beside the time that passes. */
let setBy = 0;

const now = (): Date => new Date(Date.now() + setBy);
const logged: string[] = [];
const log = { warn: (text: string) => logged.push(text) } as unknown as Parameters<
  typeof openBypasses
>[1]["log"];
const opened: Bypasses[] = [];

function open(): Bypasses {
  const bypasses = openBypasses(path, { log, now });
  opened.push(bypasses);
  return bypasses;
}

async function begin(bypasses: Bypasses, target: string, seconds: number): Promise<void> {
  const route = routesOf(bypasses).find((each) => each.path === "bypass");
  await route?.answer(new URLSearchParams(), JSON.stringify({ target, seconds, reason: "test" }));
}

async function end(bypasses: Bypasses): Promise<void> {
  const route = routesOf(bypasses).find((each) => each.path === "bypass-end");
  await route?.answer(new URLSearchParams(), "");
}

const routesOf = (bypasses: Bypasses) =>
  bypasses.routes({ isHere: () => true, applied: () => Promise.resolve() });
const targets = (bypasses: Bypasses): readonly string[] => bypasses.views().map(({ target }) => target);
const isAudited = (bypasses: Bypasses): boolean => {
  const { mode, bypassed } = bypasses.applied(SNAPSHOT).cluster;
  return mode === "audit" || bypassed !== undefined;
};

beforeEach(() => {
  vi.useFakeTimers({ now: START, toFake: ["Date", "performance", "setTimeout", "clearTimeout"] });
  directory = mkdtempSync(join(tmpdir(), "wt-bypasses-"));
  path = join(directory, "bypasses.json");
  setBy = 0;
  logged.length = 0;
});
afterEach(() => {
  for (const each of opened.splice(0)) each.close();
  vi.useRealTimers();
  rmSync(directory, { recursive: true, force: true });
});

describe.each(["node", "shop/web"])("a bypass of %s", (target) => {
  it("is shown until the kernel has the policies again", async () => {
    const bypasses = open();
    await begin(bypasses, target, 60);
    expect(isAudited(bypasses)).toBe(true);
    bypasses.settled();
    expect(targets(bypasses)).toEqual([target]);
    vi.advanceTimersByTime(60_000);
    // Over; nothing is compiled while the cluster cannot be read.
    expect(targets(bypasses)).toEqual([target]);
    expect(isAudited(bypasses)).toBe(false);
    bypasses.settled();
    expect(targets(bypasses)).toEqual([]);
    expect(logged.at(-1)).toBe("bypass ended: policies are enforced again");
  });

  it("that is over is shown by the next agents, too", async () => {
    await begin(open(), target, 60);
    vi.advanceTimersByTime(60_000);
    for (let agent = 0; agent < 2; agent += 1) expect(targets(open())).toEqual([target]);
    const last = open();
    expect(isAudited(last)).toBe(false);
    last.settled();
    expect(targets(open())).toEqual([]);
  });

  it("is not prolonged by a clock that is set back", async () => {
    const bypasses = open();
    await begin(bypasses, target, 60);
    setBy = -3_600_000;
    vi.advanceTimersByTime(60_000);
    expect(isAudited(bypasses)).toBe(false);
  });

  it("ends early by a clock that is set forward", async () => {
    const bypasses = open();
    await begin(bypasses, target, 3_600);
    setBy = 3_600_000;
    vi.advanceTimersByTime(10_000);
    expect(isAudited(bypasses)).toBe(false);
  });

  it("ends on request without space on the disk", async () => {
    const bypasses = open();
    await begin(bypasses, target, 60);
    // Where the new content would go: nothing can be written there.
    mkdirSync(`${path}.new`);
    await end(bypasses);
    expect(isAudited(bypasses)).toBe(false);
    expect(isAudited(open())).toBe(false);
  });

  it("is not that of another boot", async () => {
    await begin(open(), target, 60);
    const kept = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(path, JSON.stringify({ ...kept, boot: "another" }));
    const next = open();
    expect([targets(next), isAudited(next)]).toEqual([[], false]);
  });

  it("begins again under its name, and then lasts", async () => {
    const bypasses = open();
    await begin(bypasses, target, 60);
    await begin(bypasses, target, 600);
    vi.advanceTimersByTime(60_000);
    expect(isAudited(bypasses)).toBe(true);
    expect(targets(bypasses)).toEqual([target]);
  });
});
