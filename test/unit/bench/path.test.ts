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
const ROWS: readonly PathRow[] = [
  { policies: 10, variant: VARIANTS[0], figures: new Map([["udp", { perSecond: 250_400, ratio: 1 }]]) },
  {
    policies: 10,
    variant: VARIANTS[3],
    figures: new Map([
      ["udp", { perSecond: 240_600.4, ratio: 0.961 }],
      ["tcp", { perSecond: 1.4e9, ratio: 0.934 }],
      ["ask", { perSecond: 20_000, ratio: 0.98, p50Ns: 45_000, p99Ns: 91_200 }],
      ["flood", { perSecond: 500_000, ratio: 0.9, cpuNs: 2_483.4 }],
    ]),
  },
];

describe("the result", () => {
  it("as JSON, in plain units, without what was not measured", () => {
    expect(JSON.parse(pathText("json", MACHINE, ROWS))).toEqual({
      ...MACHINE,
      rows: [
        { id: "none", policies: 10, udp_packets_per_second: 250_400, udp_packets_ratio: 1 },
        {
          id: "tc-weir",
          policies: 10,
          udp_packets_per_second: 240_600,
          udp_packets_ratio: 0.96,
          tcp_bytes_per_second: 1_400_000_000,
          tcp_bytes_ratio: 0.93,
          requests_per_second: 20_000,
          requests_ratio: 0.98,
          requests_p50_ns: 45_000,
          requests_p99_ns: 91_200,
          denied_packets_per_second: 500_000,
          denied_packets_ratio: 0.9,
          denied_packets_cpu_ns: 2_483,
        },
      ],
    });
  });

  it("as a table", () => {
    const lines = pathText("table", MACHINE, ROWS).split("\n");
    expect(lines[0]).toMatch(
      /^ON THE LINKS +POLICIES +UDP, 1,000 PACKETS\/S +RATIO +TCP, GBIT\/S +RATIO +REQUESTS/,
    );
    expect(lines[1]).toMatch(/^none +10 +250\.4 +1\.00 +- +- /);
    expect(lines[2]).toMatch(
      /^tc-weir +10 +240\.6 +0\.96 +11\.20 +0\.93 +20\.0 +0\.98 +45\.0 +91\.2 +- +- +500\.0 +0\.90 +2483 +Weir/,
    );
    expect(pathText("markdown", MACHINE, ROWS)).toContain("| `none` | 10 | 250.4 | 1.00 |");
  });

  it("as a chart: a bar and its number for each ratio, one colour for each number of policies", () => {
    const svg = chartOf(
      JSON.parse(pathText("json", MACHINE, [...ROWS, ...ROWS.map((row) => ({ ...row, policies: 1_000 }))])),
    );
    expect(svg.match(/<rect [^>]*fill="#/g)).toHaveLength(2 + 2 * 5);
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
