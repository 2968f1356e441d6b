// Manifests that a question brings along: those to ask instead of the agent, and those that would change what is there.

import { existsSync } from "node:fs";
import { keyOf } from "../../model/cluster.ts";
import { type Problem, problemText } from "../../model/problem.ts";
import { countText } from "../../observe/text.ts";
import { type LintInput, type LintReading, readForLint } from "../../source/lint.ts";
import { textOfStream } from "../../source/manifests/files.ts";
import { note } from "../command.ts";
import { CommandError, type Env, EXIT } from "../env.ts";
import type { Source } from "./source.ts";

/** What the agent would make of a directory; mistakes are told, and fail closed as they do there. */
export async function readBase(env: Env, manifests: string): Promise<Source> {
  if (!existsSync(manifests)) throw new CommandError(`${manifests} does not exist`, EXIT.notFound);
  const reading = await readForLint([manifests]);
  for (const problem of errorsIn(reading)) note(env, problemText(problem));
  return sourceOf(reading);
}

/** A change has no mistakes: what it would do could not be told. */
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
