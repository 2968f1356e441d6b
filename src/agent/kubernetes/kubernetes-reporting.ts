// Reports from the agent to the API server that it follows: Events and, if enabled, the node's condition.

import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { ClusterSnapshot } from "../../model/cluster-snapshot.ts";
import type { Problem } from "../../model/problem.ts";
import type { SourceOptions } from "../../source/source.ts";
import type { EventCount } from "./event-recorder.ts";

export interface KubernetesOptions {
  /** Whether problems are reported as Events. */
  readonly events: boolean;
  /** Whether the node gets Weir's condition. */
  readonly condition: boolean;
}

export interface Kubernetes {
  /**
   * Takes the problems after a reconciliation of this snapshot, and the recent incidents, which become Events
   * only. Returns at once, and never throws.
   */
  update(problems: readonly Problem[], incidents: readonly Problem[], reading: ClusterSnapshot): void;
  counts(): readonly EventCount[];
  close(): Promise<void>;
}

interface KubernetesEnv {
  readonly log: Log;
  readonly now: () => Date;
  readonly version: string;
}

const REPORTING_DISABLED: Kubernetes = {
  update: () => undefined,
  counts: () => [],
  close: () => Promise.resolve(),
};

/** Reports nothing if there is no API server, or if all reporting is disabled. Never throws. */
export async function openKubernetes(
  source: SourceOptions,
  options: KubernetesOptions | undefined,
  env: KubernetesEnv,
): Promise<Kubernetes> {
  if (source.kind !== "apiserver" || options === undefined || !(options.events || options.condition))
    return REPORTING_DISABLED;
  try {
    return await connect(source, options, env);
  } catch (error) {
    // Enforcement does not depend on it.
    env.log.error("event reporting disabled", { reason: messageOf(error) });
    return REPORTING_DISABLED;
  }
}

async function connect(
  { credentials, node }: Extract<SourceOptions, { readonly kind: "apiserver" }>,
  options: KubernetesOptions,
  env: KubernetesEnv,
): Promise<Kubernetes> {
  const [{ openCredentials }, { openClient }, { TIMING }] = await Promise.all([
    import("../../source/apiserver/credentials.ts"),
    import("../../source/apiserver/http-client.ts"),
    import("../../source/apiserver/request-timing.ts"),
  ]);
  const [{ openEventRecorder }, { NOTICE_TIMING }, { CONDITION_TIMING, openCondition }] = await Promise.all([
    import("./event-recorder.ts"),
    import("./event-rate-limit.ts"),
    import("./node-condition.ts"),
  ]);
  // Connections of its own: a report never waits for a list, nor a watch for a report.
  const client = openClient(openCredentials(credentials), TIMING, `weir/${env.version}`);
  const recorder = options.events
    ? openEventRecorder({ client, node, timing: NOTICE_TIMING }, env)
    : undefined;
  const condition = options.condition
    ? openCondition({ client, node, timing: CONDITION_TIMING }, env)
    : undefined;
  return {
    update(problems, incidents, { cluster, readable }) {
      // Before the first complete list no pod is known, which does not mean that its problems are over.
      if (!readable) return;
      recorder?.update({ problems: [...problems, ...incidents], pods: cluster.pods });
      condition?.update({ problems, pods: cluster.pods });
    },
    counts: () => recorder?.counts() ?? [],
    async close() {
      await Promise.all([recorder?.close(), condition?.close()]);
      client.close();
    },
  };
}
