// The preflight checks of a node, one by one: privilege, kernel, BPF features, and paths.

import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { dirname } from "node:path";
import { codeOf, messageOf } from "../../base/errors.ts";
import { type Capability, missingCapabilities, obstacleAt } from "../../engines/obstacles.ts";
import type { CheckState, Finding } from "../../observe/check.ts";
import type { Settings } from "../env.ts";

export interface Surroundings {
  readonly settings: Settings;
  /** The built BPF object. */
  readonly object: string;
}

type Outcome = readonly [state: CheckState, detail: string];

interface Check {
  readonly name: string;
  /** Whether the check needs root. */
  readonly privileged: boolean;
  readonly run: (surroundings: Surroundings) => Outcome | Promise<Outcome>;
}

const NEEDED: readonly Capability[] = ["CAP_BPF", "CAP_NET_ADMIN"];
/** The oldest kernel that Weir was run on, and the first without a limit of locked memory for maps. */
const OLDEST_TRIED = [6, 1] as const;
const FIRST_WITHOUT_MEMLOCK = [5, 11] as const;

const CHECKS: readonly Check[] = [
  { name: "privilege", privileged: false, run: privilege },
  { name: "kernel", privileged: false, run: kernel },
  { name: "bpf filesystem", privileged: false, run: ({ settings }) => bpffs(settings.bpffs) },
  { name: "map types", privileged: true, run: mapTypes },
  { name: "programs", privileged: true, run: programs },
  { name: "hook", privileged: true, run: hook },
  { name: "xdp", privileged: true, run: xdp },
  { name: "jit", privileged: false, run: jit },
  { name: "kernel btf", privileged: false, run: kernelBtf },
  { name: "locked memory", privileged: false, run: lockedMemory },
  { name: "interfaces", privileged: false, run: interfaces },
  { name: "socket", privileged: false, run: ({ settings }) => socket(settings.socket) },
];

export async function checkNode(surroundings: Surroundings): Promise<Finding[]> {
  const findings: Finding[] = [];
  const isPrivileged = missingCapabilities(NEEDED).length === 0;
  for (const { name, privileged, run } of CHECKS) {
    const [state, detail] =
      privileged && !isPrivileged ? (["unknown", "needs root"] as const) : await tried(run, surroundings);
    findings.push({ check: name, state, detail });
  }
  return findings;
}

async function tried(run: Check["run"], surroundings: Surroundings): Promise<Outcome> {
  try {
    return await run(surroundings);
  } catch (thrown) {
    return ["missing", messageOf(thrown)];
  }
}

function privilege(): Outcome {
  const missing = missingCapabilities(NEEDED);
  if (missing.length > 0) return ["missing", `this process lacks ${missing.join(", ")}; run it as root`];
  return ["ok", `it has ${NEEDED.join(" and ")}`];
}

type Version = readonly [major: number, minor: number];

function kernelVersion(): Version {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  return [major, minor];
}

const isAtLeast = ([major, minor]: Version, [wantedMajor, wantedMinor]: Version): boolean =>
  major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);

function kernel(): Outcome {
  if (process.platform !== "linux") return ["missing", `this is ${process.platform}, not Linux`];
  if (isAtLeast(kernelVersion(), OLDEST_TRIED)) return ["ok", `Linux ${release()}`];
  return ["fallback", `Linux ${release()}: Weir was not tested on kernels before ${OLDEST_TRIED.join(".")}`];
}

function bpffs(path: string): Outcome {
  const [obstacle] = obstacleAt(path);
  return obstacle === undefined ? ["ok", `pins go to ${path}`] : ["missing", obstacle];
}

async function mapTypes(): Promise<Outcome> {
  const { missingMapKinds } = await import("../../datapath/probe.ts");
  const missing = missingMapKinds();
  return missing.length === 0
    ? ["ok", "the kernel has all that are used"]
    : ["missing", `the kernel lacks ${missing.join(", ")}`];
}

