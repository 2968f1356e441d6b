// Assembles the content of all files: one cluster, duplicates resolved, every problem in the order of the files.

import { append } from "../../base/append.ts";
import { memo } from "../../base/memo.ts";
import {
  type Cluster,
  type ClusterNode,
  keyOf,
  MAP_KEY,
  type Namespace,
  type Pod,
  toWire,
} from "../../model/cluster.ts";
import type { ClusterPolicy } from "../../model/cluster-network-policy.ts";
import type { ClusterSnapshot } from "../../model/cluster-snapshot.ts";
import type { Policy } from "../../model/network-policy.ts";
import type { Problem } from "../../model/problem.ts";
import type { EndpointSlice, Service } from "../../model/service.ts";
import type { ParsedObject, Place } from "../parse/parse-document.ts";
import type { FileReading } from "./manifest-reading.ts";

/** The content of all manifests. */
export interface ManifestsReading extends ClusterSnapshot {
  /** How many files there are. */
  readonly files: number;
}

/** The limit of listed problems of one file; a last one has the number of the others. */
export const PROBLEMS_PER_FILE_MAX = 1_000;

/**
 * Assembles files, in the order given. Copies that say the same are one object, with a warning. Of versions that differ
 * the first one is used, except for policies: of those none does, as it is unknown which was meant. The pods of each
 * version are isolated in both directions (by cluster policies: denied everything), the second one under the name NAME#2 (no
 * policy can be called so), the third under NAME#3.
 */
export function assemble(
  readings: readonly FileReading[],
  problems: readonly Problem[] = [],
): ManifestsReading {
  const groups = new Map<string, ParsedObject[]>();
  for (const { objects } of readings) {
    for (const object of objects) {
      const group = groups.get(object.identity);
      if (group === undefined) groups.set(object.identity, [object]);
      else group.push(object);
    }
  }
  const namespaces = new Map<string, Namespace>();
  const pods = new Map<string, Pod>();
  const policies = new Map<string, Policy>();
  const clusterPolicies = new Map<string, ClusterPolicy>();
  const services = new Map<string, Service>();
  const slices = new Map<string, EndpointSlice>();
  const nodes = new Map<string, ClusterNode>();
  for (const [object, ...others] of groups.values()) {
    if (object === undefined) continue;
    if (object.kind === "Namespace") namespaces.set(object.value.name, object.value);
    else if (object.kind === "Pod") pods.set(keyOf(object.value), object.value);
    else if (object.kind === "Service") services.set(keyOf(object.value), object.value);
    else if (object.kind === "Node") nodes.set(object.value.name, object.value);
    else if (object.kind === "ClusterNetworkPolicy")
      for (const policy of clusterVersions(object, others)) clusterPolicies.set(policy.name, policy);
    else if (object.kind === "EndpointSlice") slices.set(keyOf(object.value), object.value);
    else if (others.some((other) => !isCopy(other, object)))
      for (const policy of isolateAll([object, ...others])) policies.set(keyOf(policy), policy);
    else policies.set(keyOf(object.value), object.value);
  }
  const cluster: Cluster = {
    ...{ namespaces, pods, policies, services, slices, nodes },
    ...(clusterPolicies.size > 0 && { clusterPolicies }),
  };
  const inFiles = readings.flatMap((reading) => listed(problemsOf(reading, groups), reading.file));
  return { cluster, problems: [...problems, ...inFiles], files: readings.length, readable: true };
}

/** The snapshot of a path that could never be read. */
export const unreadable = (problems: readonly Problem[]): ManifestsReading => ({
  ...assemble([], problems),
  readable: false,
});

/** An object's content, as text: equal for copies, however their texts order keys. */
const contentOf = memo((object: ParsedObject): string => JSON.stringify(ordered(toWire(object.value))));

/** Plain data with the order taken out where it has no meaning: keys, labels and requirements of selectors. */
function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== "object" || value === null) return value;
  const sorted = Object.entries(value).map(([key, each]): [string, unknown] => {
    const list = ordered(each);
    return [key, UNORDERED.has(key) && Array.isArray(list) ? sortedByText(list) : list];
  });
  return Object.fromEntries(sorted.sort(([a], [b]) => (a < b ? -1 : 1)));
}

