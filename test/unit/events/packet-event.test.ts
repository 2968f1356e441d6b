// Events as they are shown, filtered, remembered and written to files.

import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type EventFilter,
  type EventView,
  endMatch,
  eventMatches,
  whyText,
} from "../../../src/events/packet-event.ts";
import { openEventFile, openEventHub, REMEMBERED_MAX } from "../../../src/events/packet-event-hub.ts";
import { eventLine, wideEventLine } from "../../../src/events/packet-event-line.ts";
import { DENIED, SPOOFED, withText } from "./sample-events.ts";

describe("the sentence", () => {
  const why = (change: Partial<EventView>): string => whyText({ ...DENIED, ...change });

  it.each([
    [{}, "ingress of shop/web is isolated by shop/deny, shop/web, nothing allows TCP/80 from shop/client"],
    [
      { reason: "revoked" },
      "ingress of shop/web is isolated by shop/deny, shop/web, nothing allows TCP/80 from shop/client any more",
    ],
    [
      { reason: "policy", policies: ["shop/web"] },
      "ingress of shop/web is isolated by shop/web, which allows TCP/80 from shop/client",
    ],
    [
      { reason: "policy", allowedBy: ["shop/web"] },
      "ingress of shop/web is isolated by shop/deny, shop/web; shop/web allows TCP/80 from shop/client",
    ],
    [
      // An answer of a flow that the pod opened: the port that it requested is the other side's.
      { opener: "egress", from: { address: "10.0.0.9", port: 53 }, to: DENIED.to, protocol: "UDP" },
      "egress of shop/web is isolated by shop/deny, shop/web, nothing allows UDP/53 to 10.0.0.9",
    ],
    [
      { reason: "untracked" },
      "ingress of shop/web is isolated by shop/deny, shop/web, nothing allows TCP/80 from shop/client, and the segment belongs to no known flow",
    ],
    [
      { reason: "unknown", endpoint: undefined, policies: [] },
      "interface veth7: the interface has no entry in the endpoint table",
    ],
  ] as const)("%j", (change, text) => {
    const { endpoint, ...rest } = { ...DENIED, ...change };
    expect(whyText(endpoint === undefined ? rest : { ...rest, endpoint })).toBe(text);
  });

  it("exists for every reason to drop", () => {
    for (const reason of ["fragment", "malformed", "unsupported"])
      expect(why({ reason })).toMatch(/^ingress of shop\/web is isolated by shop\/deny, shop\/web, and /);
    // Policies do not decide these.
    for (const reason of ["router", "limited"]) expect(why({ reason })).toMatch(/^shop\/web: from the pod, /);
    expect(whyText(SPOOFED)).toBe("10.0.0.77 is not an address of shop/web");
    expect(why({ reason: "incomplete", policies: [] })).toBe(
      "shop/web: a map lacks an entry that the agent should have written",
    );
  });
});

