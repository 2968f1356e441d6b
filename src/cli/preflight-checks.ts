// The preflight checks of a node, one by one: privilege, kernel, BPF features, and paths.

import { accessSync, constants, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { dirname, join } from "node:path";
import { codeOf, messageOf } from "../base/errors.ts";
import type { Attempt, OperationName } from "../datapath/life-rehearsal.ts";
import { type Capability, missingCapabilities, obstacleAt } from "../engines/engine-preflight.ts";
import { API_VERSION } from "../observe/api-views.ts";
import { ask } from "../observe/socket-client.ts";
import type { SourceOptions } from "../source/source.ts";
import type { Config } from "./config/config-schema.ts";
import type { Settings } from "./environment.ts";
import type { CheckState, Finding } from "./preflight-report.ts";

export interface Surroundings {
  readonly settings: Settings;
  /** The built BPF object. */
  readonly object: string;
  /** What `weir run` would be given, where that is known. */
  readonly config?: Config;
  readonly source?: SourceOptions;
}

type Outcome = readonly [state: CheckState, detail: string];

interface Check {
  readonly name: string;
  /** Without these it cannot be found out. */
  readonly needs?: readonly Capability[];
  readonly run: (surroundings: Surroundings) => Outcome | Promise<Outcome>;
}

/** What the chart gives the agent's container. */
const NEEDED = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"] as const satisfies readonly Capability[];
/** The oldest kernel that Weir was run on, and the first without a limit of locked memory for maps. */
const OLDEST_TRIED = [6, 1] as const;
const FIRST_WITHOUT_MEMLOCK = [5, 11] as const;

const CHECKS: readonly Check[] = [
  { name: "privilege", run: privilege },
  { name: "kernel", run: kernel },
  { name: "bpf filesystem", run: ({ settings }) => bpffs(settings.bpffs) },
  { name: "map types", needs: ["CAP_BPF"], run: mapTypes },
  { name: "hook", needs: ["CAP_NET_ADMIN"], run: hook },
  { name: "jit", run: jit },
  { name: "kernel btf", run: kernelBtf },
  { name: "locked memory", run: lockedMemory },
  { name: "interfaces", run: interfaces },
  { name: "socket", run: ({ settings }) => socket(settings.socket) },
];

export async function checkNode(surroundings: Surroundings): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, needs = [], run } of CHECKS) {
    const missing = missingCapabilities(needs);
    const [state, detail] =
      missing.length > 0 ? (["unknown", lackText(missing)] as const) : await tried(run, surroundings);
    findings.push({ check: name, state, detail });
  }
  const { config, source } = surroundings;
  return [
    ...findings,
    ...(await operations(surroundings)),
    ...[config?.cniConfDir, config?.cniBinDir].flatMap((path) =>
      path === undefined ? [] : [writable(path)],
    ),
    ...(source?.kind === "apiserver" ? await apiServer(source) : []),
  ];
}

async function tried(run: Check["run"], surroundings: Surroundings): Promise<Outcome> {
  try {
    return await run(surroundings);
  } catch (thrown) {
    return ["missing", messageOf(thrown)];
  }
}

const lackText = (missing: readonly Capability[]): string => `this process lacks ${missing.join(", ")}`;

function privilege(): Outcome {
  const missing = missingCapabilities(NEEDED);
  if (missing.length > 0) return ["missing", `${lackText(missing)}; run it as root`];
  return ["ok", `it has ${NEEDED.slice(0, -1).join(", ")} and ${NEEDED.at(-1)}`];
}

/** What each operation takes, and what it shows where it is done. */
const OPERATIONS: Readonly<
  Record<OperationName, { readonly needs: readonly Capability[]; readonly done: string }>
> = {
  "map creation": { needs: ["CAP_BPF"], done: "created, written and read" },
  pins: { needs: ["CAP_BPF"], done: "a map is pinned, and opened by its path" },
  programs: { needs: NEEDED, done: "pass the verifier" },
  "ring buffer": { needs: ["CAP_BPF"], done: "opened" },
  rtnetlink: { needs: ["CAP_NET_ADMIN"], done: "changes are reported, also of pods' namespaces" },
  interface: { needs: ["CAP_NET_ADMIN"], done: "a pair of veth devices is made, listed and removed" },
  links: {
    needs: ["CAP_BPF", "CAP_NET_ADMIN"],
    done: "attached, queried, pinned, opened by path, updated and detached",
  },
  xdp: { needs: NEEDED, done: "pass the verifier (weir run --from-pod-hook xdp)" },
  "xdp links": { needs: ["CAP_BPF", "CAP_NET_ADMIN"], done: "as links" },
};

/** Weir enforces without these. */
const SPARED: ReadonlySet<OperationName> = new Set(["xdp", "xdp links"]);

