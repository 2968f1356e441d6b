// Streams of lines from all agents at once, for as long as it takes: a lost connection is made again, agents that come are
// followed, and those that go are not.

import { messageOf } from "../../base/errors.ts";
import { EXIT } from "../environment.ts";
import type { AgentPod, AgentPods } from "./agent-pods.ts";
import { reasonIn } from "./cluster-command.ts";

export interface FollowOptions {
  readonly args: readonly string[];
  readonly onLine: (node: string, line: string) => void;
  /** For a person: a node is lost, or answers again. */
  readonly onRemark: (text: string) => void;
  readonly signal: AbortSignal;
  readonly times?: Times;
}

interface Times {
  /** Until the pods are listed again. */
  readonly listMs: number;
  /** Until a lost connection is made again: first, and doubled each time at most. */
  readonly retryMs: number;
  readonly retryMsMax: number;
}

const TIMES: Times = { listMs: 15_000, retryMs: 1_000, retryMsMax: 30_000 };

/** One connection each, and a process on the node. */
export const FOLLOWED_MAX = 250;
const LINE_BYTES_MAX = 256 << 10;
const STDERR_BYTES_MAX = 4 << 10;

/** Until the signal is aborted. */
export async function followAgents(
  agents: AgentPods,
  { args, onLine, onRemark, signal, times = TIMES }: FollowOptions,
): Promise<void> {
  const followed = new Map<string, Promise<void>>();
  let wanted = new Map<string, AgentPod>();
  let isLimited = false;
  const start = (pods: readonly AgentPod[]): void => {
    const able = pods.filter(({ phase }) => phase === undefined);
    if (able.length > FOLLOWED_MAX && !isLimited)
      onRemark(`follows ${FOLLOWED_MAX} of ${able.length} nodes: choose others by --node`);
    isLimited = able.length > FOLLOWED_MAX;
    wanted = new Map(able.slice(0, FOLLOWED_MAX).map((pod) => [keyOf(pod), pod]));
    for (const [key, pod] of wanted) {
      if (followed.has(key)) continue;
      const work = followOne(pod, () => wanted.has(key)).finally(() => followed.delete(key));
      followed.set(key, work);
    }
  };

  async function followOne(pod: AgentPod, isWanted: () => boolean): Promise<void> {
    const { node } = pod;
    let retryMs = times.retryMs;
    let isLost = false;
    while (!signal.aborted && isWanted()) {
      const startedAt = performance.now();
      const lines = lineCutter((line) => onLine(node, line));
      let stderr = "";
      const reason = await agents
        .stream(args, pod, {
          onStdout: lines,
          onStderr(bytes) {
            const text = bytes.toString();
            stderr = (stderr + text).slice(-STDERR_BYTES_MAX);
            if (text.includes("came faster")) onRemark(`node ${node}: ${reasonIn(text)}`);
          },
          onOpen() {
            if (isLost) onRemark(`node ${node}: follows again`);
            isLost = false;
          },
          signal,
        })
        .then(
          (exitCode) => {
            // A version without the option: another try gives the same.
            if (exitCode === EXIT.usage) retryMs = times.retryMsMax;
            return reasonIn(stderr) || `exit code ${exitCode}`;
          },
          (thrown: unknown) => messageOf(thrown),
        );
      if (signal.aborted || !isWanted()) return;
      if (!isLost) onRemark(`node ${node}: ${reason}; trying again`);
      isLost = true;
      if (performance.now() - startedAt > times.retryMsMax) retryMs = times.retryMs;
      await pause(retryMs, signal);
      retryMs = Math.min(retryMs * 2, times.retryMsMax);
    }
  }

  start(agents.pods);
  let isListed = true;
  while (!signal.aborted) {
    await pause(times.listMs, signal);
    if (signal.aborted) break;
    try {
      start(await agents.list());
      isListed = true;
    } catch (thrown) {
      if (isListed) onRemark(`the agents cannot be listed: ${messageOf(thrown)}`);
      isListed = false;
    }
  }
  await Promise.all(followed.values());
}

const keyOf = ({ namespace, name }: AgentPod): string => `${namespace}/${name}`;

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}

/** @throws Error at a line that does not end */
function lineCutter(onLine: (line: string) => void): (bytes: Buffer) => void {
  let rest = Buffer.alloc(0);
  return (bytes) => {
    rest = Buffer.concat([rest, bytes]);
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      onLine(rest.toString("utf8", 0, end));
      rest = rest.subarray(end + 1);
    }
    if (rest.length > LINE_BYTES_MAX) throw new Error(`a line of more than ${LINE_BYTES_MAX} bytes`);
  };
}
