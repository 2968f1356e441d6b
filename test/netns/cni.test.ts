// The chained CNI plugin with the real agent behind it: a pod is not started before its policy is in the kernel.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Agent } from "../../src/lab/weir-process.ts";
import { type Added, type CniWorld, newPod, openCniWorld, probeFrom, type Sandbox } from "./cni-world.ts";

const POLICIES = [
  {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { namespace: "alpha", name: "mute" },
    spec: { podSelector: { matchLabels: { role: "mute" } }, policyTypes: ["Egress"] },
  },
];

const PORT = 5000;
const NAMESPACE = { apiVersion: "v1", kind: "Namespace", metadata: { name: "alpha" } };
const PARALLEL = 50;
const MEASURED = 25;

describe.each([
  ["ptp", 97],
  ["bridge", 98],
] as const)("after %s", (network, net) => {
  let world: CniWorld;
  let agent: Agent;
  let server: { readonly sandbox: Sandbox; readonly added: Added };

  /** One datagram that the server would send back. */
  const shot = (timeoutMs = 300) =>
    ({ kind: "udp", address: server.added.addresses[0] ?? "", port: PORT, timeoutMs, once: true }) as const;
  const endpoints = async (): Promise<{ name: string; state: string; addresses: string[] }[]> =>
    JSON.parse((await world.weir("get", "endpoints", "-o", "json")).stdout);
  const claims = async (): Promise<{ waiting: number; inForce: number }> => {
    const { cni } = JSON.parse((await world.weir("status", "-o", "json")).stdout);
    return { waiting: cni.claims - cni.inForce, inForce: cni.inForce };
  };
  const mute = (at: number | string): Sandbox => world.sandbox(`alpha/mute-${at}`);

  beforeAll(async () => {
    world = openCniWorld({ prefix: `wt-cni-${network}`.slice(0, 8), network, net });
    world.manifests.put("cluster.yaml", [NAMESPACE, ...POLICIES]);
    world.manifests.put("pods.yaml", [
      newPod("alpha/server"),
      newPod("alpha/free"),
      ...Array.from({ length: PARALLEL + MEASURED }, (_, at) => newPod(`alpha/mute-${at}`, { role: "mute" })),
    ]);
    agent = await world.start();
    const sandbox = world.sandbox("alpha/server");
    server = { sandbox, added: await world.add(sandbox) };
    await world.process(sandbox, { addresses: server.added.addresses.slice(0, 1), port: PORT });
  });

  afterAll(() => world?.close());

  it("ADD passes on the result of the previous plugins", () => {
    expect(server.added).toMatchObject({ status: 0, stderr: "", output: { cniVersion: "1.0.0" } });
    expect(server.added.addresses).toHaveLength(2);
  });

  it("a pod has its policy and its addresses when ADD has ended, though its manifest has none", async () => {
    const free = world.sandbox("alpha/free");
    const before = await world.process(free);
    expect((await world.add(free)).status).toBe(0);
    expect((await probeFrom(before, shot(20_000))).result).toBe("reached");
    const sandbox = mute(0);
    const process = await world.process(sandbox);
    const added = await world.add(sandbox);
    expect(added.status).toBe(0);
    expect((await probeFrom(process, shot())).result).toBe("silent");
    const mine = (await endpoints()).find(({ name }) => name === "mute-0");
    expect(mine).toMatchObject({ state: "enforced", addresses: added.addresses });
  });

  it("ADD twice is one; CHECK, DEL and DEL again", async () => {
    const sandbox = mute(1);
    const added = await world.add(sandbox);
    const again = await world.call("ADD", sandbox, { prevResult: added.output });
    expect(again).toMatchObject({ status: 0, output: added.output });
    expect(await world.call("CHECK", sandbox, { prevResult: added.output })).toMatchObject({ status: 0 });
    expect(await world.del(sandbox)).toMatchObject({ status: 0, stderr: "", output: undefined });
    expect(await world.call("DEL", sandbox, {})).toMatchObject({ status: 0, stderr: "", output: undefined });
    expect(await world.call("CHECK", sandbox, { prevResult: added.output })).toMatchObject({
      status: 1,
      output: { cniVersion: "1.0.0", code: 111, msg: expect.stringContaining("never added, or removed") },
    });
  });

  it("ADD of a pod that is not yet in the source waits for it", async () => {
    const sandbox = world.sandbox("alpha/late");
    const process = await world.process(sandbox);
    const adding = world.add(sandbox);
    await expect.poll(async () => (await claims()).waiting, { timeout: 60_000 }).toBe(1);
    world.manifests.put("late.yaml", [newPod("alpha/late", { role: "mute" })]);
    const added = await adding;
    expect(added).toMatchObject({ status: 0 });
    expect((await probeFrom(process, shot())).result).toBe("silent");
  });

  it("ADD of a pod that stays unknown fails in time, with the reason", async () => {
    const sandbox = world.sandbox("alpha/nobody");
    expect(await world.add(sandbox, { timeoutMs: 3_000 })).toMatchObject({
      status: 1,
      output: { code: 11, details: "pod alpha/nobody is not known yet" },
    });
    await world.del(sandbox);
  });

  it("DEL ends an ADD that still waits", async () => {
    const sandbox = world.sandbox("alpha/nobody");
    const adding = world.add(sandbox, { timeoutMs: 30_000 });
    await expect.poll(async () => (await claims()).waiting, { timeout: 60_000 }).toBe(1);
    expect(await world.del(sandbox)).toMatchObject({ status: 0 });
    expect(await adding).toMatchObject({ status: 1, output: { msg: expect.stringContaining("removed") } });
  });

  it("GC removes what the runtime does not list; STATUS checks whether the agent is ready", async () => {
    const sandbox = mute(2);
    const { output: prevResult } = await world.add(sandbox);
    const gc = (valid: readonly Sandbox[]) =>
      world.call("GC", undefined, {
        cniVersion: "1.1.0",
        "cni.dev/valid-attachments": valid.map(({ containerId }) => ({
          containerID: containerId,
          ifname: "eth0",
        })),
      });
    const mine = async () => (await world.call("CHECK", sandbox, { prevResult })).status;
    expect(await gc([sandbox, server.sandbox])).toMatchObject({ status: 0, stderr: "" });
    expect(await mine()).toBe(0);
    expect(await gc([server.sandbox])).toMatchObject({ status: 0 });
    expect(await mine()).toBe(1);
    expect(await world.call("STATUS", undefined, { cniVersion: "1.1.0" })).toMatchObject({ status: 0 });
  });

  it("a claim outlives the agent, though nothing else has the pod's address", async () => {
    const sandbox = mute(3);
    const process = await world.process(sandbox);
    await world.add(sandbox);
    await agent.kill();
    expect((await probeFrom(process, shot())).result).toBe("silent");
    agent = await world.start();
    expect((await endpoints()).find(({ name }) => name === "mute-3")).toMatchObject({ state: "enforced" });
    expect((await probeFrom(process, shot())).result).toBe("silent");
  });

  it("without an agent no pod starts, unless the configuration says so; DEL and GC succeed", async () => {
    await agent.stop();
    const sandbox = mute(4);
    const refused = await world.add(sandbox);
    expect(refused).toMatchObject({ status: 1, output: { code: 11, msg: "the agent cannot be reached" } });
    const added = await world.network("ADD", sandbox);
    const open = await world.call("ADD", sandbox, { prevResult: added.output, failOpen: true });
    expect(open).toMatchObject({ status: 0, stderr: expect.stringContaining("starts without its policy") });
    expect(await world.del(sandbox)).toMatchObject({ status: 0, stderr: expect.stringContaining("DEL: ") });
    const gc = { cniVersion: "1.1.0", "cni.dev/valid-attachments": [] };
    expect(await world.call("GC", undefined, gc)).toMatchObject({ status: 0 });
    const status = await world.call("STATUS", undefined, { cniVersion: "1.1.0" });
    expect(status).toMatchObject({ status: 1, output: { code: 50 } });
    agent = await world.start();
  });
});