async function operations({ settings, object }: Surroundings): Promise<Finding[]> {
  const { rehearse } = await import("../datapath/life-rehearsal.ts");
  return (await rehearse(settings.bpffs, object)).map((attempt): Finding => {
    const { operation } = attempt;
    const [state, detail] = outcomeOf(attempt);
    // What is missing for want of a capability is missing.
    const isSpared = SPARED.has(operation) && missingCapabilities(NEEDED).length === 0 && state !== "ok";
    return isSpared
      ? { check: operation, state: "fallback", detail: `${detail}: do not use --from-pod-hook xdp` }
      : { check: operation, state, detail };
  });
}

function outcomeOf({ operation, error, after, verified, without }: Attempt): Outcome {
  const { needs, done } = OPERATIONS[operation];
  const missing = missingCapabilities(needs);
  const why = missing.length === 0 ? "" : `: ${lackText(missing)}`;
  if (after !== undefined) return ["unknown", `not tried: it needs ${after}`];
  if (error !== undefined) return ["missing", `${messageOf(error)}${why}`];
  if (without !== undefined)
    return ["fallback", `without ${without}: ${lackText(missingCapabilities(["CAP_NET_BROADCAST"]))}`];
  if (verified === undefined) return ["ok", done];
  if (verified.every(({ jit: isJit }) => isJit)) return ["ok", `${verifiedText(verified)} ${done}`];
  return ["fallback", `${verifiedText(verified)} are interpreted, several times slower; see jit`];
}

/** By a file that the runtime does not read: it selects files by their suffix. */
function writable(path: string): Finding {
  const file = join(path, `.weir-check-${process.pid}`);
  try {
    writeFileSync(file, "", { flag: "wx" });
    rmSync(file);
    return { check: "cni directory", state: "ok", detail: `${path} can be written to` };
  } catch (thrown) {
    const missing = codeOf(thrown) === "EACCES" ? missingCapabilities(["CAP_DAC_OVERRIDE"]) : [];
    const why = missing.length === 0 ? "" : `: ${lackText(missing)}`;
    return { check: "cni directory", state: "missing", detail: `${messageOf(thrown)}${why}` };
  }
}

const API_MS_MAX = 5_000;

/** One object of each kind is listed, which shows rights too. */
async function apiServer({ credentials }: SourceOptions & { kind: "apiserver" }): Promise<Finding[]> {
  const { listOne } = await import("../source/apiserver/api-reachability.ts");
  const found = await listOne(credentials, AbortSignal.timeout(API_MS_MAX));
  return found.map(({ kind, error }) => ({
    check: "api server",
    state: error === undefined ? "ok" : "missing",
    detail: error === undefined ? `${kind}: listed` : `${kind}: ${messageOf(error)}`,
  }));
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
  return [
    "fallback",
    `Linux ${release()}: Weir is not tested on kernels older than ${OLDEST_TRIED.join(".")}`,
  ];
}

function bpffs(path: string): Outcome {
  const [obstacle] = obstacleAt(path);
  return obstacle === undefined ? ["ok", `pins go to ${path}`] : ["missing", obstacle];
}

async function mapTypes(): Promise<Outcome> {
  const { missingMapKinds } = await import("../datapath/feature-probes.ts");
  const missing = missingMapKinds();
  return missing.length === 0
    ? ["ok", "the kernel has all required ones"]
    : ["missing", `the kernel lacks ${missing.join(", ")}`];
}

const verifiedText = (
  verified: readonly { readonly program: string; readonly instructions: number }[],
): string =>
  verified.map(({ program, instructions }) => `${program} (${instructions} instructions)`).join(" and ");

async function hook(): Promise<Outcome> {
  const { hookOf } = await import("../datapath/feature-probes.ts");
  return hookOf() === "tcx"
    ? ["ok", "tcx links"]
    : [
        "fallback",
        "clsact filters, since this kernel has no tcx (Linux 6.6): another's filter before ours may bypass it",
      ];
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
  return ["ok", enabled === undefined ? "not readable from this network namespace" : "on"];
}

function kernelBtf(): Outcome {
  const path = "/sys/kernel/btf/vmlinux";
  return existsSync(path)
    ? ["ok", `the kernel has BTF (${path})`]
    : ["fallback", "the kernel has no BTF; Weir does not need it, bpftool shows less"];
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

/** Whether an agent answers there; if none listens, whether one could, in the directory or what exists of its path. */
async function socket(path: string): Promise<Outcome> {
  let directory = dirname(path);
  while (!existsSync(directory) && directory !== dirname(directory)) directory = dirname(directory);
  try {
    accessSync(directory, constants.W_OK);
  } catch (thrown) {
    return ["missing", `${directory} cannot be written to (${codeOf(thrown)}); choose another --socket`];
  }
  try {
    const answer = await ask<{ readonly pid: number }>(path, `/${API_VERSION}/status`);
    return answer === undefined
      ? ["ok", `no agent listens at ${path}; one can`]
      : ["ok", `an agent (pid ${answer.pid}) answers at ${path}`];
  } catch (thrown) {
    return ["fallback", `an agent listens at ${path} and does not answer: ${messageOf(thrown)}`];
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
