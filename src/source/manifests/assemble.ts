// The readings of all files put together: one cluster, duplicates resolved, every problem in the order of the files.

import { type Cluster, keyOf, type Namespace, type Pod } from "../../model/cluster.ts";
import type { Policy } from "../../model/policy.ts";
import type { Problem } from "../../model/problem.ts";
import type { EndpointSlice, Service } from "../../model/service.ts";
import type { ParsedObject, Place } from "../parse.ts";
import type { Reading } from "../reading.ts";
import type { FileReading } from "./reading.ts";

/** What the manifests say as a whole. */
export interface ManifestsReading extends Reading {
  /** How many files there are. */
  readonly files: number;
}

/** Problems of one file that are listed; a last one says how many more there are. */
export const PROBLEMS_PER_FILE_MAX = 1_000;

/**
 * Puts readings together, in the order given. Of what is there twice the first one counts. Of
 * policies none does, as nobody can tell which was meant: the pods of each are isolated in both directions, the second
 * one under the name NAME#2 (no policy can be called so), the third under NAME#3.
 */
export function assemble(
  readings: readonly FileReading[],
  problems: readonly Problem[] = [],
): ManifestsReading {
  const groups = new Map<string, ParsedObject[]>();
  for (const object of readings.flatMap((reading) => reading.objects)) {
    const group = groups.get(object.identity);
    if (group === undefined) groups.set(object.identity, [object]);
    else group.push(object);
  }
  const namespaces = new Map<string, Namespace>();
  const pods = new Map<string, Pod>();
  const policies = new Map<string, Policy>();
  const services = new Map<string, Service>();
  const slices = new Map<string, EndpointSlice>();
  for (const [object, ...others] of groups.values()) {
    if (object === undefined) continue;
    if (object.kind === "Namespace") namespaces.set(object.value.name, object.value);
    else if (object.kind === "Pod") pods.set(keyOf(object.value), object.value);
    else if (object.kind === "Service") services.set(keyOf(object.value), object.value);
    else if (object.kind === "EndpointSlice") slices.set(keyOf(object.value), object.value);
    else if (others.length > 0)
      for (const policy of isolateAll([object, ...others])) policies.set(keyOf(policy), policy);
    else if (object.value !== undefined) policies.set(keyOf(object.value), object.value);
  }
  const cluster: Cluster = { namespaces, pods, policies, services, slices };
  const inFiles = readings.flatMap((reading) => listed(problemsOf(reading, groups), reading.file));
  return { cluster, problems: [...problems, ...inFiles], files: readings.length, readable: true };
}

/** The reading of a path that could never be read. */
export const unreadable = (problems: readonly Problem[]): ManifestsReading => ({
  ...assemble([], problems),
  readable: false,
});

function isolateAll(versions: readonly ParsedObject[]): readonly Policy[] {
  const places = versions.map(({ place }) => placeText(place)).join(", ");
  const policies = versions.flatMap((version) =>
    version.kind === "NetworkPolicy" ? (version.value ?? []) : [],
  );
  return policies.map((policy, index) => ({
    ...policy,
    name: index === 0 ? policy.name : `${policy.name}#${index + 1}`,
    isolates: { ingress: true, egress: true },
    rules: { ingress: [], egress: [] },
    unreadable: `declared more than once: ${places}`,
  }));
}

function problemsOf(
  reading: FileReading,
  groups: ReadonlyMap<string, readonly ParsedObject[]>,
): readonly Problem[] {
  const problems = [...reading.problems];
  for (const object of reading.objects) {
    problems.push(...object.problems);
    const first = groups.get(object.identity)?.[0];
    if (first !== undefined && first !== object) problems.push(duplicate(object, first));
  }
  return problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
}

const duplicate = (object: ParsedObject, first: ParsedObject): Problem => ({
  severity: "error",
  ...object.place,
  object: object.identity,
  reason: `is declared more than once, first at ${placeText(first.place)}`,
  effect:
    object.kind === "NetworkPolicy"
      ? "the pods of each are isolated (ingress and egress) and nothing is allowed by any"
      : "the first one counts",
});

const placeText = ({ file, line, column }: Place): string =>
  [file, line, column].filter((part) => part !== undefined).join(":");

function listed(problems: readonly Problem[], file: string): readonly Problem[] {
  const more = problems.length - PROBLEMS_PER_FILE_MAX;
  if (more <= 0) return problems;
  const reason = `has ${more} more problems that are not listed`;
  return [...problems.slice(0, PROBLEMS_PER_FILE_MAX), { severity: "error", file, reason }];
}
