// Manifests of a query: those that replace the agent's cluster, and those that change it.

import { existsSync } from "node:fs";
import { type Cluster, keyOf } from "../model/cluster.ts";
import { type Problem, problemText } from "../model/problem.ts";
import type { EndpointView } from "../observe/api-views.ts";
import { countText } from "../observe/text-output.ts";
import { type LintInput, type LintReading, readForLint } from "../source/manifests/lint-manifests.ts";
import { textOfStream } from "../source/manifests/manifest-files.ts";
import type { FieldPath } from "../source/parse/parse-document.ts";
import { note } from "./command.ts";
import { CommandError, type Env, EXIT } from "./environment.ts";

/** The cluster that the agent would read from a directory; errors are reported, and fail closed as they do there. */
export async function readBase(env: Env, manifests: string): Promise<Source> {
  if (!existsSync(manifests)) throw new CommandError(`${manifests} does not exist`, EXIT.notFound);
  const reading = await readForLint([manifests]);
  for (const problem of errorsIn(reading)) note(env, problemText(problem));
  return sourceOf(reading);
}

/** A change must have no errors: its effect would be undefined. */
export async function readChange(env: Env, filename: readonly string[]): Promise<Source> {
  const inputs: LintInput[] = [];
  for (const path of new Set(filename))
    inputs.push(path === "-" ? { name: "<stdin>", content: await textOfStream(env.stdin()) } : path);
  const reading = await readForLint(inputs);
  const [first, ...more] = errorsIn(reading);
  if (first !== undefined) {
    const rest = more.length === 0 ? "" : ` (and ${countText(more.length, "more error")})`;
    throw new CommandError(`${problemText(first)}${rest}`);
  }
  return sourceOf(reading);
}

const errorsIn = ({ reading }: LintReading): readonly Problem[] =>
  reading.problems.filter(({ severity }) => severity === "error");

/** Pods that workloads would make count as pods, unless there is one of the workload's name. */
function sourceOf({ reading, templates, texts }: LintReading): Source {
  const pods = new Map(templates.map((pod) => [keyOf(pod), pod]));
  for (const [key, pod] of reading.cluster.pods) pods.set(key, pod);
  return {
    cluster: { ...reading.cluster, pods },
    live: undefined,
    where: (policy, path) => {
      const place = texts.get(policy)?.where(path);
      return place?.file === undefined ? undefined : `${place.file}:${place.line ?? 1}`;
    },
  };
}

// A cluster and where it is from.

export interface Source {
  readonly cluster: Cluster;
  /** Other data of the agent, if it was queried. */
  readonly live: Live | undefined;
  /** `FILE:LINE` of a policy's element, where it was read from a file. Paths are from the policy's root. */
  readonly where: (policy: string, path: FieldPath) => string | undefined;
}

export interface Live {
  /** The generation that the cluster is in force as. */
  readonly generation: number;
  readonly endpoints: readonly EndpointView[];
  /** The domain names that a pod, by its interface, has resolved to an address, not expired ones. */
  readonly namesOf: (ifindex: number, address: string) => readonly string[];
}