async function programs({ object }: Surroundings): Promise<Outcome> {
  const { tryPrograms } = await import("../../datapath/probe.ts");
  const verified = await tryPrograms(object);
  if (verified.every((each) => each.jit)) return ["ok", `${verifiedText(verified)} pass the verifier`];
  return ["fallback", `${verifiedText(verified)} are interpreted, several times slower; see jit`];
}

const verifiedText = (
  verified: readonly { readonly program: string; readonly instructions: number }[],
): string =>
  verified.map(({ program, instructions }) => `${program} (${instructions} instructions)`).join(" and ");

async function hook(): Promise<Outcome> {
  const { hookOf } = await import("../../datapath/probe.ts");
  return hookOf() === "tcx"
    ? ["ok", "tcx links"]
    : [
        "fallback",
        "clsact filters, since this kernel has no tcx (Linux 6.6): another's filter before ours may bypass it",
      ];
}

async function xdp({ object }: Surroundings): Promise<Outcome> {
  const { hasProgramType, tryGuard } = await import("../../datapath/probe.ts");
  const instead = "--from-pod-hook xdp would use tc all the same";
  if (!hasProgramType("xdp")) return ["fallback", `the kernel has no XDP programs: ${instead}`];
  try {
    return ["ok", `${verifiedText(await tryGuard(object))} pass the verifier (weir run --from-pod-hook xdp)`];
  } catch (thrown) {
    return ["fallback", `${messageOf(thrown)}: do without --from-pod-hook xdp`];
  }
}

const JIT = "/proc/sys/net/core/bpf_jit_enable";
const HARDEN = "/proc/sys/net/core/bpf_jit_harden";

function jit(): Outcome {
  const enabled = textOf(JIT);
  if (enabled === "0") return ["fallback", `programs are interpreted, several times slower; set ${JIT} to 1`];
  // Only root may read how far constants are blinded; 2 means for root's programs too.
  if (textOf(HARDEN) === "2")
    return ["fallback", `constants are blinded, which is slower; set ${HARDEN} to 1`];
  // It is to be seen in the machine's first network namespace only; what `programs` says holds everywhere.
  return ["ok", enabled === undefined ? "not to be seen from this network namespace" : "on"];
}

function kernelBtf(): Outcome {
  const path = "/sys/kernel/btf/vmlinux";
  return existsSync(path)
    ? ["ok", `the kernel describes its types in ${path}`]
    : ["fallback", "the kernel does not describe its types; Weir does without, bpftool shows less"];
}

function lockedMemory(): Outcome {
  if (isAtLeast(kernelVersion(), FIRST_WITHOUT_MEMLOCK))
    return ["ok", "maps count as memory of their cgroup"];
  const limit = /^Max locked memory\s+(\S+)/m.exec(textOf("/proc/self/limits") ?? "")?.[1];
  return limit === "unlimited"
    ? ["ok", "unlimited"]
    : [
        "fallback",
        `at most ${limit ?? "an unknown number of"} bytes: where maps do not fit, raise ulimit -l`,
      ];
}

function interfaces(): Outcome {
  const path = "/sys/class/net/lo/ifindex";
  return textOf(path) === undefined
    ? ["missing", `${path} cannot be read; mount sysfs of this network namespace`]
    : ["ok", "sysfs lists those of this network namespace"];
}

/** The directory, or what is there of the way to it, in which the agent would make the rest. */
function socket(path: string): Outcome {
  let directory = dirname(path);
  while (!existsSync(directory) && directory !== dirname(directory)) directory = dirname(directory);
  try {
    accessSync(directory, constants.W_OK);
    return ["ok", `the agent listens at ${path}`];
  } catch (thrown) {
    return ["missing", `${directory} cannot be written to (${codeOf(thrown)}); choose another --socket`];
  }
}

/** Without line end; undefined where it is not there or not to be read. */
function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (thrown) {
    if (["ENOENT", "EACCES", "EPERM", "ENOTDIR"].includes(codeOf(thrown) ?? "")) return undefined;
    throw thrown;
  }
}
