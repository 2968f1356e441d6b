// weir drops, weir top and weir monitor --since, against an agent's socket with a history.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sinceOf } from "../../../../src/cli/history-client.ts";
import type { HistoryBlock, HistoryRow } from "../../../../src/history/history-block.ts";
import { historyRoutes } from "../../../../src/history/history-routes.ts";
import { viewsWith } from "../views.ts";
import { type CommandWorld, openCommandWorld } from "../world.ts";

const NOW = new Date("2026-11-30T02:00:00Z");
const MINUTE = 60_000;

let world: CommandWorld;

beforeEach(async () => {
  world = openCommandWorld({ now: () => NOW });
  await world.serve(viewsWith(), [
    { method: "GET", path: "log-level", answer: () => ({ level: "info" }) },
    ...historyRoutes(
      () =>
        Promise.resolve({
          store: {
            heads: () => BLOCKS.map(({ rows: _, ...head }) => ({ ...head, length: 1 })),
            rows: ({ sequence }) => Promise.resolve(BLOCKS.find((each) => each.sequence === sequence)?.rows),
            damaged: () => 7,
            lost: () => 0,
          },
          current: block(9, 59, []),
        }),
      () => NOW,
    ),
  ]);
});
afterEach(() => world.close());

const row = (peer: string, packets: number, more: Partial<HistoryRow> = {}): HistoryRow => ({
  pod: "shop/web",
  direction: "ingress",
  reason: "denied",
  peer,
  port: peer === "" ? "" : "TCP/80",
  policies: ["shop/p", "shop/q"],
  packets,
  bytes: packets * 60,
  ...more,
});

/** `at`: minutes after 01:00. */
const block = (sequence: number, at: number, rows: readonly HistoryRow[], away = false): HistoryBlock => ({
  sequence,
  from: NOW.getTime() - (60 - at) * MINUTE,
  to: NOW.getTime() - (59 - at) * MINUTE,
  away,
  rows,
});

const BLOCKS = [
  block(1, 30, [row("shop/client", 3), row("", 4)]),
  block(2, 40, [row("shop/client", 5), row("", 100, { reason: "established", policies: [] })], true),
];

describe("drops", () => {
  it("shows rows, largest first, and what the range lacks", async () => {
    expect(await world.weir("drops")).toEqual({
      exitCode: 0,
      stdout: [
        "POD        DIRECTION   REASON   PEER          PORT     POLICY      PACKETS   BYTES",
        "shop/web   ingress     denied   shop/client   TCP/80   shop/p +1         8     480",
        "shop/web   ingress     denied   (others)      -        shop/p +1         4     240",
        "",
      ].join("\n"),
      stderr: [
        "weir: the history begins at 2026-11-30T01:30:00Z",
        "weir: nothing was recorded 2026-11-30T01:31:00Z to 2026-11-30T01:40:00Z, 2026-11-30T01:41:00Z to 2026-11-30T01:59:00Z",
        "weir: no agent ran in a part of 2026-11-30T01:40:00Z to 2026-11-30T01:41:00Z: packets are counted, without peers",
        "weir: 7 bytes of the history are damaged: minutes are missing",
        "",
      ].join("\n"),
    });
  });

  it("filters and adds up", async () => {
    const shown = async (...args: readonly string[]) =>
      (await world.weir("drops", "--no-headers", ...args)).stdout.split("\n").map((line) => line.split(/ +/));
    expect(await shown("--by", "pod", "--since", "25m")).toEqual([["shop/web", "5", "300"], [""]]);
    expect(await shown("--by", "policy")).toEqual([["shop/p", "12", "720"], ["shop/q", "12", "720"], [""]]);
    expect(await shown("--by", "peer", "--until", "25m")).toEqual([
      ["(others)", "4", "240"],
      ["shop/client", "3", "180"],
      [""],
    ]);
    expect((await shown("-o", "wide"))[0]?.[5]).toBe("shop/p,shop/q");
    const { total } = JSON.parse((await world.weir("drops", "-o", "json")).stdout) as { total: object };
    expect(total).toEqual({ packets: 12, bytes: 720 });
  });

  it("refuses what is wrong, and names what does not exist", async () => {
    const exit = async (...args: readonly string[]) => (await world.weir(...args)).exitCode;
    expect(await exit("drops", "--since", "soon")).toBe(2);
    expect(await exit("drops", "--by", "port")).toBe(2);
    expect(await exit("drops", "--since", "5m", "--until", "10m")).toBe(2);
    expect(await exit("top", "--limit", "0")).toBe(2);
    expect(await exit("drops", "--reason", "rain")).toBe(2);
    expect(await exit("monitor", "--since", "1h", "--reason", "rain")).toBe(2);
    expect(await exit("monitor", "-f", "--since", "1h")).toBe(2);
    expect(await exit("monitor", "--since", "1h", "--pod", "shop/none")).toBe(4);
    expect(await exit("monitor", "--since", "1h", "--policy", "shop/none")).toBe(4);
    expect(await exit("drops", "-A", "-n", "shop")).toBe(2);
    expect(await world.weir("drops", "--pod", "shop/none")).toMatchObject({
      exitCode: 4,
      stderr: "weir: no pod shop/none on this node, nor in the history of this time\n",
    });
    await world.close();
    expect(await world.weir("drops")).toMatchObject({ exitCode: 1, stdout: "" });
  });
});

it("top shows what passed, and what was dropped apart", async () => {
  expect((await world.weir("top", "--since", "1h")).stdout).toBe(
    [
      "POD        BYTES IN   BYTES OUT   PACKETS IN   PACKETS OUT   CONNECTIONS   DROPPED",
      "shop/web       6000           0          100             0             0        12",
      "",
    ].join("\n"),
  );
});

it("monitor --since shows minutes, oldest first, and what passed on request", async () => {
  const lines = async (...args: readonly string[]) =>
    (await world.weir("monitor", "--since", "1h", ...args)).stdout.split("\n");
  expect(await lines()).toEqual([
    "2026-11-30T01:30Z denied ingress shop/web <- shop/client TCP/80: 3 packets, 180 B (shop/p, shop/q)",
    "2026-11-30T01:30Z denied ingress shop/web <- (others): 4 packets, 240 B (shop/p, shop/q)",
    "2026-11-30T01:40Z denied ingress shop/web <- shop/client TCP/80: 5 packets, 300 B (shop/p, shop/q)",
    "",
  ]);
  expect((await lines("--flows")).length).toBe(5);
});

it("times are durations or ISO 8601, and nothing else", () => {
  expect(sinceOf("1h30m")).toEqual({ ms: 5_400_000 });
  expect(sinceOf("2026-11-30T01:00:00Z")).toEqual({ at: new Date("2026-11-30T01:00:00Z") });
  for (const text of ["", "h", "1", "-1h", "1 h", "yesterday", "2026-13-40", "1e3s"])
    expect(sinceOf(text)).toBeUndefined();
});