const UNORDERED: ReadonlySet<string> = new Set(["requirements", MAP_KEY]);

const sortedByText = (list: readonly unknown[]): unknown[] =>
  list
    .map((each) => [JSON.stringify(each), each] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, each]) => each);

const isCopy = (object: ParsedObject, first: ParsedObject): boolean => contentOf(object) === contentOf(first);

/** Places that are named where an object is declared often. */
const PLACES_MAX = 10;

function placesText(versions: readonly ParsedObject[]): string {
  const more = versions.length > PLACES_MAX ? [`and ${versions.length - PLACES_MAX} more`] : [];
  const named = versions.slice(0, PLACES_MAX).map(({ place }) => placeText(place));
  return [...named, ...more].join(", ");
}

const distinctOf = (versions: readonly ParsedObject[]): readonly ParsedObject[] => [
  ...new Map(versions.map((version) => [contentOf(version), version])).values(),
];

const numbered = (name: string, index: number): string => (index === 0 ? name : `${name}#${index + 1}`);

function isolateAll(versions: readonly ParsedObject[]): readonly Policy[] {
  const policies = distinctOf(versions).flatMap((version) =>
    version.kind === "NetworkPolicy" ? version.value : [],
  );
  return policies.map((policy, index) => ({
    ...policy,
    name: numbered(policy.name, index),
    isolates: { ingress: true, egress: true },
    rules: { ingress: [], egress: [] },
    unreadable: `declared more than once: ${placesText(versions)}`,
  }));
}

/**
 * Of versions that differ none is known to be meant: each denies everything to its pods at its place, under names as in
 * `isolateAll`.
 */
function clusterVersions(
  object: ParsedObject & { readonly kind: "ClusterNetworkPolicy" },
  others: readonly ParsedObject[],
): readonly ClusterPolicy[] {
  if (others.every((other) => isCopy(other, object))) return [object.value];
  const versions = [object, ...others];
  const deny = [{ action: "Deny", peers: "anyone", ports: "all" }] as const;
  return distinctOf(versions).flatMap((version, index) =>
    version.kind !== "ClusterNetworkPolicy"
      ? []
      : {
          ...version.value,
          name: numbered(version.value.name, index),
          rules: { ingress: deny, egress: deny },
          unreadable: `declared more than once: ${placesText(versions)}`,
        },
  );
}

function problemsOf(
  reading: FileReading,
  groups: ReadonlyMap<string, readonly ParsedObject[]>,
): readonly Problem[] {
  const problems = [...reading.problems];
  for (const object of reading.objects) {
    append(problems, object.problems);
    const first = groups.get(object.identity)?.[0];
    if (first === undefined || first === object) continue;
    const problem = duplicate(object, first);
    if (problem.code === undefined || object.ignored?.has(problem.code) !== true) problems.push(problem);
  }
  return problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
}

function duplicate(object: ParsedObject, first: ParsedObject): Problem {
  const of = { ...object.place, object: object.identity };
  const reason = `is declared more than once, first at ${placeText(first.place)}`;
  if (isCopy(object, first)) {
    const fix = "remove one of them";
    return {
      severity: "warning",
      ...of,
      reason: `${reason}, with the same content`,
      code: "object-copied",
      fix,
    };
  }
  return {
    severity: "error",
    ...of,
    reason,
    effect: DUPLICATE_EFFECTS.get(object.kind) ?? "the first one is used",
  };
}

const DUPLICATE_EFFECTS: ReadonlyMap<ParsedObject["kind"], string> = new Map([
  ["NetworkPolicy", "the pods of each are isolated (ingress and egress) and nothing is allowed by any"],
  ["ClusterNetworkPolicy", "each denies everything to its pods at its place"],
]);

const placeText = ({ file, line, column }: Place): string =>
  [file, line, column].filter((part) => part !== undefined).join(":");

function listed(problems: readonly Problem[], file: string): readonly Problem[] {
  const more = problems.length - PROBLEMS_PER_FILE_MAX;
  if (more <= 0) return problems;
  const reason = `has ${more} more problems that are not listed`;
  return [...problems.slice(0, PROBLEMS_PER_FILE_MAX), { severity: "error", file, reason }];
}
