// Short runs of bench/path, bench/pktgen and bench/names: every variant is set up, allowed and denied as it should, and removed. No speed is asserted.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { KINDS, type Kind } from "../../bench/path/transfer.ts";
import { VARIANTS } from "../../bench/path/variants.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Of its JSON. */
interface PathLine {
  readonly kind: Kind;
  readonly id: string;
  readonly policies: number;
  readonly per_second: number;
  readonly cpu_ns?: number;
}

const bench = (...args: readonly string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["bench/main.ts", ...args, "-o", "json"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringContaining("bench: ") });
  return { ...JSON.parse(stdout), stderr };
};

it("measures what crosses the links with each variant, and leaves nothing", () => {
  const { rows, stderr, ...about } = bench("path", "--runs", "1", "--milliseconds", "50", "--policies", "3");
  expect(stderr).toBe("bench: 3 policies, run 1 of 1\n");
  expect(about).toEqual({ machine: expect.any(String), kernel: expect.any(String) });
  const kindsOf = (id: string) => (id === "tc-drop" ? ["flood"] : KINDS);
  expect(new Set(rows.map(({ kind, id }: PathLine) => `${kind} ${id}`))).toEqual(
    new Set(VARIANTS.flatMap(({ id }) => kindsOf(id).map((kind) => `${kind} ${id}`))),
  );
  for (const { kind, id, policies, per_second, cpu_ns } of rows as PathLine[]) {
    expect(policies).toBe(3);
    expect(per_second, `${kind} ${id}`).toBeGreaterThan(0);
    if (kind !== "tcp") expect(cpu_ns, `${kind} ${id}`).toBeGreaterThan(0);
  }
  expect(rows).toContainEqual(expect.objectContaining({ kind: "udp", id: "none", ratio: 1, cpu_ratio: 1 }));
  expect(readdirSync("/sys/class/net").filter((name) => name.startsWith("weirpath"))).toEqual([]);
  expect([existsSync("/sys/fs/bpf/weirpath"), existsSync("/run/weirpath")]).toEqual([false, false]);
}, 600_000);

it("generates packets, all of which Weir's counters have, whatever generator this kernel has", () => {
  const { rows } = bench("pktgen", "--runs", "1", "--packets", "1000", "--sizes", "64,1518");
  const weir = rows.filter((row: { on_the_link: string }) => row.on_the_link === "tc-weir");
  expect(weir.length).toBeGreaterThan(4);
  for (const { sweep, sent, lost, passed, dropped, packets_per_second } of weir) {
    const sum = (counts: Record<string, number>) =>
      Object.values(counts).reduce((all, each) => all + each, 0);
    expect([sum(passed), sum(dropped)], sweep).toEqual(
      sweep === "denied" ? [0, sent - lost] : [sent - lost, 0],
    );
    expect(packets_per_second).toBeGreaterThan(0);
  }
}, 600_000);

it("measures first connections after DNS answers, without a failure", () => {
  const { rows } = bench("names", "--connections", "30", "--runs", "2");
  expect(rows.map(({ pod }: { pod: string }) => pod)).toEqual([
    "bench/name",
    "bench/address",
    "bench/nothing",
  ]);
  for (const { pod, connections, failures, p50_ns, p99_ns } of rows) {
    expect([connections, failures], pod).toEqual([30, 0]);
    expect(p99_ns, pod).toBeGreaterThanOrEqual(p50_ns);
  }
}, 600_000);
