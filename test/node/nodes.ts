// Nodes in namespaces of their own: a wire between them, containerd, kubelet and kube-proxy on each (node.sh).

import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Teardown } from "../../src/lab/teardown.ts";
import { Child } from "../cluster/child.ts";
import { PAUSE_IMAGE } from "./images.ts";

const NODE_SH = fileURLToPath(new URL("node.sh", import.meta.url));

/** Where the API server listens: the end of the wire in the namespace of the tests. */
export const HOST = { v4: "10.88.0.1", v6: "fd00:88::1" } as const;
const WIRE = "wire";

/** How a node's CNI configuration connects pods. */
export type Wiring = "ptp" | "bridge";

export interface NodeSpec {
  readonly name: string;
  readonly v4: string;
  readonly v6: string;
  /** Of its pods: prefixes of both families, and the node's own address within the first one. */
  readonly podCidrs: readonly [string, string];
  readonly wiring: Wiring;
}

export const NODES: readonly [NodeSpec, NodeSpec] = [
  {
    name: "node-1",
    v4: "10.88.0.11",
    v6: "fd00:88::11",
    podCidrs: ["10.244.1.0/24", "fd00:244:1::/64"],
    wiring: "ptp",
  },
  {
    name: "node-2",
    v4: "10.88.0.12",
    v6: "fd00:88::12",
    podCidrs: ["10.244.2.0/24", "fd00:244:2::/64"],
    wiring: "bridge",
  },
];

const run = (command: string, ...args: readonly string[]): string =>
  execFileSync(command, args, { encoding: "utf8" });
const ip = (...args: readonly string[]): string => run("ip", ...args);
const inNode = (name: string, ...command: readonly string[]): string =>
  run("nsenter", `--net=/run/netns/${name}`, ...command);

