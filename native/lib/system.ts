// What belongs to no handle: ids, probes, versions, attachments of a device.
import { checkInteger } from "./check.ts";
import { check, type Site, unwrap } from "./error.ts";
import { type HandleKind, native } from "./native.ts";

let cpus: number | undefined;

/** The number of values that each element of a per-CPU map has. Cannot change while the machine is up. */
export function possibleCpus(): number {
  cpus ??= check({ operation: "system.possibleCpus", object: "cpus" }, native.possibleCpus());
  return cpus;
}

/** As "v1.1". */
export function libbpfVersion(): string {
  return native.libbpfVersion();
}

/** The kernel's number of this process's network namespace, which no other one has until the next boot. Linux 5.14. */
export function netnsCookie(): bigint {
  return unwrap({ operation: "system.netnsCookie", object: "network namespace" }, native.netnsCookie());
}

/** A question to the running kernel, answered by trying. */
export type KernelFeature =
  | { readonly kind: "mapType"; readonly type: number }
  | { readonly kind: "programType"; readonly type: number }
  | { readonly kind: "helper"; readonly programType: number; readonly helper: number };

/** Whether the kernel has a map type, a program type, or a helper for a program type. Blocks for a millisecond or so. */
export function kernelFeature(feature: KernelFeature): boolean {
  const type = feature.kind === "helper" ? feature.programType : feature.type;
  const helper = feature.kind === "helper" ? feature.helper : 0;
  const site: Site = { operation: "system.kernelFeature", object: `${feature.kind} ${type}` };
  checkInteger(site, "type", type);
  checkInteger(site, "helper", helper);
  return check(site, native.probe(feature.kind, type, helper)) === 1;
}

/** Ids of all programs loaded on the machine. */
export function listPrograms(): number[] {
  return listIds("program");
}

/** Ids of all maps on the machine. */
export function listMaps(): number[] {
  return listIds("map");
}

/** Ids of all links on the machine. */
export function listLinks(): number[] {
  return listIds("link");
}

function listIds(kind: HandleKind): number[] {
  return unwrap({ operation: `system.list`, object: `${kind}s` }, native.listIds(kind));
}
