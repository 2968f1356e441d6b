// What the commands of `kubectl weir` share: the options of kubectl, the agents they name, and nodes without an answer.

import { type Command, InvalidArgumentError, Option } from "commander";
import { printable } from "../../observe/text-output.ts";
import { note } from "../command.ts";
import { CommandError, type Context, type Env, EXIT } from "../environment.ts";
import { type AgentPods, type Outcome, openAgentPods } from "./agent-pods.ts";
import type { ClusterOptions } from "./cluster-access.ts";

const repeatable = (flags: string, about: string): Option =>
  new Option(flags, `${about}; repeatable`).argParser(
    (value: string, before: readonly string[] = []): readonly string[] => [...before, value],
  );

/** The options of kubectl that say which cluster, and as whom. */
export const addClusterOptions = (program: Command): Command =>
  program
    .option("--kubeconfig <file>", "kubeconfig (default: $KUBECONFIG, or ~/.kube/config)")
    .option("--context <name>", "context of the kubeconfig")
    .option("--cluster <name>", "cluster of the kubeconfig")
    .option("--user <name>", "user of the kubeconfig")
    .option("-s, --server <url>", "address of the API server")
    .option("--token <token>", "bearer token")
    .option("--as <user>", "user to impersonate")
    .addOption(repeatable("--as-group <group>", "group to impersonate, with --as"))
    .option("--certificate-authority <file>", "certificates of the API server's authority")
    .option("--insecure-skip-tls-verify", "accept any certificate of the API server")
    .option("--tls-server-name <name>", "name in the API server's certificate")
    .addOption(
      new Option(
        "--request-timeout <duration>",
        "time for each request and each node's command: 30, 30s, 2m; 0 for unlimited",
      )
        .argParser(secondsFrom)
        .default(30),
    )
    .addOption(repeatable("--node <name>", "only the agent of this node"));

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600 };

function secondsFrom(text: string): number {
  const parts = [...text.matchAll(/(\d{1,6})([smh]?)/g)];
  const isDuration = /^(?:\d{1,6}|(?:\d{1,6}[smh])+)$/.test(text);
  const seconds = parts.reduce((sum, [, count, unit = ""]) => sum + Number(count) * (UNITS[unit] ?? 1), 0);
  if (!isDuration || seconds > 86_400)
    throw new InvalidArgumentError("Write a duration of up to a day: 30, 30s, 2m; 0 for unlimited.");
  return seconds;
}

/** @throws CommandError where there is no cluster, or no agent in it */
export function agentsOf(command: Command): Promise<AgentPods> {
  const { requestTimeout, ...options } = command.optsWithGlobals<
    Omit<ClusterOptions, "timeoutMs"> & {
      readonly requestTimeout: number;
      readonly node?: readonly string[];
    }
  >();
  return openAgentPods({ ...options, timeoutMs: requestTimeout * 1_000 });
}

/** Of remarks of nodes: a large cluster is not to fill the terminal. */
const REMARKS_MAX = 10;

/** What nodes have not answered, or answered with an error: a remark each, since the others have an answer. */
export function remarkFailures(env: Env, outcomes: readonly Outcome[]): void {
  const texts = outcomes.flatMap((outcome) => {
    const text = failureOf(outcome);
    return text === undefined ? [] : [`node ${outcome.pod.node}: ${text}`];
  });
  remarkSome(env, texts);
}

export function remarkSome(env: Env, texts: readonly string[]): void {
  for (const text of texts.slice(0, REMARKS_MAX)) note(env, printable(text));
  if (texts.length > REMARKS_MAX) note(env, `and ${texts.length - REMARKS_MAX} more like this`);
}

/** Why there is no answer; undefined if there is one. */
export function failureOf(outcome: Outcome): string | undefined {
  if (outcome.error !== undefined) return outcome.error;
  const { exitCode, stderr } = outcome;
  if (ANSWERS.includes(exitCode)) return undefined;
  return reasonIn(stderr) || `exit code ${exitCode}`;
}

/** What a command says of its failure, without its name before it. */
export const reasonIn = (stderr: string): string => stderr.trim().replace(/^weir: /, "");

/** Answers are: no such object there; of `trace`, denied or a difference. */
const ANSWERS: readonly number[] = [EXIT.ok, EXIT.notFound, EXIT.denied, EXIT.differs];

/** 1 if a node has not answered, or its command has failed, though others have. */
export const exitOf = (outcomes: readonly Outcome[]): number =>
  outcomes.some((each) => failureOf(each) !== undefined) ? EXIT.error : EXIT.ok;

/**
 * The JSON of those that succeeded; the failures of others are remarked. "Not found" is an answer without a value.
 * @throws CommandError as `requireAnswer`
 */
export function valuesOf<T>(
  { env }: Context,
  outcomes: readonly Outcome[],
): readonly { readonly node: string; readonly value: T }[] {
  requireAnswer(outcomes);
  remarkFailures(env, outcomes);
  return outcomes.flatMap((outcome) => {
    if (outcome.error !== undefined || failureOf(outcome) !== undefined) return [];
    if (outcome.exitCode === EXIT.notFound) return [];
    const { pod, stdout, stderr } = outcome;
    const value = JSON.parse(stdout) as T;
    // As that no agent answers there, and the kernel's tables are shown. Of an empty list that it is one.
    const isEmpty = Array.isArray(value) && value.length === 0;
    if (stderr !== "" && !isEmpty) note(env, printable(`node ${pod.node}: ${reasonIn(stderr)}`));
    return [{ node: pod.node, value }];
  });
}

/** @throws CommandError in the words and with the exit code of the first node, if all that have answered refuse alike */
export function requireAnswer(outcomes: readonly Outcome[]): void {
  const answered = outcomes.flatMap((each) => (each.error === undefined ? [each] : []));
  const [first] = answered;
  if (first === undefined || !REFUSALS.includes(first.exitCode)) return;
  if (answered.some(({ exitCode }) => exitCode !== first.exitCode)) return;
  // "On this node" is of one, and it is none of them.
  throw new CommandError(reasonIn(first.stderr).replace(" on this node", " on any node"), first.exitCode);
}

const REFUSALS: readonly number[] = [EXIT.usage, EXIT.notFound, EXIT.forbidden];

export const LIST_EXITS = `
Exit codes:
  0 done, 1 error (also of a single node), 2 wrong usage, 4 no agents, or no such object, 6 permission denied`;

/** Options of a node's command, as words of its command line; what is not set has none. */
export const optionWords = (
  options: Readonly<Record<string, string | number | true | undefined>>,
): string[] =>
  Object.entries(options).flatMap(([name, value]) => {
    if (value === undefined) return [];
    return [value === true ? `--${name}` : `--${name}=${value}`];
  });
