// bench/path without a kernel: how its figures are written.
import { expect, it } from "vitest";
import { pathText } from "../../../bench/path/report.ts";
import type { PathRow } from "../../../bench/path/run.ts";
import { VARIANTS } from "../../../bench/path/variants.ts";

const MACHINE = { machine: "a machine", kernel: "6.18" };
const ROWS: readonly PathRow[] = [
  { variant: VARIANTS[0], udp: { perSecond: 250_400, ratio: 1 }, tcp: { perSecond: 1.5e9, ratio: 1 } },
  {
    variant: VARIANTS[2],
    udp: { perSecond: 240_600.4, ratio: 0.961 },
    tcp: { perSecond: 1.4e9, ratio: 0.934 },
  },
];

it("as JSON, in plain units", () => {
  expect(JSON.parse(pathText("json", MACHINE, ROWS))).toEqual({
    ...MACHINE,
    rows: [
      expect.objectContaining({ id: "none", udp_ratio: 1 }),
      {
        id: "tc-weir",
        udp_packets_per_second: 240_600,
        udp_ratio: 0.96,
        tcp_bytes_per_second: 1_400_000_000,
        tcp_ratio: 0.93,
      },
    ],
  });
});

it("as a table", () => {
  const lines = pathText("table", MACHINE, ROWS).split("\n");
  expect(lines[0]).toMatch(/^ON THE LINKS +UDP KPPS +RATIO +TCP GBIT\/S +RATIO +WHAT$/);
  expect(lines[2]).toMatch(/^tc-weir +241 +0\.96 +11\.20 +0\.93 +Weir, as it is by default$/);
  expect(pathText("markdown", MACHINE, ROWS)).toContain("| `none` | 250 | 1.00 | 12.00 | 1.00 | nothing |\n");
});
