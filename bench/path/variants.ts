// What stands on the host side of the pods' links while flows cross them, and how it gets there and away again.

import { readFileSync } from "node:fs";
import { BpfLink } from "bpf-ts";
import type { Lab } from "../../src/lab/netns-lab.ts";
import { Agent, cleanUp, type ProductPaths } from "../../src/lab/weir-process.ts";
import type { Driver } from "../packet/driver.ts";

export const VARIANTS = [
  { id: "none", what: "nothing" },
  { id: "tc-empty", what: "an empty tc program in both directions" },
  { id: "tc-weir", what: "Weir, as it is by default" },
  { id: "xdp-empty", what: "an empty native XDP program on what pods send" },
  { id: "xdp-weir", what: "Weir with --from-pod-hook xdp" },
] as const;
export type Variant = (typeof VARIANTS)[number];

export interface Ground {
  readonly lab: Lab;
  /** The pods' names in the lab. */
  readonly pods: readonly string[];
  readonly driver: Driver;
  readonly paths: ProductPaths;
  /** The directory with the pods' manifests. */
  readonly manifests: string;
}

/** Puts it there; the function returned takes it away. Errors: OperationError, BpfError. */
export async function putUp(ground: Ground, { id }: Variant): Promise<() => void> {
  switch (id) {
    case "none":
      return () => undefined;
    case "tc-empty":
      return attached(ground, "tc");
    case "xdp-empty":
      return attached(ground, "xdp");
    case "tc-weir":
      return enforced(ground, "tc");
    case "xdp-weir":
      return enforced(ground, "xdp");
  }
}

async function attached({ lab, pods, driver }: Ground, hook: "tc" | "xdp"): Promise<() => void> {
  using program = driver.nothing(hook);
  const links: BpfLink[] = [];
  const takeAway = (): void => {
    for (const link of links) link.close();
  };
  try {
    for (const pod of pods) {
      const ifindex = Number(readFileSync(`/sys/class/net/${lab.wire(pod).link}/ifindex`, "utf8"));
      if (hook === "xdp") links.push(await BpfLink.attach(program, { kind: "xdp", ifindex, mode: "native" }));
      else
        for (const direction of ["ingress", "egress"] as const)
          links.push(await BpfLink.attach(program, { kind: "tcx", ifindex, direction }));
    }
  } catch (thrown) {
    takeAway();
    throw thrown;
  }
  return takeAway;
}

/** The agent ends before anything is measured: it enforces without. */
async function enforced({ paths, manifests }: Ground, hook: "tc" | "xdp"): Promise<() => void> {
  const agent = Agent.spawn(paths, manifests, ["--from-pod-hook", hook]);
  try {
    await agent.ready();
    await agent.stop();
  } catch (thrown) {
    await agent.kill();
    cleanUp(paths);
    throw thrown;
  }
  return () => cleanUp(paths);
}
