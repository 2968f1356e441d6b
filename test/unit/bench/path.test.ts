// bench/path without a kernel: how its figures are written and drawn, and what the rules of others say.
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { chartOf } from "../../../bench/path/chart.ts";
import { pathText } from "../../../bench/path/report.ts";
import {
  ipsetText,
  iptablesText,
  nftLinearText,
  nftSetsText,
  otherPrefixes,
} from "../../../bench/path/rules.ts";
import type { PathRow } from "../../../bench/path/run.ts";
import { VARIANTS } from "../../../bench/path/variants.ts";
import { ROOT } from "../cli/world.ts";

const MACHINE = { machine: "a machine", kernel: "6.18" };
const [none, , , weir] = VARIANTS;
const ROWS: readonly PathRow[] = [
  {
    kind: "udp",
    policies: 10,
    variant: none,
    figure: { perSecond: 250_400, ratio: 1, cpuNs: 4_000, cpuRatio: 1 },
  },
  {
    kind: "udp",
    policies: 10,
    variant: weir,
    figure: { perSecond: 240_600.4, ratio: 0.961, cpuNs: 4_160.4, cpuRatio: 1.041 },
  },
  { kind: "tcp", policies: 10, variant: weir, figure: { perSecond: 1.4e9, ratio: 0.934 } },
  {
    kind: "ask",
    policies: 10,
    variant: weir,
    figure: { perSecond: 20_000, ratio: 0.98, cpuNs: 50_000, cpuRatio: 1.02, p50Ns: 45_000, p99Ns: 91_200 },
  },
];

describe("the result", () => {
  it("as JSON, in plain units, without what was not measured", () => {
    expect(JSON.parse(pathText("json", MACHINE, ROWS.slice(1)))).toEqual({
      ...MACHINE,
      rows: [
        {
          kind: "udp",
          id: "tc-weir",
          policies: 10,
          per_second: 240_600,
          ratio: 0.96,
          cpu_ns: 4_160,
          cpu_ratio: 1.04,
        },
        { kind: "tcp", id: "tc-weir", policies: 10, per_second: 1_400_000_000, ratio: 0.93 },
        {
          kind: "ask",
          id: "tc-weir",
          policies: 10,
          per_second: 20_000,
          ratio: 0.98,
          cpu_ns: 50_000,
          cpu_ratio: 1.02,
          p50_ns: 45_000,
          p99_ns: 91_200,
        },
      ],
    });
  });

  it("as a table", () => {
    const lines = pathText("table", MACHINE, ROWS).split("\n");
    expect(lines[0]).toMatch(/^TRAFFIC +POLICIES +A SECOND +RATIO +CPU, NS +CPU RATIO +P50/);
    expect(lines[1]).toMatch(/^udp +10 +250\.4 k +1\.00 +4000 +1\.00 +- +- +none$/);
    expect(lines[3]).toMatch(/^tcp +10 +11\.20 Gbit +0\.93 +- +- +- +- +tc-weir$/);
    expect(lines[4]).toMatch(/^ask +10 +20\.0 k +0\.98 +50000 +1\.02 +45\.0 +91\.2 +tc-weir$/);
  });

  it("as the documentation's tables, with a number for each number of policies", () => {
    const more = ROWS.slice(1).map((row) => ({
      ...row,
      policies: 1_000,
      figure: { ...row.figure, ratio: 0.5 },
    }));
    const text = pathText("markdown", MACHINE, [...ROWS, ...more]);
    expect(text.split("\n")).toEqual([
      "Ratio to nothing on the links, of floods to a program that drops everything, with 10 / 1,000 policies:",
      "",
      "| on the host side of the links | UDP packets | TCP stream | requests |",
      "| --- | --: | --: | --: |",
      "| nothing (`none`) | 1.00 | – | – |",
      "| Weir, as it is by default (`tc-weir`) | 0.96 / 0.50 | 0.93 / 0.50 | 0.98 / 0.50 |",
      "",
      "CPU for each packet, request or connection, in ns, with 10 / 1,000 policies:",
      "",
      "| on the host side of the links | UDP packets | requests |",
      "| --- | --: | --: |",
      "| nothing (`none`) | 4,000 | – |",
      "| Weir, as it is by default (`tc-weir`) | 4,160 / 4,160 | 50,000 / 50,000 |",
      "",
      "p50–p99 of a request or a connection, in µs, with 10 / 1,000 policies:",
      "",
      "| on the host side of the links | requests |",
      "| --- | --: |",
      "| nothing (`none`) | – |",
      "| Weir, as it is by default (`tc-weir`) | 45.0–91.2 / 45.0–91.2 |",
      "",
    ]);
  });

  it("as a chart: a bar and its number for each ratio, one colour for each number of policies", () => {
    const svg = chartOf(
      JSON.parse(pathText("json", MACHINE, [...ROWS, ...ROWS.map((row) => ({ ...row, policies: 1_000 }))])),
    );
    expect(svg.match(/<rect [^>]*fill="#/g)).toHaveLength(2 + 2 * 4);
    expect(svg).toContain(">0.96</text>");
    expect(svg).toContain(">1,000 policies</text>");
    expect(svg).toContain("a machine, Linux 6.18</text>");
    expect(svg.trim().endsWith("</svg>")).toBe(true);
  });

  it("as a chart only of a file that can be read", () => {
    const { status, stderr } = spawnSync(process.execPath, ["bench/path/chart.ts", "/nowhere"], {
      cwd: ROOT,
      encoding: "utf8",
    });
    expect([status, stderr]).toEqual([1, expect.stringContaining("chart: /nowhere: ENOENT")]);
  });
});

describe("the rules of others", () => {
  const world = {
    client: { address: "10.0.0.1", link: "c" },
    server: { address: "10.0.0.2", link: "s" },
    port: 5201,
    policies: 1_000,
  };
  const count = (text: string, pattern: RegExp) => text.match(pattern)?.length ?? 0;

  it("have one prefix for each policy, all different, and the client's as the last", () => {
    expect(new Set(otherPrefixes(10_000)).size).toBe(9_999);
    expect(count(nftSetsText(world), /\/\d+ \. tcp \. 5201/g)).toBe(1_000);
    expect(count(nftLinearText(world), /^ {4}ip saddr \S+\/\d+ meta l4proto/gm)).toBe(1_000);
    expect(nftLinearText(world)).toMatch(
      /ip saddr 10\.0\.0\.1\/32 meta l4proto \{ tcp, udp \} th dport 5201 accept\n {4}drop/,
    );
  });

  it("have a set and a chain for each policy in Calico's style", () => {
    expect(count(ipsetText(world), /^create weirpath-\d+ /gm)).toBe(1_000);
    expect(count(iptablesText(world), /^-A wp-tw-server .* -j wp-pi-\d+$/gm)).toBe(1_000);
    expect(count(iptablesText(world), /^-A wp-pi-\d+ .*-j MARK/gm)).toBe(2_000);
  });
});
