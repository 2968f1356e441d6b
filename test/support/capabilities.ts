// The capabilities that the chart gives its containers.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { agentPod, findObject, objectsOf, podOf } from "../../tools/chart/render.ts";

/** The chart's default output, which a unit test keeps up to date: reading it needs no renderer. */
const RENDERED = fileURLToPath(new URL("../../deploy/weir.yaml", import.meta.url));

/** Capabilities of the agent's container, rendered with these `--set`s: as in ["BPF", "NET_ADMIN"]. @throws Error if it keeps others */
export function chartCapabilities(set: readonly string[] = []): readonly string[] {
  const pod =
    set.length > 0
      ? agentPod(set)
      : podOf(findObject(objectsOf(readFileSync(RENDERED, "utf8")), "DaemonSet", "weir"));
  const { add = [], drop = [] } = pod.containers[0].securityContext.capabilities ?? {};
  if (drop.join() !== "ALL")
    throw new Error(`the container drops ${drop.join() || "no"} capabilities, not ALL`);
  return add;
}