describe("the line", () => {
  it("has date, time, zone, verdict, both ends and the policies", () => {
    expect(eventLine(withText(DENIED), 120)).toBe(
      "2025-06-01T12:00:00.123Z dropped denied ingress shop/client:40000 -> shop/web:80 TCP by shop/deny,shop/web",
    );
    expect(eventLine(withText(SPOOFED), 120)).toBe(
      "2025-06-01T12:00:00.123Z dropped spoofed egress 10.0.0.77 -> 10.0.0.9 ICMP type 8 code 0 at shop/web",
    );
    const allowed = { ...DENIED, reason: "policy", verdict: "passed", allowedBy: ["shop/web"] } as const;
    expect(eventLine(withText(allowed), 120)).toMatch(/ by shop\/web$/);
    const by = { policy: "guard", tier: "Admin", priority: 7, action: "Deny", rule: "ingress[1]" } as const;
    const text = "guard (Admin, priority 7) ingress[1]";
    expect(eventLine(withText({ ...DENIED, decidedBy: { ...by, text } }), 120)).toMatch(
      / TCP by guard \(Admin, priority 7\)$/,
    );
  });

  it("is as wide as it may be, with names cut in the middle and ports whole", () => {
    const name = (start: string, end: string): string => `${start}/${"x".repeat(60)}-${end}`;
    const from = { address: "10.0.0.2", port: 40_000, pod: name("shop", "client") };
    const to = { address: "10.0.0.1", port: 80, pod: name("data", "web") };
    const event = withText({ ...DENIED, from, to, endpoint: to.pod, policies: [name("data", "deny")] });
    for (const width of [110, 120, 200]) {
      const line = eventLine(event, width);
      expect(line.length).toBeLessThanOrEqual(width);
      expect(line.length).toBeGreaterThan(width - 4);
      expect(line).toMatch(/ shop\/x+…[x-]*client:40000 -> data\/x+…x*-web:80 TCP by data[/x]*…x*-deny$/);
    }
    expect(eventLine(event, 500)).not.toContain("…");
    expect(eventLine(event, 1)).toMatch(/ shop\/x…\S+:40000 -> /);
  });

  it("passes only the verdict to the function that colours it", () => {
    const emphasis = (verdict: string, text: string): string => `<${verdict}:${text}>`;
    for (const line of [
      eventLine(withText(DENIED), 120, emphasis),
      wideEventLine(withText(DENIED), emphasis),
    ])
      expect(line).toMatch(/^2025-06-01T12:00:00\.123Z <dropped:dropped> denied ingress /);
  });

  it("has everything if it is wide", () => {
    expect(wideEventLine(withText(DENIED))).toBe(
      "2025-06-01T12:00:00.123Z dropped denied ingress shop/client (10.0.0.2:40000) -> shop/web (10.0.0.1:80) TCP 74 B: " +
        "ingress of shop/web is isolated by shop/deny, shop/web, nothing allows TCP/80 from shop/client",
    );
    expect(wideEventLine(withText(SPOOFED))).toBe(
      "2025-06-01T12:00:00.123Z dropped spoofed egress 10.0.0.77 -> 10.0.0.9 ICMP type 8 code 0 98 B: 10.0.0.77 is not an address of shop/web",
    );
  });

  it("is one line, whatever names hold", () => {
    expect(wideEventLine({ ...withText(DENIED), text: "a\nb\u001b[2J" })).toMatch(
      /: a\\u\{a\}b\\u\{1b\}\[2J$/,
    );
    const from = { address: "10.0.0.2", pod: "a\nb/c" };
    expect(eventLine(withText({ ...DENIED, from }), 120)).toContain(" a\\u{a}b/c -> ");
  });

  it("separates IPv6 addresses from ports", () => {
    for (const lineOf of [wideEventLine, (event: EventView) => eventLine(event, 120)]) {
      const from = { address: "fd00::2", port: 40_000 };
      expect(lineOf(withText({ ...DENIED, from }))).toContain(" [fd00::2]:40000 -> ");
      expect(lineOf(withText({ ...DENIED, from: { address: "fd00::2" } }))).toContain(" fd00::2 -> ");
      expect(lineOf(withText({ ...DENIED, from: {} }))).toContain(" ? -> ");
    }
  });
});

describe("a filter", () => {
  const event = withText(DENIED);
  const match = (text: string) => endMatch(text) ?? expect.fail(`${text} is no end`);

  it.each<[EventFilter, boolean]>([
    [{}, true],
    [{ verdict: "dropped" }, true],
    [{ verdict: "passed" }, false],
    [{ reason: "denied" }, true],
    [{ reason: "spoofed" }, false],
    [{ pod: "shop/web" }, true],
    [{ pod: "shop/client" }, true],
    [{ pod: "shop/other" }, false],
    [{ port: 80 }, true],
    [{ port: 40_000 }, true],
    [{ port: 81 }, false],
    [{ from: match("shop/client") }, true],
    [{ from: match("shop/") }, true],
    [{ from: match("shop/web") }, false],
    [{ from: match("sho/") }, false],
    [{ from: match("10.0.0.2") }, true],
    [{ from: match("10.0.0.0/24") }, true],
    [{ from: match("10.0.1.0/24") }, false],
    [{ from: match("fd00::/8") }, false],
    [{ to: match("10.0.0.1") }, true],
    [{ to: match("10.0.0.2") }, false],
    [{ to: match("10.0.0.1"), port: 81 }, false],
  ])("%j: %s", (filter, matches) => {
    expect(eventMatches(event, filter)).toBe(matches);
  });

  it.each(["", "shop", "a/b/c", "10.0.0.300", "/web"])("is not made of %j", (text) => {
    expect(endMatch(text)).toBeUndefined();
  });
});

describe("the hub", () => {
  const numbered = (bytes: number): EventView => ({ ...withText(DENIED), bytes });

  it("remembers the latest, in order", () => {
    const hub = openEventHub(undefined, () => undefined);
    for (let at = 0; at < REMEMBERED_MAX + 5; at++) hub.publish([numbered(at)]);
    expect(hub.last(3).map(({ bytes }) => bytes)).toEqual([1, 2, 3].map((at) => REMEMBERED_MAX + 1 + at));
    expect(hub.last(REMEMBERED_MAX + 1)).toHaveLength(REMEMBERED_MAX);
    expect(hub.last(0)).toEqual([]);
  });

  it("sends followers each, until they leave", () => {
    const hub = openEventHub(undefined, () => undefined);
    const lines: string[] = [];
    const end = hub.follow((line) => lines.push(line));
    hub.publish([numbered(1), numbered(2)]);
    end();
    hub.publish([numbered(3)]);
    expect(lines.map((line) => (JSON.parse(line) as EventView).bytes)).toEqual([1, 2]);
    expect(hub.followers()).toBe(0);
  });

  it("counts what its file cannot hold, and logs that once", () => {
    const errors: unknown[] = [];
    let broken = true;
    const file = {
      append() {
        if (broken) throw new Error("no space");
      },
    };
    const hub = openEventHub(file, (error) => errors.push(error));
    hub.publish([numbered(1), numbered(2)]);
    hub.publish([numbered(3)]);
    expect([hub.lost(), errors.length]).toEqual([3, 1]);
    broken = false;
    hub.publish([numbered(4)]);
    broken = true;
    hub.publish([numbered(5)]);
    expect([hub.lost(), errors.length]).toEqual([4, 2]);
  });
});

describe("the file", () => {
  let directory = "";
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "wt-events-"));
  });
  afterEach(() => rmSync(directory, { recursive: true }));
  const path = (suffix = ""): string => join(directory, `events.json${suffix}`);
  const textOf = (suffix = ""): string => readFileSync(path(suffix), "utf8");

  it("is for its owner alone, and goes on where it was", () => {
    writeFileSync(path(), "old\n", { mode: 0o600 });
    openEventFile({ path: path(), bytesMax: 100, files: 2 }).append(["new\n"]);
    expect(textOf()).toBe("old\nnew\n");
    rmSync(path());
    openEventFile({ path: path(), bytesMax: 100, files: 2 }).append(["new\n"]);
    expect(statSync(path()).mode & 0o777).toBe(0o600);
  });

  it("rotates by size, and keeps a limited number", () => {
    const file = openEventFile({ path: path(), bytesMax: 8, files: 3 });
    for (const line of ["one\n", "two\n", "three\n", "four\n", "five\n", "six\n"]) file.append([line]);
    expect([textOf(), textOf(".1"), textOf(".2")]).toEqual(["six\n", "five\n", "four\n"]);
    expect(existsSync(path(".3"))).toBe(false);
  });

  it("keeps only itself if the limit is one file, and a line that is too long for any", () => {
    const file = openEventFile({ path: path(), bytesMax: 4, files: 1 });
    file.append(["one\n"]);
    file.append(["much too long\n"]);
    expect(textOf()).toBe("much too long\n");
    expect(existsSync(path(".1"))).toBe(false);
  });
});
