// `kubectl weir` against a real API server and two real agents, each with a pod of its own; only what the kubelets do is the
// test's (kubelet.ts).

import { execFile, execFileSync } from "node:child_process";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  Agent,
  type CommandResult,
  cleanUp,
  commandOf,
  type ProductPaths,
} from "../../src/lab/weir-process.ts";
import { type Container, type ContainerResult, type Kubelet, openKubelet } from "./kubelet.ts";
import { createPod, namespaceOf } from "./objects.ts";
import { NODE, OTHER_NODE, openWorld, type World } from "./world.ts";

const PLUGIN = fileURLToPath(new URL("../../bin/kubectl-weir", import.meta.url));
const AGENTS = "weir-system";
const PATIENCE_MS = 60_000;

let world: World;
let kubelet: Kubelet;
let kubeconfig: string;
let second: Agent;
const pods = new Map<string, Container>();

const web = (name: string, number: number) => ({
  name: `shop/${name}`,
  labels: { app: "web" },
  addresses: [`10.63.78.${number}`],
  tcp: [80],
});

/** The agent's pod of a node, as the DaemonSet makes it. */
async function agentPod(node: string, run: Container): Promise<void> {
  const name = `weir-${node}`;
  const object = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: AGENTS,
      labels: { "app.kubernetes.io/name": "weir", "app.kubernetes.io/component": "agent" },
    },
    spec: {
      nodeName: node,
      hostNetwork: true,
      containers: [{ name: "weir", image: "registry.example/weir:1" }],
    },
  };
  await world.api.create(object);
  await world.api.patch(object, { status: { phase: "Running" } }, "/status");
  pods.set(`${AGENTS}/${name}`, run);
}

/** As `weir` of the lab, with the output's bytes as they are. */
function runIn(paths: ProductPaths, words: readonly string[]): Promise<ContainerResult> {
  const [command, args] = commandOf(paths, words);
  return new Promise((resolve) => {
    const options = { encoding: "buffer", maxBuffer: 64 << 20 } as const;
    execFile(command, args, options, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      resolve({ status, stdout, stderr: stderr.toString() });
    });
  });
}

beforeAll(async () => {
  world = await openWorld("wc-kw");
  const { api, servers, lab, paths } = world;
  for (const name of ["shop", AGENTS]) await api.create(namespaceOf(name));
  const certificates = join(servers.directory, "certificates");
  kubelet = await openKubelet(servers.ca, join(certificates, "apiserver.key"), pods);
  for (const name of [NODE, OTHER_NODE])
    await api.patch(
      { apiVersion: "v1", kind: "Node", metadata: { name } },
      {
        status: {
          addresses: [{ type: "InternalIP", address: "127.0.0.1" }],
          daemonEndpoints: { kubeletEndpoint: { Port: kubelet.port } },
        },
      },
      "/status",
    );
  await world.addPods([web("web-1", 1)]);
  await lab.add([web("web-2", 2)]);
  await createPod(api, { ...web("web-2", 2), node: OTHER_NODE });
  await api.create({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "closed", namespace: "shop" },
    spec: { podSelector: { matchLabels: { app: "web" } }, policyTypes: ["Ingress"] },
  });
  await world.start();
  const elsewhere = { ...paths, bpffs: `${paths.bpffs}-2`, socket: "/run/wc-kw/second/agent.sock" };
  lab.defer(() => cleanUp(elsewhere));
  second = Agent.run(elsewhere, [
    ...["--kubeconfig", world.access.kubeconfig, "--node-name", OTHER_NODE],
    ...["--metrics-listen", "off", "--probe-listen", "off"],
  ]);
  lab.defer(() => second.killNow());
  await second.ready();
  await agentPod(NODE, (args) => runIn(paths, args));
  await agentPod(OTHER_NODE, (args) => runIn(elsewhere, args));
  kubeconfig = join(servers.directory, "admin.kubeconfig");
  const cluster = { server: servers.url, "certificate-authority": servers.ca };
  const context = (name: string, user: string) => ({ name, context: { cluster: "test", user } });
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "admin",
      clusters: [{ name: "test", cluster }],
      users: [
        { name: "admin", user: { token: servers.token } },
        { name: "stranger", user: { token: "wrong" } },
      ],
      contexts: [context("admin", "admin"), context("stranger", "stranger")],
    }),
  );
});

afterAll(() => {
  kubelet?.close();
  world?.close();
});

/** In another process than the kubelet, which must go on meanwhile. */
function run(...args: readonly string[]): Promise<CommandResult> {
  const env = { ...process.env, KUBECONFIG: kubeconfig };
  return new Promise((resolve) => {
    execFile(PLUGIN, args, { env }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      resolve({ status, stdout, stderr });
    });
  });
}

