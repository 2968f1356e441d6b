// Checks, before a project that needs the kernel starts, that this process may use it; a suite that cannot run fails.
import { existsSync, readFileSync } from "node:fs";

const CAPABILITIES = { CAP_NET_ADMIN: 12n, CAP_SYS_ADMIN: 21n, CAP_BPF: 39n } as const;

/** What prevents the kernel's tests from running here, one sentence each; empty if nothing does. */
function obstacles(): string[] {
  const found: string[] = [];
  if (process.platform !== "linux") return [`this is ${process.platform}, not Linux`];
  const effective = BigInt(
    `0x${/^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0"}`,
  );
  const missing = Object.entries(CAPABILITIES).filter(([, bit]) => ((effective >> bit) & 1n) === 0n);
  if (missing.length > 0) {
    found.push(`this process lacks ${missing.map(([name]) => name).join(", ")}: run the tests as root`);
  }
  if (!existsSync("/sys/kernel/btf/vmlinux")) found.push("the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)");
  const bpffs = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .some((line) => line.split(" ")[2] === "bpf");
  if (!bpffs) found.push("no BPF filesystem: mount -t bpf bpf /sys/fs/bpf");
  if (!existsSync(new URL("../../native/build/bpf_ts.node", import.meta.url))) {
    found.push("native/build/bpf_ts.node is not built: npm run setup");
  }
  return found;
}

/** Vitest calls this once a project; a throw fails the run. */
export default function setup(): void {
  const found = obstacles();
  if (found.length === 0) return;
  throw new Error(
    `these tests load eBPF programs and cannot run here:\n${found.map((each) => `  - ${each}`).join("\n")}\n` +
      "`npm test -- --unit` runs the tests that need neither root nor eBPF.",
  );
}
