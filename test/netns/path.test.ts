// A short run of bench/path: every variant is set up, allowed and denied as it should, and removed. No speed is asserted.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { VARIANTS } from "../../bench/path/variants.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

it("measures what crosses the links with each variant, and leaves nothing", () => {
  const args = ["bench/main.ts", "path", "-o", "json", "--runs", "1", "--milliseconds", "100"];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: "utf8" });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "bench: run 1 of 1\n" });
  const { rows, ...about } = JSON.parse(stdout);
  expect(about).toEqual({ machine: expect.any(String), kernel: expect.any(String) });
  expect(rows.map(({ id }: { id: string }) => id)).toEqual(VARIANTS.map(({ id }) => id));
  for (const row of rows) {
    expect(row.udp_packets_per_second).toBeGreaterThan(0);
    expect(row.tcp_bytes_per_second).toBeGreaterThan(0);
  }
  expect(rows[0]).toMatchObject({ udp_ratio: 1, tcp_ratio: 1 });
  expect(readdirSync("/sys/class/net").filter((name) => name.startsWith("weirpath"))).toEqual([]);
  expect([existsSync("/sys/fs/bpf/weirpath"), existsSync("/run/weirpath")]).toEqual([false, false]);
});