describe("kubectl weir", () => {
  it("status has a line for each node", async () => {
    const { status, stdout, stderr } = await run("status");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "weir: 2 nodes, all ok\n" });
    expect(stdout).toMatch(/^NODE +HEALTH +(VERSION +)?ENDPOINTS +POLICIES +PROBLEMS +DETAIL\n/);
    expect(stdout).toMatch(/^node-1 +ok .* 1 endpoint, 1 policy, all enforced/m);
    expect(stdout).toMatch(/^node-2 +ok .* 1 endpoint, 1 policy, all enforced/m);
  });

  it("get endpoints has the pods of all nodes, filtered as on one", async () => {
    const { status, stdout } = await run("get", "pods", "-A");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^node-1 +shop +web-1 .* closed +open +enforced$/m);
    expect(stdout).toMatch(/^node-2 +shop +web-2 .* closed +open +enforced$/m);
    const one = await run("get", "ep", "shop/web-2", "-o", "json");
    expect(JSON.parse(one.stdout)).toMatchObject([{ node: "node-2", name: "web-2", state: "enforced" }]);
    expect(JSON.parse((await run("get", "ep", "-l", "app=none", "-o", "json")).stdout)).toEqual([]);
    expect(await run("get", "ep", "shop/absent")).toEqual({
      status: 4,
      stdout: "",
      stderr: "weir: no node has a pod shop/absent\n",
    });
  });

  it("get policies adds up the nodes", async () => {
    const { status, stdout } = await run("get", "netpol");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^shop +closed +2 +2 +enforced on 2 of 2 pods, 2 nodes$/m);
  });

  it("trace has the kernels of both ends", async () => {
    const { status, stdout } = await run(
      "trace",
      "--from",
      "shop/web-1",
      "--to",
      "shop/web-2",
      "--port",
      "80",
    );
    expect(status).toBe(3);
    expect(stdout).toMatch(
      /^on node node-1:\ndenied: TCP\/80 from shop\/web-1 [\s\S]*kernel: from_pod on \S+ passes it/,
    );
    expect(stdout).toMatch(/^on node node-2:\ndenied: [\s\S]*kernel: to_pod on \S+ drops it \(denied\)/m);
    expect((await run("trace", "--from", "192.0.2.1", "--to", "shop/web-2", "--port", "80")).stdout).toMatch(
      /^denied: /,
    );
  });

  it("monitor merges the nodes' events in order", async () => {
    const probe = (address: string) =>
      ({ kind: "tcp", address, port: 80, timeoutMs: 100, once: true }) as const;
    await world.lab.probe("shop/web-2", probe("10.63.78.1"));
    await world.lab.probe("shop/web-1", probe("10.63.78.2"));
    await world.lab.probe("shop/web-2", probe("10.63.78.1"));
    for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(100)) {
      const { status, stdout } = await run("monitor", "-o", "json", "--reason", "denied");
      expect(status).toBe(0);
      const events = stdout
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as { readonly time: string; readonly endpoint: string });
      const seen = new Set(events.map(({ endpoint }) => endpoint));
      expect(events.map(({ time }) => time)).toEqual(events.map(({ time }) => time).sort());
      if (seen.size === 2) break;
      if (Date.now() > deadline) throw new Error(`only of ${[...seen].join(", ")}`);
    }
    expect(await run("monitor", "--pod", "shop/absent")).toMatchObject({ status: 4, stdout: "" });
  });

  it("sysdump has an archive of each node's", async () => {
    const file = "/run/wc-kw/dump.tar";
    expect(await run("sysdump", "-o", file, "--request-timeout", "120")).toMatchObject({
      status: 0,
      stdout: `${file}\n`,
    });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const listed = execFileSync("tar", ["tf", file], { encoding: "utf8" });
    expect(listed).toBe("node-1/sysdump.tar.gz\nnode-2/sysdump.tar.gz\n");
    for (const node of [NODE, OTHER_NODE]) {
      const inner = execFileSync("tar", ["xOf", file, `${node}/sysdump.tar.gz`], { maxBuffer: 64 << 20 });
      const status = execFileSync("tar", ["xzO", "--wildcards", "*/agent/status.json"], { input: inner });
      expect(JSON.parse(status.toString())).toMatchObject({ endpoints: 1 });
    }
    expect((await run("sysdump", "-o", "/none/dump.tar")).status).toBe(1);
  });

  it("says which nodes have no answer, and has the others'", async () => {
    await second.kill();
    const down = await run("status");
    expect(down).toMatchObject({ status: 7, stderr: "weir: 1 of 2 nodes not ok\n" });
    expect(down.stdout).toMatch(
      /^node-2 +down .* no agent answers; the kernel enforces the last applied state$/m,
    );
    kubelet.close();
    const gone = await run("status", "--request-timeout", "5");
    expect(gone.status).toBe(7);
    expect(gone.stdout).toMatch(/^node-1 +unreachable /m);
    const listed = await run("get", "pods", "-o", "json", "--request-timeout", "5s");
    expect({ status: listed.status, pods: JSON.parse(listed.stdout) }).toEqual({ status: 1, pods: [] });
    expect(listed.stderr).toMatch(/^weir: node node-1: /);
  });

  it("takes contexts, and says who may not", async () => {
    expect((await run("status", "--context", "stranger")).status).toBe(6);
    expect(await run("status", "--context", "none")).toEqual({
      status: 4,
      stdout: "",
      stderr: "weir: no context none is in the kubeconfig\n",
    });
    expect((await run("status", "--kubeconfig", "/none")).status).toBe(1);
    expect((await run("status", "--request-timeout", "x")).status).toBe(2);
  });
});
