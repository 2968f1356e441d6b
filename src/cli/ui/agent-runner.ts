// Where the page's data come from: `weir` commands, run in the agents' pods of a cluster or, on a node, in this process.

import type { Context } from "../environment.ts";
import type { AgentPod, AgentPods, Outcome } from "../plugin/agent-pods.ts";

export interface AgentRunner extends Pick<AgentPods, "nodeOf"> {
  /** What the page is about. */
  readonly title: string;
  /** By node, as they are now. */
  pods(): Promise<readonly AgentPod[]>;
  /** Runs `weir ARGS` in each of the pods. Never rejects. */
  run(args: readonly string[], pods: readonly AgentPod[]): Promise<readonly Outcome[]>;
}

/** Maximum age of the list of the agents' pods. */
const LIST_AGE_MS_MAX = 15_000;

/** The agents of a cluster. */
export function clusterRunner(agents: AgentPods, now: () => Date): AgentRunner {
  let last = { at: now().getTime(), pods: Promise.resolve(agents.pods) };
  return {
    title: `cluster ${agents.cluster}`,
    nodeOf: agents.nodeOf,
    pods() {
      const at = now().getTime();
      const { pods: before } = last;
      // Where the API server does not answer, those that were there: their nodes' errors are shown.
      if (at - last.at > LIST_AGE_MS_MAX) last = { at, pods: agents.list().catch(() => before) };
      return last.pods;
    },
    run: (args, pods) => agents.run(args, { pods }),
  };
}

/** This node's agent, by its socket; `node` is its name on the page. */
export function localRunner({ env, settings, run }: Context, node: string): AgentRunner {
  const pod = { node, namespace: "", name: "" };
  return {
    title: `node ${node}`,
    pods: async () => [pod],
    async run(args) {
      const [stdout, stderr] = [collector(), collector()];
      const line = ["--socket", settings.socket, "--bpffs", settings.bpffs, ...args];
      const exitCode = await run(line, { ...env, stdout, stderr });
      const outcome: Outcome = {
        pod,
        exitCode,
        bytes: stdout.bytes(),
        stdout: stdout.bytes().toString(),
        stderr: stderr.bytes().toString(),
      };
      return [outcome];
    },
    nodeOf: async () => node,
  };
}

function collector() {
  const chunks: Buffer[] = [];
  return {
    write: (content: string | Uint8Array) => chunks.push(Buffer.from(content as Uint8Array)),
    bytes: () => Buffer.concat(chunks),
  };
}
