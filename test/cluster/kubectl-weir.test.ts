// `kubectl weir` against a real API server and two real agents, each with a pod of its own; only what the kubelets do is the
// test's (kubelet.ts).

import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DropsView, MatrixView, PoliciesView, TraceView } from "../../src/cli/ui/page-views.ts";
import {
  Agent,
  type CommandResult,
  cleanUp,
  commandOf,
  type ProductPaths,
} from "../../src/lab/weir-process.ts";
import { type Container, type ContainerStreams, type Kubelet, openKubelet } from "./kubelet.ts";
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

/** As a container runtime runs it: the standard input is open until the connection is closed, and then it ends. */
const running = new Set<number>();

function runIn(
  paths: ProductPaths,
  words: readonly string[],
  { stdout, stderr, closed }: ContainerStreams,
): Promise<number> {
  const [command, args] = commandOf(paths, words);
  return new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] });
    const { pid = 0 } = child;
    running.add(pid);
    child.stdout.on("data", stdout);
    child.stderr.on("data", stderr);
    closed.addEventListener("abort", () => child.stdin.end());
    child.on("close", (code) => {
      running.delete(pid);
      resolve(code ?? -1);
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
  await agentPod(NODE, (args, streams) => runIn(paths, args, streams));
  await agentPod(OTHER_NODE, (args, streams) => runIn(elsewhere, args, streams));
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

/** `kubectl weir ui` until it is stopped, with its answers. */
async function openPage() {
  const child = spawn(PLUGIN, ["ui"], {
    env: { ...process.env, KUBECONFIG: kubeconfig },
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const url = new URL(line.toString().trim());
  return {
    async ask(path: string): Promise<unknown> {
      const headers = { authorization: `Bearer ${url.hash.slice(1)}` };
      const response = await fetch(new URL(`/api/${path}`, url), { headers });
      expect(response.status).toBe(200);
      return response.json();
    },
    async stop(): Promise<number | null> {
      child.kill("SIGTERM");
      if (child.exitCode === null) await once(child, "exit");
      return child.exitCode;
    },
  };
}

const denied = (address: string) => ({ kind: "tcp", address, port: 80, timeoutMs: 100, once: true }) as const;

async function until(isDone: () => boolean, state: () => string): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; !isDone(); await sleep(50))
    if (Date.now() > deadline) throw new Error(state());
}

/** Runs until it is killed; `ended` is its exit status. */
function startPlugin(args: readonly string[]) {
  const env = { ...process.env, KUBECONFIG: kubeconfig };
  const child = spawn(PLUGIN, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  const said = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const)
    child[stream].on("data", (chunk: Buffer) => {
      said[stream] += chunk.toString();
    });
  return { child, ended, said };
}

interface Drops {
  readonly rows: readonly { readonly node?: string; readonly packets: number }[];
  readonly total: { readonly packets: number };
  readonly nodes: readonly { readonly node: string }[];
}

interface Top {
  readonly pods: readonly { readonly node: string; readonly pod: string }[];
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
      stderr: "weir: no pod shop/absent on any node\n",
    });
    expect((await run("get", "po", "-o", "name")).stdout).toBe("shop/web-1\nshop/web-2\n");
    expect((await run("get", "po", "-o", "name", "--node", "node-2")).stdout).toBe("shop/web-2\n");
    expect(await run("get", "po", "--node", "node-9")).toMatchObject({
      status: 4,
      stderr: "weir: no agent is on node node-9\n",
    });
  });

  it("get policies adds up the nodes", async () => {
    const { status, stdout } = await run("get", "netpol");
    expect(status).toBe(0);
    expect(stdout).toMatch(/^shop +closed +2 +2 +enforced on 2 of 2 pods, 2 nodes$/m);
    expect((await run("get", "netpol", "-o", "name", "--pod", "shop/web-1")).stdout).toBe("shop/closed\n");
    expect(await run("get", "netpol", "shop/absent")).toMatchObject({
      status: 4,
      stderr: "weir: no policy shop/absent\n",
    });
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
      /^denied: TCP\/80 from shop\/web-1 [\s\S]*kernel of node-1: from_pod on \S+ passes it .*\n {2}kernel of node-2: to_pod on \S+ drops it \(denied\)\n$/,
    );
    expect(stdout.match(/^denied: /gm)).toHaveLength(1);
    expect((await run("trace", "--from", "192.0.2.1", "--to", "shop/web-2", "--port", "80")).stdout).toMatch(
      /^denied: /,
    );
  });

  it("monitor merges the nodes' events in order", async () => {
    await world.lab.probe("shop/web-2", denied("10.63.78.1"));
    await world.lab.probe("shop/web-1", denied("10.63.78.2"));
    await world.lab.probe("shop/web-2", denied("10.63.78.1"));
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

  it("monitor -f follows all nodes over lost connections, and leaves no process behind", async () => {
    const args = ["monitor", "-f", "--last", "0", "-o", "json", "--reason", "denied"];
    const { child, ended, said } = startPlugin(args);
    const lines = () => said.stdout.split("\n").filter((line) => line !== "");
    const probeBoth = async (): Promise<void> => {
      await world.lab.probe("shop/web-2", denied("10.63.78.1"));
      await world.lab.probe("shop/web-1", denied("10.63.78.2"));
    };
    const nodes = () => new Set(lines().map((line) => (JSON.parse(line) as { readonly node: string }).node));
    try {
      // It follows from some moment on.
      for (const deadline = Date.now() + PATIENCE_MS; nodes().size < 2; await sleep(500)) {
        await probeBoth();
        if (Date.now() > deadline) throw new Error(`${said.stdout}${said.stderr}`);
      }
      const before = lines().length;
      kubelet.disconnect();
      await until(
        () => (said.stderr.match(/^weir: node node-[12]: follows again$/gm) ?? []).length === 2,
        () => said.stderr,
      );
      expect(said.stderr).toMatch(/^weir: node node-1: the connection was closed; trying again$/m);
      await probeBoth();
      await until(
        () => lines().length >= before + 2,
        () => `${said.stdout}${said.stderr}`,
      );
      expect(new Set(lines()).size).toBe(lines().length);
      const times = lines().map((line) => (JSON.parse(line) as { readonly time: string }).time);
      expect(times).toEqual([...times].sort());
    } finally {
      child.kill("SIGINT");
    }
    expect(await ended).toBe(0);
    await until(
      () => running.size === 0,
      () => `${running.size} processes are left`,
    );
  });

  it("drops, top and the minutes of monitor have the histories of all nodes", async () => {
    const drops = JSON.parse((await run("drops", "-o", "json")).stdout) as Drops;
    const byNode = (node: string) => drops.rows.filter((row) => row.node === node);
    expect(byNode("node-1")[0]).toMatchObject({ pod: "shop/web-1", peer: "shop/web-2", port: "TCP/80" });
    expect(byNode("node-2")[0]).toMatchObject({ pod: "shop/web-2", peer: "shop/web-1", port: "TCP/80" });
    expect(drops.nodes.map(({ node }) => node)).toEqual([NODE, OTHER_NODE]);
    const { rows } = JSON.parse((await run("drops", "--by", "policy", "-o", "json")).stdout) as Drops;
    expect(rows).toMatchObject([{ policy: "shop/closed", packets: drops.total.packets }]);
    const table = await run("drops", "--pod", "shop/web-1", "--since", "30m");
    expect(table.stdout).toMatch(/^(NODE +)?POD +(DIRECTION +)?REASON +PEER +PORT +POLICY +PACKETS +BYTES\n/);
    expect(table.stderr).toMatch(
      /^weir: the history begins between \S+Z \(node node-1\) and \S+Z \(node node-2\)\n/,
    );
    expect(await run("drops", "--policy", "shop/none")).toMatchObject({
      status: 4,
      stderr: "weir: no policy shop/none, nor in the history of this time\n",
    });
    const top = JSON.parse((await run("top", "--by", "packets", "-o", "json")).stdout) as Top;
    expect(top.pods.map(({ node, pod }) => [node, pod]).sort()).toEqual([
      [NODE, "shop/web-1"],
      [OTHER_NODE, "shop/web-2"],
    ]);
    expect((await run("top", "--limit", "1")).stderr).toContain("weir: and 1 more pod\n");
    const minutes = await run("monitor", "--since", "1h", "--reason", "denied");
    expect(minutes.stdout).toMatch(/^\S+Z denied ingress shop\/web-1 <- shop\/web-2 TCP\/80: \d+ packet/m);
    expect(minutes.stdout).toMatch(/^\S+Z denied ingress shop\/web-2 <- shop\/web-1 TCP\/80: \d+ packet/m);
    expect((await run("monitor", "--since", "1h", "-f")).status).toBe(2);
  });

  it("monitor -f says at its end how many dropped packets had no event meanwhile", async () => {
    const { child, ended, said } = startPlugin(["monitor", "-f", "--reason", "denied"]);
    const stop = await world.lab.watch("shop/web-1", denied("10.63.78.2"), 1);
    try {
      // Many more a second than one pod's events.
      await until(
        () => said.stdout.length > 5_000,
        () => `${said.stdout}${said.stderr}`,
      );
    } finally {
      await stop();
      child.kill("SIGINT");
    }
    expect(await ended).toBe(0);
    expect(said.stderr).toMatch(/^weir: [1-9]\d* dropped packets? meanwhile without an event: rate limit$/m);
  });

  it("bypass list has those of all nodes, and begins none", async () => {
    expect(await run("bypass", "list")).toEqual({
      status: 0,
      stdout: "",
      stderr: "weir: no bypass is in force\n",
    });
    await world.weir("bypass", "pod", "shop/web-1", "--for", "5m", "--reason", "a test");
    const { stdout } = await run("bypass", "list");
    expect(stdout).toMatch(/^NODE +TARGET +SINCE +UNTIL +REASON\nnode-1 +shop\/web-1 +\S+Z +\S+Z +a test\n$/);
    expect((await run("bypass", "node", "--for", "5m", "--reason", "x")).status).toBe(2);
    await world.weir("bypass", "end", "--all");
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

  it("ui serves a page on loopback, with what all nodes answer", async () => {
    const page = await openPage();
    try {
      const overview = await page.ask("overview");
      expect(overview).toMatchObject({
        title: "cluster test",
        nodes: [
          { node: NODE, report: { health: "ok", endpoints: 1 } },
          { node: OTHER_NODE, report: { health: "ok", endpoints: 1 } },
        ],
      });
      // Each node knows one side: nothing is known of web-2's egress on the node of web-1.
      const matrix = (await page.ask("matrix?from=shop&to=shop")) as MatrixView;
      expect(matrix).toMatchObject({
        failures: [],
        rows: [{ namespace: "shop", workload: "web", pods: 2, isolated: { ingress: 2, egress: 0 } }],
      });
      expect(matrix.distinct[matrix.cells[0]?.[0] ?? -1]).toMatchObject({ kind: "none" });
      const { policies } = (await page.ask("policies")) as PoliciesView;
      expect(policies).toMatchObject([{ name: "closed", pods: 2, enforced: 2 }]);
      expect(policies[0]?.nodes.map(({ node }) => node)).toEqual([NODE, OTHER_NODE]);
      const { reports } = (await page.ask("trace?from=shop/web-1&to=shop/web-2&port=80")) as TraceView;
      expect(reports.map(({ node, report }) => ({ node, allowed: report.allowed }))).toEqual([
        { node: NODE, allowed: false },
        { node: OTHER_NODE, allowed: false },
      ]);
      const drops = (await page.ask("drops?since=1h")) as DropsView;
      expect(new Set(drops.rows.map(({ node }) => node))).toEqual(new Set([NODE, OTHER_NODE]));
    } finally {
      expect(await page.stop()).toBe(0);
    }
  });

  it("says which nodes have no answer, and has the others'", async () => {
    await second.kill();
    const down = await run("status", "-o", "wide");
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
    const nobody = await run("status", "--as", "nobody");
    expect(nobody).toMatchObject({ status: 6, stdout: "" });
    expect(nobody.stderr).toContain('User "nobody" cannot list resource "pods"');
    expect((await run("status", "--as", "nobody", "--as-group", "system:masters")).status).toBe(7);
    expect((await run("status", "--token", "wrong")).status).toBe(6);
    expect((await run("status", "--server", "https://127.0.0.1:1")).status).toBe(1);
    expect((await run("status", "--user", "none")).status).toBe(4);
    expect((await run("status", "--request-timeout", "x")).status).toBe(2);
  });
});