/** The namespaces, and the routes between the nodes' pods as a cloud or Flannel's host-gw makes them. */
export function connectNodes(): void {
  ip("link", "add", WIRE, "type", "bridge");
  ip("addr", "add", `${HOST.v4}/24`, "dev", WIRE);
  ip("addr", "add", `${HOST.v6}/64`, "dev", WIRE, "nodad");
  ip("link", "set", WIRE, "up");
  for (const node of NODES) {
    ip("netns", "add", node.name);
    ip("link", "add", node.name, "type", "veth", "peer", "name", "eth0", "netns", node.name);
    ip("link", "set", node.name, "master", WIRE, "up");
    const inside = (...args: readonly string[]): string => ip("-n", node.name, ...args);
    inside("link", "set", "lo", "up");
    inside("addr", "add", `${node.v4}/24`, "dev", "eth0");
    inside("addr", "add", `${node.v6}/64`, "dev", "eth0", "nodad");
    inside("link", "set", "eth0", "up");
    inside("route", "add", "default", "via", HOST.v4);
    inside("route", "add", "default", "via", HOST.v6);
    inNode(node.name, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1");
    if (node.wiring === "bridge")
      inNode(
        node.name,
        "sysctl",
        "-qw",
        "net.bridge.bridge-nf-call-iptables=1",
        "net.bridge.bridge-nf-call-ip6tables=1",
      );
  }
  for (const node of NODES) {
    const [v4, v6] = node.podCidrs;
    ip("route", "add", v4, "via", node.v4);
    ip("route", "add", v6, "via", node.v6);
    for (const other of NODES.filter((each) => each !== node)) {
      ip("-n", other.name, "route", "add", v4, "via", node.v4);
      ip("-n", other.name, "route", "add", v6, "via", node.v6);
    }
  }
}

export interface NodeEnv {
  /** Directory of the whole cluster; the node's own is a folder of the node's name below. */
  readonly directory: string;
  /** Where the programs are. */
  readonly bin: string;
  /** A kubeconfig as text, by user. */
  readonly kubeconfig: (user: string) => string;
  readonly teardown: Teardown;
}

export interface Node extends NodeSpec {
  /** @throws Error with the end of its output if a part of it has ended */
  check(): void;
  /** A command in the node's namespaces: its output. @throws Error */
  run(...command: readonly string[]): string;
  /** Whether a file of the node exists, seen from outside. */
  log(part: string): string;
}

export function startNode(spec: NodeSpec, { directory, bin, kubeconfig, teardown }: NodeEnv): Node {
  const own = join(directory, spec.name);
  mkdirSync(own);
  writeFileSync(join(own, "cni.conflist"), JSON.stringify(cniOf(spec), undefined, 2));
  writeFileSync(join(own, "containerd.config"), CONTAINERD);
  writeFileSync(join(own, "kubelet.config"), JSON.stringify(KUBELET));
  writeFileSync(join(own, "kube-proxy.config"), JSON.stringify(KUBE_PROXY));
  writeFileSync(join(own, "kubeconfig.config"), kubeconfig(`node:${spec.name}`));
  writeFileSync(join(own, "kube-proxy-kubeconfig.config"), kubeconfig("kube-proxy"));
  const log = join(own, "node.log");
  const child = new Child(
    [
      "nsenter",
      `--net=/run/netns/${spec.name}`,
      "env",
      `WEIR_NODE_NAME=${spec.name}`,
      `WEIR_NODE_IP=${spec.v4}`,
      `WEIR_NODE_BIN=${bin}`,
      "bash",
      NODE_SH,
      own,
    ],
    log,
  );
  teardown.defer(() => child.close());
  return {
    ...spec,
    check: () => child.check(),
    run: (...command) => run("nsenter", "--all", `--target=${initOf(child)}`, ...command),
    log: (part) => join(own, `${part}.log`),
  };
}

/** The first process of the node's PID namespace: the one child of unshare, which node.sh becomes. */
function initOf(child: Child): number {
  const outer = child.pid;
  const found = run("ps", "--ppid", String(outer), "-o", "pid=").trim();
  if (!/^\d+$/.test(found)) throw new Error(`the node's first process: ${JSON.stringify(found)}`);
  return Number(found);
}

function cniOf({ podCidrs: [v4, v6], wiring }: NodeSpec): object {
  const ipam = {
    type: "host-local",
    ranges: [[{ subnet: v4 }], [{ subnet: v6 }]],
    routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
    dataDir: "/run/cni",
  };
  const plugin =
    wiring === "ptp"
      ? { type: "ptp", ipam }
      : { type: "bridge", bridge: "cni0", isGateway: true, hairpinMode: true, ipam };
  return {
    cniVersion: "0.4.0",
    name: "pods",
    plugins: [plugin, { type: "portmap", capabilities: { portMappings: true } }],
  };
}

const CONTAINERD = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE a process cannot get a lower one than its parent's.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
`;

const FEATURES = { IPv6DualStack: true };

const KUBELET = {
  apiVersion: "kubelet.config.k8s.io/v1beta1",
  kind: "KubeletConfiguration",
  authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
  authorization: { mode: "AlwaysAllow" },
  cgroupDriver: "cgroupfs",
  failSwapOn: false,
  oomScoreAdj: 0,
  maxOpenFiles: 0,
  // node.sh has bind-mounted files over the settings that it would change.
  protectKernelDefaults: true,
  evictionHard: { "memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%" },
  imageGCHighThresholdPercent: 100,
  imageGCLowThresholdPercent: 99,
  staticPodPath: "/etc/kubernetes/manifests",
  syncFrequency: "10s",
  resolvConf: "",
  featureGates: FEATURES,
};

const KUBE_PROXY = {
  apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
  kind: "KubeProxyConfiguration",
  clientConnection: { kubeconfig: "/etc/kubernetes/kube-proxy-kubeconfig.config" },
  clusterCIDR: "10.244.0.0/16,fd00:244::/32",
  mode: "iptables",
  oomScoreAdj: 0,
  // Settings of the whole machine, which must not be changed from here.
  conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
  iptables: { minSyncPeriod: "0s", syncPeriod: "30s" },
  featureGates: FEATURES,
};
