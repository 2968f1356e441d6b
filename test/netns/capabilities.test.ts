// The agent with no more than the capabilities that the Helm chart gives its container, enforcing on real sockets; and with one less.

import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Agent, type ProductPaths, weir } from "../../src/lab/product.ts";
import { agentPod } from "../../tools/chart/render.ts";
import { mismatchesOf } from "./reach.ts";
import { FRIENDS_ONLY, FRIENDS_ONLY_HOLDS, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

let world: World;

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-caps", { "friends-only.yaml": FRIENDS_ONLY }));
});

afterAll(() => world?.close());

/** As in ["BPF", "NET_ADMIN"]. */
function capabilitiesOf(set: readonly string[]): readonly string[] {
  const { add = [], drop } = agentPod(set).containers[0].securityContext.capabilities ?? {};
  expect(drop).toEqual(["ALL"]);
  return add;
}

/** The command as a container with these capabilities runs it: none but them, and no way to more. */
function pathsWith(capabilities: readonly string[]): ProductPaths {
  const set = ["-all", ...capabilities.map((each) => `+${each.toLowerCase()}`)].join(",");
  const bin = join(dirname(world.paths.socket), "weir");
  const confined = `setpriv --no-new-privs --bounding-set=${set} --inh-caps=${set}`;
  writeFileSync(bin, `#!/bin/sh\nexec ${confined} ${world.paths.bin} "$@"\n`, { mode: 0o755 });
  return { ...world.paths, bin };
}

async function enforces(capabilities: readonly string[], ...args: readonly string[]): Promise<void> {
  const paths = pathsWith(capabilities);
  const agent = Agent.spawn(paths, world.manifests.path, args);
  try {
    await agent.ready();
    expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  } finally {
    await agent.stop();
  }
  const { status, stderr } = await weir(paths, ["cleanup"]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
}

it("enforces and cleans up with the chart's capabilities", async () => {
  await enforces(capabilitiesOf([]));
});

it("gives its socket to a group", async () => {
  await enforces(capabilitiesOf(["config.socketGroup=4711"]), "--socket-group", "4711");
});

/** Of addresses in pods' namespaces the agent is told by it; without, it looks for them itself now and then. */
const SPARED = "NET_BROADCAST";
const needed = (): readonly string[] => capabilitiesOf([]).filter((each) => each !== SPARED);

it("enforces without being told of pods' addresses at once", async () => {
  expect(capabilitiesOf([])).toContain(SPARED);
  await enforces(needed());
});

it("and needs every one of the others", async () => {
  const all = needed();
  for (const missing of all) {
    const { status, stderr } = await weir(pathsWith(all.filter((each) => each !== missing)), [
      "run",
      "--once",
      "--manifests",
      world.manifests.path,
      "--metrics-listen",
      "off",
    ]);
    expect({ missing, status, denied: /EPERM|EACCES|Operation not permitted/.test(stderr) }, stderr).toEqual({
      missing,
      status: 1,
      denied: true,
    });
  }
});
