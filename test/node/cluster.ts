// A whole cluster: API server, controllers, scheduler and two nodes with real kubelets, and kubectl to use it as an operator does.

import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { present } from "../../src/base/assert.ts";
import { messageOf } from "../../src/base/errors.ts";
import { Teardown } from "../../src/lab/teardown.ts";
import type { Api, Manifest } from "../cluster/api.ts";
import { Child } from "../cluster/child.ts";
import { openServers, type Servers } from "../cluster/servers.ts";
import { imageOf, TAGS, writeRelaidImage, writeTestImages, writeWeirImage } from "./images.ts";
import { connectNodes, HOST, NODES, type Node, startNode } from "./nodes.ts";

const READY_MS_MAX = 180_000;
const POLL_MS = 200;

export interface Result {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Cluster {
  readonly api: Api;
  readonly nodes: readonly [Node, Node];
  /** Directory of images, logs and the nodes' files; tools/test-node.sh removes it. */
  readonly directory: string;
  /** kubectl with these arguments, whatever its exit status; `input` is its stdin. */
  kubectl(args: readonly string[], input?: string): Promise<Result>;
  /** As `kubectl`, for a command that must succeed: its stdout. @throws Error with its stderr */
  must(args: readonly string[], input?: string): Promise<string>;
  /** As `must`, its stdout as bytes. */
  bytes(args: readonly string[]): Promise<Buffer>;
  /** Polls until there is an answer. @throws Error with what it waited for, and why it failed, after a long time */
  until<T>(what: string, ask: () => Promise<T | undefined>, waitMsMax?: number): Promise<T>;
  close(): void;
}

/** Its nodes have the images of the tests and of Weir (weir.ts). */
export async function openCluster(): Promise<Cluster> {
  const directory = mkdtempSync(join(fromRun("WEIR_NODE_DIRECTORY"), "cluster-"));
  const teardown = new Teardown();
  try {
    return await clusterIn(directory, teardown);
  } catch (thrown) {
    teardown.close();
    throw thrown;
  }
}

const tokenOf = (user: string): string => `token-of-${user}`;

const USERS = [
  ...NODES.map(({ name }) => ({
    name: `system:node:${name}`,
    groups: ["system:nodes"],
    token: tokenOf(`node:${name}`),
  })),
  { name: "system:kube-proxy", groups: [], token: tokenOf("kube-proxy") },
];

async function clusterIn(directory: string, teardown: Teardown): Promise<Cluster> {
  connectNodes();
  const bin = dirname(program("KUBELET"));
  const starting = openServers({ host: HOST.v4, serviceAccounts: true, users: USERS });
  mkdirSync(join(directory, "images"));
  writeTestImages(join(directory, "images"));
  writeWeirImage(join(directory, "images", "weir.tar"), imageOf(TAGS.built));
  writeRelaidImage(join(directory, "images", "weir-relaid.tar"), imageOf(TAGS.relaid));
  const servers = await starting;
  teardown.defer(() => servers.close());
  const { api } = servers;
  const kubeconfig = (token: string): string => kubeconfigOf(servers, token);
  const admin = join(directory, "admin.kubeconfig");
  writeFileSync(admin, kubeconfig(servers.token), { mode: 0o600 });
  const controllers = new Child(
    [
      program("KUBE_CONTROLLER_MANAGER"),
      `--kubeconfig=${admin}`,
      "--use-service-account-credentials=false",
      "--leader-elect=false",
      `--service-account-private-key-file=${join(servers.directory, "service-accounts.key")}`,
      `--root-ca-file=${servers.ca}`,
      "--feature-gates=IPv6DualStack=true,EndpointSliceTerminatingCondition=true",
      "--port=0",
    ],
    join(directory, "controllers.log"),
  );
  teardown.defer(() => controllers.close());
  const scheduler = new Child(
    [program("KUBE_SCHEDULER"), `--kubeconfig=${admin}`, "--leader-elect=false", "--port=0"],
    join(directory, "scheduler.log"),
  );
  teardown.defer(() => scheduler.close());
  const nodes = NODES.map((spec) =>
    startNode(spec, { directory, bin, teardown, kubeconfig: (user) => kubeconfig(tokenOf(user)) }),
  );
  const [first, second] = nodes;
  const check = (): void => {
    for (const each of [controllers, scheduler, ...nodes]) each.check();
  };
  const must = async (args: readonly string[], input?: string): Promise<Buffer> => {
    const { status, stdout, stderr } = await kubectl(admin, args, input);
    if (status === 0) return stdout;
    throw new Error(`kubectl ${args.join(" ")}: ${stderr.trim() || `exit status ${status}`}`);
  };
  const cluster: Cluster = {
    api,
    nodes: [present(first, "node"), present(second, "node")],
    directory,
    async kubectl(args, input) {
      const { status, stdout, stderr } = await kubectl(admin, args, input);
      return { status, stdout: stdout.toString(), stderr };
    },
    must: async (args, input) => (await must(args, input)).toString(),
    bytes: (args) => must(args),
    async until(what, ask, waitMsMax = READY_MS_MAX) {
      const deadline = Date.now() + waitMsMax;
      let reason = "";
      for (;;) {
        check();
        const answer = await ask().catch((thrown: unknown) => {
          reason = `: ${messageOf(thrown)}`;
          return undefined;
        });
        if (answer !== undefined) return answer;
        if (Date.now() > deadline) throw new Error(`${what}: not within ${waitMsMax} ms${reason}`);
        await sleep(POLL_MS);
      }
    },
    close: () => teardown.close(),
  };
  await cluster.until("both nodes are ready", async () => {
    const found = await api.list("v1", "Node");
    return found.length === NODES.length && found.every(isReady) ? found : undefined;
  });
  // The kubelet registers its node without.
  for (const { name, podCidrs } of NODES)
    await api.patch(
      { kind: "Node", metadata: { name } },
      { spec: { podCIDR: podCidrs[0], podCIDRs: podCidrs } },
    );
  return cluster;
}

/** @throws Error if tools/test-node.sh has not set it */
function fromRun(variable: string): string {
  const value = process.env[variable];
  if (value === undefined)
    throw new Error(`${variable} is not set: run these tests by \`npm run test:node\``);
  return value;
}

/** See tools/kubernetes.sh. */
const program = (name: string): string => fromRun(`TEST_ASSET_${name}`);

function isReady({ status }: Manifest): boolean {
  const { conditions = [] } = (status ?? {}) as { conditions?: readonly { type: string; status: string }[] };
  return conditions.some(({ type, status: is }) => type === "Ready" && is === "True");
}

function kubeconfigOf({ url, ca }: Servers, token: string): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [
      {
        name: "c",
        cluster: { server: url, "certificate-authority-data": readFileSync(ca).toString("base64") },
      },
    ],
    users: [{ name: "u", user: { token } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
  });
}

interface Output extends Omit<Result, "stdout"> {
  readonly stdout: Buffer;
}

function kubectl(kubeconfig: string, args: readonly string[], input?: string): Promise<Output> {
  return new Promise((resolve) => {
    const cache = `--cache-dir=${dirname(kubeconfig)}/kubectl`;
    const child = execFile(
      program("KUBECTL"),
      [`--kubeconfig=${kubeconfig}`, cache, ...args],
      { maxBuffer: 64 * 1024 * 1024, encoding: "buffer" },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
        resolve({ status, stdout, stderr: stderr.toString() });
      },
    );
    child.stdin?.end(input ?? "");
  });
}
