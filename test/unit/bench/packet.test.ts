// bench/packet without a kernel: the table of rows, the results of passes, the output formats, and wrong usage.
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { median, midmean } from "../../../bench/common/median.ts";
import { randomFrom } from "../../../bench/common/random.ts";
import { rowsOf } from "../../../bench/packet/command.ts";
import { countIn } from "../../../bench/packet/meter.ts";
import { anyPeers, newFlows, PEERS_MAX, peersOfFlows } from "../../../bench/packet/peers.ts";
import { comparisonText, type Measured, reportText } from "../../../bench/packet/report.ts";
import { comparedOf, figuresOf } from "../../../bench/packet/rounds.ts";
import type { Row } from "../../../bench/packet/row.ts";
import { ROWS } from "../../../bench/packet/rows.ts";
import { factsOf } from "../../../bench/packet/worlds.ts";
import { addressOf, cidrContains } from "../../../src/base/ip.ts";
import { ROOT } from "../cli/world.ts";

/** Names that others read. */
const PROMISED = [
  ...["floor", "established-v4-hot", "established-v4-reply-hot", "established-v6-hot", "established-v4-16k"],
  ...["established-v4-128k", "new-v4-filling", "new-v4-evicting", "classify-v4-10", "classify-v4-10000"],
  ...[
    "denied-v4-hot",
    "denied-xdp-hot",
    "denied-v4-random-1k",
    "denied-v4-random-10k",
    "denied-v4-random-100k",
  ],
  "not-isolated-v4",
];

const rowById = (id: string): Row => {
  const row = ROWS.find((each) => each.id === id);
  if (row === undefined) throw new Error(`no row ${id}`);
  return row;
};

const bench = (...args: readonly string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["bench/main.ts", ...args], {
    cwd: ROOT,
    encoding: "utf8",
  });
  return { status, stdout, stderr };
};

