// Runs a bench in network and mount namespaces of its own (tools/isolated.sh): nothing of the machine's is changed, and nothing is left.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const SCRIPT = fileURLToPath(new URL("../../tools/isolated.sh", import.meta.url));
const INSIDE = "WEIR_BENCH_ISOLATED";

/** Runs `work` if this process is in such namespaces, else this very command in them, with its exit status. */
export async function isolated(work: () => Promise<void>): Promise<void> {
  if (process.env[INSIDE] === "1") return work();
  const command = [SCRIPT, process.execPath, ...process.argv.slice(1)];
  const { status } = spawnSync("bash", command, { stdio: "inherit", env: { ...process.env, [INSIDE]: "1" } });
  process.exitCode = status ?? 1;
}
