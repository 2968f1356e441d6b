// bench/scale with a small cluster: the built agent follows the scripted API server, and the kernel's verdicts are the bench's.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it, onTestFinished } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

const run = (args: readonly string[]) =>
  spawnSync(process.execPath, ["bench/main.ts", "scale", "-o", "json", ...args], {
    cwd: ROOT,
    encoding: "utf8",
  });

const SMALL = ["--locals", "4", "--probes", "3", "--rates", "100", "--seconds", "1"];

it.each(["streamed", "paged"])("measures a cluster whose lists are %s", (lists) => {
  const directory = mkdtempSync(join(tmpdir(), "weir-scale-test-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const chart = join(directory, "chart.svg");
  const { status, stdout, stderr } = run(["--pods", "1000", "--lists", lists, "--chart", chart, ...SMALL]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringContaining("bench: seed 1\n") });
  const { rows } = JSON.parse(stdout);
  expect(rows).toEqual([expect.objectContaining({ pods: 1_000, policies: 67, locals: 4 })]);
  const [row] = rows;
  // All pods are listed once, of 3 kB each.
  expect(row.listed_bytes).toBeGreaterThan(3_000_000);
  expect(row.listed_bytes).toBeLessThan(6_000_000);
  expect(row.remote_pod.median_ms).toBeGreaterThan(0);
  expect(row.remote_pod.worst_ms).toBeLessThan(60_000);
  expect(row.compile_ms).toBeGreaterThan(0);
  expect(row.peak_mib).toBeGreaterThanOrEqual(row.memory_mib);
  expect(row.churn[0].watched_bytes_per_second.Pod).toBeGreaterThan(0);
  expect(row.churn[0].cpu_share).toBeGreaterThan(0);
  expect(readFileSync(chart, "utf8")).toContain("</svg>");
});

it("refuses invalid sizes", () => {
  const { status, stderr } = run(["--pods", "many"]);
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: expect.stringContaining("Whole numbers from 100 up"),
  });
});