describe("the rows", () => {
  it("have the promised names, each one once", () => {
    const ids = ROWS.map(({ id }) => id);
    expect(ids).toEqual(expect.arrayContaining(PROMISED));
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("are compared with a row that comes before them: XDP against XDP, drivers against drivers", () => {
    for (const [at, row] of ROWS.entries()) {
      if (row.kind === "floor") continue;
      const floor = rowById(row.floor);
      expect(ROWS.indexOf(floor), row.id).toBeLessThan(at);
      if (floor.kind === "program") continue;
      // Cold drivers send every other packet to the empty program, and their floors drive nothing.
      const drives = row.from === "one" || row.cold !== undefined ? undefined : row.family;
      expect([floor.hook, floor.drives, floor.cold], row.id).toEqual([row.hook, drives, row.cold]);
    }
  });

  it("are chosen by name, with the floors that they need, in the table's order", () => {
    const ids = (text: string) => rowsOf(text).map(({ id }) => id);
    expect(ids("denied-xdp-hot,established-v4-hot")).toEqual([
      "floor",
      "floor-xdp",
      "established-v4-hot",
      "denied-xdp-hot",
    ]);
    expect(ids("classify-v4-10")).toEqual(["floor", "not-isolated-v4", "classify-v4-10"]);
    expect(ids("denied-v4-random-*")).toHaveLength(4);
    expect(() => rowsOf("floor,nobody")).toThrow('No row "nobody"; see --help.');
  });
});

describe("peers", () => {
  const random = () => randomFrom(7);
  const flowsOf = (bytes: Uint8Array, size: number) =>
    Array.from({ length: bytes.length / size }, (_, at) =>
      Buffer.from(bytes.subarray(at * size, (at + 1) * size)).toString("hex"),
    );

  it("of established flows repeat, and are no more than there are", () => {
    const { bytes, stride } = peersOfFlows(4, 1_000, random(), () => random().bits(32));
    expect(new Set(flowsOf(bytes, 8)).size).toBe(1_000);
    expect(stride).toBe(0);
  });

  it.each([4, 6] as const)("of new flows differ, also from those of the next pass (IPv%i)", (family) => {
    const addresses = [1n, 2n, 1n << 31n];
    const { bytes, stride, count } = newFlows(family, addresses, random());
    const size = family === 4 ? 8 : 24;
    const portAt = family === 4 ? 4 : 16;
    const view = Buffer.from(bytes);
    const flows = new Set<string>();
    for (let at = 0; at < count; at += 1) {
      const address = view.toString("hex", at * size, at * size + portAt);
      const port = view.readUInt32LE(at * size + portAt);
      flows.add(`${address} ${port}`).add(`${address} ${port + stride}`);
    }
    expect(flows.size).toBe(2 * PEERS_MAX);
  });

  it("are the same in every run", () => {
    expect(Buffer.compare(anyPeers(4, random()).bytes, anyPeers(4, random()).bytes)).toBe(0);
  });
});

describe("worlds", () => {
  it("have as many distinct prefixes as they are named for, and they do not hold the unknown peer", () => {
    const { cidrs } = factsOf("cidrs-1k");
    expect(cidrs[4]).toHaveLength(1_000);
    expect(new Set(cidrs[6].map(({ text }) => text)).size).toBe(1_000);
    const unknown = addressOf(4, 0xcb00_7101n);
    for (const world of ["cidrs-10", "cidrs-1k"] as const)
      expect(factsOf(world).cidrs[4].filter((cidr) => cidrContains(cidr, unknown))).toEqual([]);
  });

  it("have as many rules as they are named for, each for one pod", () => {
    const { cluster, peers } = factsOf("rules-1k");
    expect(cluster.policies.get("bench/isolated")?.rules.ingress).toHaveLength(1_000);
    expect(new Set(peers[4]).size).toBe(1_000);
  });
});

const machine = { machine: "a machine", kernel: "6.18" };

describe("figures", () => {
  it("are medians, and the floor of the same pass is subtracted in each", () => {
    const row = rowById("not-isolated-v4");
    const rounds = [
      new Map([
        ["floor", 10],
        [row.id, 15],
      ]),
      new Map([
        ["floor", 20],
        [row.id, 24],
      ]),
      new Map([
        ["floor", 12],
        [row.id, 30],
      ]),
    ];
    expect(figuresOf(row, rounds)).toEqual({ ns: 24, aboveFloorNs: 5, minNs: 15, maxNs: 30, ratio: 2 });
    expect(median([1, 2, 3, 10])).toBe(2.5);
  });

  it("of two revisions are what each is above its own floor, median and least", () => {
    const row = rowById("not-isolated-v4");
    const rounds = (...pairs: readonly [number, number][]) =>
      pairs.map(([floor, ns]) => new Map([["floor", floor]]).set(row.id, ns));
    const compared = comparedOf(row, rounds([10, 15], [20, 24], [12, 30]), rounds([10, 20], [11, 21]));
    expect(compared).toEqual({ row, today: { median: 5, min: 5 }, baseline: { median: 10, min: 10 } });
    const alone = comparedOf(
      rowById("denied-v4-hot"),
      [
        new Map([
          ["floor", 1],
          ["denied-v4-hot", 4],
        ]),
      ],
      undefined,
    );
    const comparison = { baseline: "HEAD~1", rows: [compared, alone] };
    expect(JSON.parse(comparisonText("json", machine, comparison))).toEqual({
      ...machine,
      baseline: "HEAD~1",
      rows: [
        {
          id: "not-isolated-v4",
          floor: "floor",
          above_floor_ns: 5,
          min_above_floor_ns: 5,
          baseline_above_floor_ns: 10,
          baseline_min_above_floor_ns: 10,
          ratio: 0.5,
          ratio_of_minima: 0.5,
        },
        expect.objectContaining({ baseline_above_floor_ns: null, ratio: null, ratio_of_minima: null }),
      ],
    });
    const [titles, first, second] = comparisonText("table", machine, comparison).split("\n");
    expect(titles).toMatch(/^ROW +NS ABOVE FLOOR +HEAD~1 +RATIO +MIN +HEAD~1 +RATIO +WHAT$/);
    expect(first).toMatch(/^not-isolated-v4 +5\.0 +10\.0 +0\.50 +5\.0 +10\.0 +0\.50 +to a pod/);
    expect(second).toMatch(/^denied-v4-hot +3\.0 +- +- +3\.0 +- +- +a SYN/);
  });

  it("of packets are the mean of the middle half", () => {
    expect(midmean([1, 2, 4, 100])).toBe(3);
    expect(midmean([5])).toBe(5);
  });

  const figures = { ns: 24.123, aboveFloorNs: 5, minNs: 15, maxNs: 30.5, ratio: 2 };
  const program = { name: "to_pod", verifiedInstructions: 1_234 };
  const measured: Measured[] = [
    { row: rowById("not-isolated-v4"), figures, program, instructions: undefined },
    { row: rowById("denied-v4-hot"), figures, program, instructions: 98.7 },
  ];
  it("are written as JSON with the promised fields", () => {
    const { rows, ...rest } = JSON.parse(reportText("json", machine, measured));
    expect(rest).toEqual(machine);
    expect(rows[0]).toEqual({
      id: "not-isolated-v4",
      ns: 24.12,
      above_floor_ns: 5,
      min_ns: 15,
      max_ns: 30.5,
      ratio: 2,
      floor: "floor",
      instructions: null,
      program: "to_pod",
      verified_instructions: 1_234,
    });
    expect(rows[1].instructions).toBe(99);
  });

  it("are written as a table, unknown ones as a dash", () => {
    const [titles, first, second, , about] = reportText("table", machine, measured).split("\n");
    expect(titles).toMatch(/^ROW +NS +ABOVE FLOOR +RATIO +MIN +MAX +INSNS +VERIFIED +FLOOR +WHAT$/);
    expect(first).toMatch(/^not-isolated-v4 +24\.1 +5\.0 +2\.00 +15\.0 +30\.5 +- +1234 +floor +to a pod/);
    expect(second).toMatch(/ 99 +1234 +floor +a SYN/);
    expect(about).toBe("a machine, Linux 6.18");
    expect(reportText("markdown", machine, measured)).toContain(
      "| `denied-v4-hot` | 24.1 | 5.0 | 2.00 | 15.0 | 30.5 | a SYN of one peer that no rule names |\n",
    );
  });

  it("of perf are numbers, or unavailable", () => {
    expect(countIn("123456,,instructions:k,1,100.00,,\n")).toBe(123_456);
    expect(countIn("35.25,msec,task-clock,1,100.00,,\n")).toBe(35.25);
    expect(countIn("<not supported>,,instructions:k,0,100.00,,\n")).toBeUndefined();
  });
});

describe("the command", () => {
  it("explains itself, with every row", () => {
    const { status, stdout } = bench("packet", "--help");
    expect(status).toBe(0);
    for (const { id, what } of ROWS) expect(stdout).toContain(`  ${id.padEnd(34)} ${what}\n`);
  });

  it.each([
    [["packet", "--rows", "x"], 'No row "x"; see --help.'],
    [["packet", "--runs", "0"], "A whole number from 1 up is expected."],
    [["packet", "--packets", "many"], "A whole number from 1 up is expected."],
    [["packet", "--baseline", "nowhere"], "build nowhere: "],
    [["packet", "-o", "xml"], "Allowed choices are table, json, markdown."],
    [["nothing"], "unknown command 'nothing'"],
  ])("refuses %j", (args, reason) => {
    const { status, stdout, stderr } = bench(...args);
    expect(stderr).toContain(reason);
    expect([status, stdout]).toEqual([1, ""]);
  });
});
