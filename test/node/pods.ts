// Pods of the tests and what they see of each other.

import { isDeepStrictEqual } from "node:util";
import { expect } from "vitest";
import type { Cluster } from "./cluster.ts";
import { PEER_IMAGE } from "./images.ts";

export interface PodSpec {
  readonly name: string;
  readonly namespace?: string;
  readonly node?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Arguments of `peer` (image/peer.c); by default it serves. */
  readonly args?: readonly string[];
  /** Further fields of the container. */
  readonly container?: object;
  /** Further fields of the pod's spec. */
  readonly spec?: object;
}

const NAMESPACE = "shop";
export const SERVE = ["serve", "tcp:80", "udp:80", "tcp:8080"];

export const containerOf = ({
  args = SERVE,
  container = {},
}: Pick<PodSpec, "args" | "container">): object => ({
  name: "peer",
  image: PEER_IMAGE,
  args,
  ...container,
});

export function podOf(pod: PodSpec): object {
  const { name, namespace = NAMESPACE, node, labels = {}, spec = {} } = pod;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, labels: { name, ...labels } },
    spec: {
      ...(node === undefined ? {} : { nodeName: node }),
      terminationGracePeriodSeconds: 1,
      automountServiceAccountToken: false,
      containers: [containerOf(pod)],
      ...spec,
    },
  };
}

export const policyOf = (name: string, spec: object, namespace = NAMESPACE): object => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name, namespace },
  spec,
});

/** As kubectl takes several objects at once. */
export const textOf = (objects: readonly object[]): string =>
  JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });

export const apply = (cluster: Cluster, ...objects: readonly object[]): Promise<string> =>
  cluster.must(["apply", "-f", "-"], textOf(objects));

export const waitReady = (
  cluster: Cluster,
  pods: readonly string[],
  namespace = NAMESPACE,
): Promise<string> =>
  cluster.must([
    "-n",
    namespace,
    "wait",
    "--for=condition=Ready",
    "--timeout=180s",
    ...pods.map((name) => `pod/${name}`),
  ]);

/** Addresses by pod: IPv4, then IPv6. */
export type Addresses = Readonly<Record<string, readonly [string, string]>>;

export async function addressesOf(cluster: Cluster, namespace = NAMESPACE): Promise<Addresses> {
  const pods = await cluster.api.list("v1", "Pod", namespace);
  return Object.fromEntries(
    pods.map(({ metadata, status }) => {
      const { podIPs = [] } = (status ?? {}) as { podIPs?: readonly { ip: string }[] };
      return [metadata.name, [podIPs[0]?.ip ?? "", podIPs[1]?.ip ?? ""] as const];
    }),
  );
}

/** What a pod gets from each target (image/peer.c): a name, or "timeout" or "refused". */
export async function reach(
  cluster: Cluster,
  from: string,
  targets: readonly string[],
  namespace = NAMESPACE,
): Promise<Readonly<Record<string, string>>> {
  const out = await cluster.must([
    "-n",
    namespace,
    "exec",
    from,
    "--",
    "peer",
    "reach",
    "-t",
    "1500",
    ...targets,
  ]);
  return Object.fromEntries(
    out
      .trimEnd()
      .split("\n")
      .map((line) => {
        const [target = "", ...result] = line.split(" ");
        return [target, result.join(" ")];
      }),
  );
}

export interface Wanted {
  readonly from: string;
  readonly namespace?: string;
  /** By target, the expected result of `reach`. */
  readonly want: Readonly<Record<string, string>>;
}

/** Polls until a pod gets the expected results, and fails with what it got instead. */
export async function reached(cluster: Cluster, { from, namespace, want }: Wanted): Promise<void> {
  let last: Readonly<Record<string, string>> = {};
  await cluster
    .until(
      `${from} gets what is wanted`,
      async () => {
        last = await reach(cluster, from, Object.keys(want), namespace);
        return isDeepStrictEqual({ ...last }, { ...want }) ? true : undefined;
      },
      30_000,
    )
    .catch(() => undefined);
  expect(last, from).toEqual(want);
}

export interface Attempt {
  /** Milliseconds of the epoch. */
  readonly at: number;
  readonly target: string;
  readonly result: string;
  readonly durationMs: number;
  readonly retransmits: number;
}

/** The attempts that a pod with `peer beat` or `peer stream` has reported. */
export async function attemptsOf(
  cluster: Cluster,
  pod: string,
  namespace = NAMESPACE,
): Promise<readonly Attempt[]> {
  const out = await cluster.must(["-n", namespace, "logs", pod]);
  return out
    .trimEnd()
    .split("\n")
    .filter((line) => /^\d+ /.test(line))
    .map((line) => {
      const [, at, target = "", result = "", durationMs, retransmits] =
        /^(\d+) (\S+) (.*) (\d+) (\d+)$/.exec(line) ?? [];
      if (retransmits === undefined) throw new Error(`${pod} says ${JSON.stringify(line)}`);
      return {
        at: Number(at),
        target,
        result,
        durationMs: Number(durationMs),
        retransmits: Number(retransmits),
      };
    });
}
