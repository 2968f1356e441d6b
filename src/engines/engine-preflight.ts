// Preflight checks of an engine: what this process and machine lack, before anything is changed.

import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { bpffsObstacle } from "../base/bpffs-mount.ts";
import type { EngineName, EngineOptions } from "./engine-names.ts";

/** Numbers of capabilities (linux/capability.h). */
export const CAPABILITIES = {
  CAP_DAC_OVERRIDE: 1n,
  CAP_NET_BROADCAST: 11n,
  CAP_NET_ADMIN: 12n,
  CAP_SYS_ADMIN: 21n,
  CAP_PERFMON: 38n,
  CAP_BPF: 39n,
} as const;
export type Capability = keyof typeof CAPABILITIES;

interface Needs {
  readonly capabilities: readonly Capability[];
  readonly programs: readonly string[];
  /** Whether it pins on the machine's own BPF filesystem. */
  readonly bpffs: boolean;
}

const NEEDS: Readonly<Record<EngineName, Needs | undefined>> = {
  oracle: undefined,
  plan: undefined,
  kernel: { capabilities: ["CAP_BPF", "CAP_NET_ADMIN"], programs: ["ip"], bpffs: true },
  live: {
    capabilities: ["CAP_BPF", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"],
    programs: ["ip", "bridge", "unshare", "mount"],
    bpffs: false,
  },
};

/** One short sentence for each; empty where the engine can run. */
export function preflightOf(name: EngineName, { object, bpffs }: EngineOptions): string[] {
  const needs = NEEDS[name];
  if (needs === undefined) return [];
  if (process.platform !== "linux") return [`this is ${process.platform}, not Linux`];
  const capabilities = missingCapabilities(needs.capabilities);
  // Without capabilities the other checks fail too.
  if (capabilities.length > 0) return [`this process lacks ${capabilities.join(", ")} (run it as root)`];
  const programs = needs.programs.filter((program) => !isInstalled(program));
  return [
    ...(programs.length === 0 ? [] : [`not installed: ${programs.join(", ")} (iproute2, util-linux)`]),
    ...(existsSync(object) ? [] : [`${object} is not built (npm run build)`]),
    ...(needs.bpffs ? obstacleAt(bpffs) : []),
  ];
}

/** CAP_SYS_ADMIN includes what later became CAP_BPF and CAP_PERFMON. */
export function missingCapabilities(wanted: readonly Capability[]): Capability[] {
  const status = readFileSync("/proc/self/status", "utf8");
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "0"}`);
  const has = (name: Capability): boolean => ((effective >> CAPABILITIES[name]) & 1n) === 1n;
  return wanted.filter((name) => !has(name) && !(INCLUDED.has(name) && has("CAP_SYS_ADMIN")));
}

const INCLUDED: ReadonlySet<Capability> = new Set(["CAP_BPF", "CAP_PERFMON"]);

function isInstalled(program: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Why nothing can be pinned under a path, if so. */
export function obstacleAt(bpffs: string): string[] {
  const obstacle = bpffsObstacle(bpffs);
  return obstacle === undefined ? [] : [obstacle];
}
