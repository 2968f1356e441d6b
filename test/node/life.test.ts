// The life of Weir in a cluster with real kubelets: installed, restarted, upgraded and removed, while pods talk to each other.
// node-1's pods are wired by the CNI plugin ptp, node-2's by bridge. The tests build on each other, in their order.

import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Manifest } from "../cluster/api.ts";
import { type Cluster, openCluster } from "./cluster.ts";
import { TAGS } from "./images.ts";
import { HOST, type Node } from "./nodes.ts";
import {
  type Addresses,
  addressesOf,
  apply,
  attemptsOf,
  containerOf,
  podOf,
  policyOf,
  reach,
  reached,
  SERVE,
  waitReady,
} from "./pods.ts";
import { openTraffic, type Traffic } from "./traffic.ts";
import { agentOf, install, mustWeir, rolledOut, uninstall, weir } from "./weir.ts";

let cluster: Cluster;
let addresses: Addresses;

const SYSTEM = ["-n", "kube-system"];
const ROLES = ["web", "client", "guest"] as const;
const NODE_OF = { 1: "node-1", 2: "node-2" } as const;
const everywhere = <T>(make: (role: (typeof ROLES)[number], node: 1 | 2) => T): T[] =>
  ROLES.flatMap((role) => ([1, 2] as const).map((node) => make(role, node)));

beforeAll(async () => {
  cluster = await openCluster();
  await cluster.must(["create", "namespace", "shop"]);
  await apply(
    cluster,
    ...everywhere((role, node) =>
      podOf({ name: `${role}-${node}`, node: NODE_OF[node], labels: { role }, args: SERVE }),
    ),
  );
  await waitReady(
    cluster,
    everywhere((role, node) => `${role}-${node}`),
  );
  addresses = await addressesOf(cluster);
});

afterAll(() => cluster?.close());

const PORTS = ["tcp:80", "udp:80", "tcp:8080"] as const;

/** The targets of a pod: every other pod, by both families, on every port. */
const targetsOf = (
  from: string,
  known: Addresses,
): readonly { readonly to: string; readonly port: string; readonly target: string }[] =>
  Object.entries(known)
    .filter(([to]) => to !== from)
    .flatMap(([to, both]) =>
      both.flatMap((address) =>
        PORTS.map((each) => {
          const [protocol, port] = each.split(":");
          return { to, port: each, target: `${protocol}:[${address}]:${port}` };
        }),
      ),
    );

type Allowed = (from: string, to: string, port: string) => boolean;

/** Probes from all pods to all pods until the result is as expected, and returns the differences. */
async function expectMatrix(allowed: Allowed): Promise<void> {
  const wrong = async (): Promise<readonly string[]> => {
    const of = await Promise.all(
      Object.keys(addresses).map(async (from) => {
        const targets = targetsOf(from, addresses);
        const answers = await reach(
          cluster,
          from,
          targets.map(({ target }) => target),
        );
        return targets.flatMap(({ to, port, target }) => {
          const want = allowed(from, to, port) ? to : "timeout";
          return answers[target] === want
            ? []
            : [`${from} → ${to} ${target}: ${answers[target]}, expected ${want}`];
        });
      }),
    );
    return of.flat();
  };
  let last: readonly string[] = [];
  await cluster
    .until(
      "the verdicts",
      async () => {
        last = await wrong();
        return last.length === 0 ? true : undefined;
      },
      30_000,
    )
    .catch(() => undefined);
  expect(last).toEqual([]);
}

/** As labelled at the moment. */
const roles = new Map<string, string>(everywhere((role, node) => [`${role}-${node}`, role]));
const role = (pod: string): string => roles.get(pod) ?? "";

const POLICIES = [
  policyOf("web", {
    podSelector: { matchLabels: { role: "web" } },
    policyTypes: ["Ingress"],
    ingress: [
      {
        from: [{ podSelector: { matchLabels: { role: "client" } } }],
        ports: [
          { protocol: "TCP", port: 80 },
          { protocol: "UDP", port: 80 },
        ],
      },
    ],
  }),
  policyOf("client", {
    podSelector: { matchLabels: { role: "client" } },
    policyTypes: ["Egress"],
    egress: [{ to: [{ podSelector: { matchLabels: { role: "web" } } }] }],
  }),
];

const byPolicy: Allowed = (from, to, port) => {
  if (role(from) === "client") return role(to) === "web" && port !== "tcp:8080";
  return role(to) !== "web";
};

describe("installed", () => {
  it("pods reach each other before", () => expectMatrix(() => true));

  it("as docs/install.md says, every agent becomes ready", async () => {
    await install(cluster);
    for (const node of cluster.nodes) {
      expect(await mustWeir(cluster, node, "status")).toMatch(/^ok: /);
      expect(await mustWeir(cluster, node, "check", "node")).not.toMatch(/fail/i);
      expect(await mustWeir(cluster, node, "get", "endpoints")).toContain("enforced");
      expect(await agentOf(cluster, node)).toMatch(/^weir-/);
    }
  });

  it("an agent is ready as soon as it enforces, not a probe's period later", async () => {
    for (const node of cluster.nodes) {
      const { appliedAt } = JSON.parse(await mustWeir(cluster, node, "status", "-o", "json"));
      const out = await cluster.must([
        ...SYSTEM,
        "get",
        "pod",
        await agentOf(cluster, node),
        '--output=jsonpath={.status.conditions[?(@.type=="Ready")].lastTransitionTime}',
      ]);
      // Kubernetes' times have whole seconds.
      const late = Date.parse(out) - Date.parse(appliedAt);
      expect(late).toBeLessThan(6_000);
    }
  });

  it("and pods still reach each other", () => expectMatrix(() => true));

  it("commands in the agent's pod need no options", async () => {
    const [node] = cluster.nodes;
    const without = await weir(cluster, node, "cni", "status");
    expect(without).toMatchObject({
      status: 4,
      stderr: expect.stringContaining("only with cni.enabled (Helm)"),
    });
    const archive = join(cluster.directory, "dump.tar.gz");
    const agent = await agentOf(cluster, node);
    // As documented: the file ends up on the user's machine.
    writeFileSync(
      archive,
      await cluster.bytes([...SYSTEM, "exec", agent, "--", "weir", "sysdump", "-o", "-"]),
    );
    const names = execFileSync("tar", ["tzf", archive], { encoding: "utf8" });
    expect(names).toMatch(/\/agent\/status\.json$/m);
    expect(names).toMatch(/\/kernel\/maps\.ndjson\.gz$/m);
  });
});

describe("policies", () => {
  it("are enforced within each node and between them, in both wirings and families", async () => {
    await apply(cluster, ...POLICIES);
    await expectMatrix(byPolicy);
  });

  it("follow the labels of pods, of namespaces and of nodes, also to groups of peers that are new", async () => {
    await cluster.must(["-n", "shop", "label", "pod", "guest-1", "role=client", "--overwrite"]);
    roles.set("guest-1", "client");
    await expectMatrix(byPolicy);
    await cluster.must(["-n", "shop", "label", "pod", "guest-1", "role=guest", "--overwrite"]);
    roles.set("guest-1", "guest");
    await expectMatrix(byPolicy);

    const friends = { from: [{ podSelector: { matchLabels: { team: "x" } } }], ports: [{ port: 8080 }] };
    const newcomers = {
      podSelector: { matchLabels: { role: "web" } },
      policyTypes: ["Ingress"],
      ingress: [friends],
    };
    await apply(cluster, policyOf("newcomers", newcomers));
    await cluster.must(["-n", "shop", "label", "pod", "guest-2", "team=x"]);
    await expectMatrix((from, to, port) =>
      from === "guest-2" && role(to) === "web" ? port === "tcp:8080" : byPolicy(from, to, port),
    );
    await cluster.must(["-n", "shop", "delete", "networkpolicy", "newcomers"]);
    await cluster.must(["label", "node", "node-1", "weir.test/zone=a"]);
    await expectMatrix(byPolicy);

    await cluster.must(["create", "namespace", "other"]);
    await apply(cluster, podOf({ name: "visitor", namespace: "other", node: "node-2" }));
    await waitReady(cluster, ["visitor"], "other");
    const trusted = { from: [{ namespaceSelector: { matchLabels: { trusted: "yes" } } }] };
    await apply(
      cluster,
      policyOf("trusted", {
        podSelector: { matchLabels: { role: "web" } },
        policyTypes: ["Ingress"],
        ingress: [trusted],
      }),
    );
    const visit = (want: "in" | "out") =>
      reached(cluster, {
        from: "visitor",
        namespace: "other",
        want: asked(["web-1", "web-2"], want === "in"),
      });
    await visit("out");
    await cluster.must(["label", "namespace", "other", "trusted=yes"]);
    await visit("in");
    await cluster.must(["label", "namespace", "other", "trusted-"]);
    await visit("out");
    await cluster.must(["-n", "shop", "delete", "networkpolicy", "trusted"]);
  });

  it("report what cannot be read as Events of the object", async () => {
    const annotations = { "weir.dev/allowed-sources": "10.0.0.0/33" };
    await cluster.must([
      "-n",
      "shop",
      "annotate",
      "pod",
      "guest-2",
      `weir.dev/allowed-sources=${annotations["weir.dev/allowed-sources"]}`,
    ]);
    const message = await cluster.until("an Event of guest-2", async () => {
      const out = await cluster.must([
        ...["-n", "shop", "get", "events", "--field-selector=involvedObject.name=guest-2,reason=PodInvalid"],
        "--output=jsonpath={.items[0].message}",
      ]);
      return out === "" ? undefined : out;
    });
    expect(message).toContain('"10.0.0.0/33"');
    await cluster.must(["-n", "shop", "annotate", "pod", "guest-2", "weir.dev/allowed-sources-"]);
  });
});

/** What `reach` gives for these pods on port 80, by both families. */
const asked = (pods: readonly string[], isAllowed: boolean): Record<string, string> =>
  Object.fromEntries(
    pods.flatMap((pod) =>
      (addresses[pod] ?? []).map((address) => [`tcp:[${address}]:80`, isAllowed ? pod : "timeout"]),
    ),
  );

type Probes = Map<string, { good: number; bad: number }>;

describe("the kubelet's probes", () => {
  const often = { periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 3 };
  const probes = {
    http: {
      livenessProbe: { httpGet: { port: 80, path: "/" }, ...often },
      readinessProbe: { httpGet: { port: 80, path: "/" }, ...often },
    },
    tcp: {
      livenessProbe: { tcpSocket: { port: 80 }, ...often },
      readinessProbe: { tcpSocket: { port: 8080 }, ...often },
    },
  };
  const names = Object.keys(probes).flatMap((kind) => [`${kind}-1`, `${kind}-2`]);

  it("reach pods that no peer may reach", async () => {
    await apply(
      cluster,
      policyOf("locked", {
        podSelector: { matchLabels: { role: "locked" } },
        policyTypes: ["Ingress", "Egress"],
      }),
      ...names.map((name) =>
        podOf({
          name,
          node: `node-${name.at(-1)}`,
          labels: { role: "locked" },
          container: probes[name.slice(0, -2) as keyof typeof probes],
        }),
      ),
    );
    await waitReady(cluster, names);
    const kinds = names.flatMap((name) => ["Liveness", "Readiness"].map((kind) => `${name} ${kind}`));
    const before = await probesOf(names);
    const more = (now: Probes, key: string, result: "good" | "bad"): number =>
      (now.get(key)?.[result] ?? 0) - (before.get(key)?.[result] ?? 0);
    const after = await cluster.until("five more probes of each kind", async () => {
      const now = await probesOf(names);
      return kinds.every((key) => more(now, key, "good") >= 5) ? now : undefined;
    });
    expect(kinds.filter((key) => more(after, key, "bad") > 0)).toEqual([]);
    const pods = (await cluster.api.list("v1", "Pod", "shop")).filter(({ metadata }) =>
      names.includes(metadata.name),
    );
    const restarts = pods.map(
      ({ status }) =>
        (status as { containerStatuses: { restartCount: number }[] }).containerStatuses[0]?.restartCount,
    );
    expect(restarts).toEqual(names.map(() => 0));
    const known = await addressesOf(cluster);
    const targets = names.flatMap((name) => (known[name] ?? []).map((address) => `tcp:[${address}]:80`));
    for (const from of ["guest-1", "guest-2"])
      expect(new Set(Object.values(await reach(cluster, from, targets)))).toEqual(new Set(["timeout"]));
    await cluster.must(["-n", "shop", "delete", "pod", ...names, "--wait=false"]);
  });

  /** How often the kubelets' probes of these pods succeeded, and failed, by pod and kind of probe. */
  async function probesOf(pods: readonly string[]): Promise<Probes> {
    const counts: Probes = new Map();
    for (const node of cluster.nodes) {
      const text = await cluster.must(["get", "--raw", `/api/v1/nodes/${node.name}/proxy/metrics/probes`]);
      for (const [, labels = "", count] of text.matchAll(/^prober_probe_total\{(.*)\} (\d+)$/gm)) {
        const of = (label: string): string => new RegExp(`\\b${label}="([^"]*)"`).exec(labels)?.[1] ?? "";
        if (!pods.includes(of("pod"))) continue;
        const key = `${of("pod")} ${of("probe_type")}`;
        const known = counts.get(key) ?? { good: 0, bad: 0 };
        known[of("result") === "successful" ? "good" : "bad"] += Number(count);
        counts.set(key, known);
      }
    }
    return counts;
  }
});

describe("Services, by kube-proxy in its iptables mode", () => {
  const serviceOf = (name: string, selector: Readonly<Record<string, string>>, spec: object): object => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "shop" },
    spec: {
      selector,
      ports: [
        { name: "main", port: 80 },
        { name: "other", port: 8081, targetPort: 8080 },
      ],
      ...spec,
    },
  });
  const both = { ipFamilyPolicy: "RequireDualStack" };

  /** Of a Service: its addresses, and the node port of port 80. */
  async function placesOf(
    name: string,
  ): Promise<{ readonly addresses: readonly string[]; readonly nodePort: number }> {
    const { spec } = await cluster.api.must<{
      spec: { clusterIPs: string[]; ports: { nodePort?: number }[] };
    }>("GET", `/api/v1/namespaces/shop/services/${name}`);
    return { addresses: spec.clusterIPs, nodePort: spec.ports[0]?.nodePort ?? 0 };
  }

  beforeAll(async () => {
    await apply(
      cluster,
      serviceOf("web", { role: "web" }, both),
      serviceOf("guests", { role: "guest" }, both),
      serviceOf("headless", { role: "web" }, { clusterIP: "None" }),
      ...[1, 2].flatMap((node) => [
        serviceOf(`cluster-${node}`, { name: `web-${node}` }, { type: "NodePort" }),
        serviceOf(
          `local-${node}`,
          { name: `web-${node}` },
          { type: "NodePort", externalTrafficPolicy: "Local" },
        ),
      ]),
    );
  });

  it("are reached by their ClusterIPs as the policies of both ends allow", async () => {
    const [web, guests] = [await placesOf("web"), await placesOf("guests")];
    const allOf = (results: Readonly<Record<string, string>>): Set<string> => new Set(Object.values(results));
    for (const node of [1, 2]) {
      const seen = new Set<string>();
      const ask = (from: string, { addresses: ips }: typeof web, port: number) =>
        reach(
          cluster,
          `${from}-${node}`,
          ips.map((address) => `tcp:[${address}]:${port}`),
        );
      await cluster.until(`both backends answer client-${node}`, async () => {
        const results = allOf(await ask("client", web, 80));
        for (const result of results) seen.add(result);
        return seen.has("web-1") && seen.has("web-2") && !results.has("timeout") ? true : undefined;
      });
      for (let attempt = 0; attempt < 3; attempt += 1) {
        const [clientToWeb, clientToOther, clientToGuests, guestToWeb, guestToGuests] = await Promise.all([
          ask("client", web, 80),
          ask("client", web, 8081),
          ask("client", guests, 80),
          ask("guest", web, 80),
          ask("guest", guests, 80),
        ]);
        for (const result of allOf(clientToWeb)) expect(result).toMatch(/^web-\d$/);
        for (const result of allOf(guestToGuests)) expect(result).toMatch(/^guest-\d$/);
        for (const denied of [clientToOther, clientToGuests, guestToWeb])
          expect(allOf(denied)).toEqual(new Set(["timeout"]));
      }
    }
  });

  it("that are headless rewrite nothing", async () => {
    for (const node of cluster.nodes) {
      expect(node.run("iptables-save", "--table=nat")).not.toContain("shop/headless");
      const frontends = await mustWeir(cluster, node, "maps", "dump", "services");
      expect(frontends).toMatch(/ shop\/web$/m);
      expect(frontends).not.toContain("shop/headless");
    }
  });

  /** Requests the node port of each Service at each node from outside of the cluster: by which node, to which pod. */
  async function fromOutside(kind: "cluster" | "local"): Promise<Record<string, string>> {
    const targets = new Map<string, string>();
    for (const backend of [1, 2]) {
      const { nodePort } = await placesOf(`${kind}-${backend}`);
      for (const [index, node] of cluster.nodes.entries())
        targets.set(`tcp:[${node.v4}]:${nodePort}`, `by node-${index + 1} to web-${backend}`);
    }
    const out = execFileSync(join(cluster.directory, "peer"), ["reach", ...targets.keys()], {
      encoding: "utf8",
    });
    return Object.fromEntries(
      out
        .trimEnd()
        .split("\n")
        .map((line) => {
          const [target = "", result = ""] = line.split(" ");
          return [targets.get(target) ?? target, result];
        }),
    );
  }

  const combinations = (isAllowed: (node: number, backend: number) => boolean): Record<string, string> =>
    Object.fromEntries(
      [1, 2].flatMap((node) =>
        [1, 2].map((backend) => [
          `by node-${node} to web-${backend}`,
          isAllowed(node, backend) ? `web-${backend}` : "timeout",
        ]),
      ),
    );

  async function fromOutsideBecomes(kind: "cluster" | "local", want: Record<string, string>): Promise<void> {
    let last: Record<string, string> = {};
    await cluster
      .until(
        "node ports",
        async () => {
          last = await fromOutside(kind);
          return isDeepStrictEqual(last, want) ? true : undefined;
        },
        30_000,
      )
      .catch(() => undefined);
    expect(last).toEqual(want);
  }

  const admit = (...cidrs: readonly string[]): Promise<string> =>
    apply(
      cluster,
      policyOf("outside", {
        podSelector: { matchLabels: { role: "web" } },
        policyTypes: ["Ingress"],
        ingress: [{ from: cidrs.map((cidr) => ({ ipBlock: { cidr } })) }],
      }),
    );

  it("are reached by node ports of policy Cluster with the address by which the node sends on: its own, or its pods' gateway", async () => {
    await fromOutsideBecomes(
      "cluster",
      combinations(() => false),
    );
    const nodes = cluster.nodes.map(({ v4 }) => `${v4}/32`);
    await admit(...nodes);
    await fromOutsideBecomes(
      "cluster",
      combinations((node, backend) => node !== backend),
    );
    const gateways = cluster.nodes.map(({ podCidrs: [v4] }) => v4.replace(".0/24", ".1/32"));
    await admit(...nodes, ...gateways);
    await fromOutsideBecomes(
      "cluster",
      combinations(() => true),
    );
  });

  it("are reached by node ports of policy Local with the client's address", async () => {
    await admit("192.0.2.1/32");
    await fromOutsideBecomes(
      "local",
      combinations(() => false),
    );
    await admit(`${HOST.v4}/32`);
    // kube-proxy drops what comes to a node without a backend.
    await fromOutsideBecomes(
      "local",
      combinations((node, backend) => node === backend),
    );
    await cluster.must(["-n", "shop", "delete", "networkpolicy", "outside"]);
  });
});

describe("under traffic", () => {
  let traffic: Traffic;

  beforeAll(async () => {
    traffic = await openTraffic(cluster, addresses);
  });

  it("no attempt fails while nothing is done", () => traffic.during(() => sleep(5_000)));

  it("agents are restarted by a rollout", () =>
    traffic.during(async () => {
      await cluster.must([...SYSTEM, "rollout", "restart", "daemonset/weir"]);
      await rolledOut(cluster);
    }));

  it.each([[[]], [["--force", "--grace-period=0"]]])("the agents' pods are deleted %j", (flags) =>
    traffic.during(async () => {
      for (const node of cluster.nodes) {
        const agent = await agentOf(cluster, node);
        await cluster.must([...SYSTEM, "delete", "pod", agent, ...flags]);
        await cluster.until("a new agent", async () =>
          (await agentOf(cluster, node)) === agent ? undefined : true,
        );
        await rolledOut(cluster);
      }
    }),
  );

  it("Weir is upgraded to a version with other maps, the CNI plugin is enabled, and the nodes get a condition", async () => {
    const layouts = (node: Node): string => node.run("sh", "-c", "ls -d /sys/fs/bpf/weir/*/maps");
    const before = cluster.nodes.map(layouts);
    await traffic.during(() => install(cluster, SECOND_RELEASE));
    for (const [index, node] of cluster.nodes.entries()) {
      const now = layouts(node);
      // One, and another one.
      expect(now).toMatch(/^\/sys\/fs\/bpf\/weir\/[0-9a-f]{16}\/maps\n$/);
      expect(now).not.toBe(before[index]);
      expect(await mustWeir(cluster, node, "status")).toMatch(/^ok: /);
    }
  });

  it("and the policies are as before", () => expectMatrix(byPolicy));

  it("the agents stay within their memory requests", async () => {
    for (const node of cluster.nodes) {
      const pod = await cluster.api.must<Manifest>(
        "GET",
        `/api/v1/namespaces/kube-system/pods/${await agentOf(cluster, node)}`,
      );
      const { resources } = (
        pod["spec"] as { containers: [{ resources: Record<"requests" | "limits", { memory: string }> }] }
      ).containers[0];
      const bytes = (file: string): number =>
        Number(
          node.run("sh", "-c", `cat /sys/fs/cgroup/memory/kubepods/*/pod${pod.metadata["uid"]}/${file}`),
        );
      const [used, most] = [bytes("memory.usage_in_bytes"), bytes("memory.max_usage_in_bytes")];
      process.stdout.write(
        `memory of the agent on ${node.name}: ${used >> 20} MiB, at most ${most >> 20} MiB\n`,
      );
      expect(used).toBeLessThan(mebibytes(resources.requests.memory));
      expect(most).toBeLessThan(mebibytes(resources.limits.memory));
    }
  });
});

const mebibytes = (quantity: string): number => Number(/^(\d+)Mi$/.exec(quantity)?.[1]) * 2 ** 20;

const SECOND_RELEASE = [`image.tag=${TAGS.relaid}`, "cni.enabled=true", "config.nodeCondition=true"];

describe("pods that are deleted and recreated", () => {
  it("are isolated for as long as they run, although their objects are deleted by force", async () => {
    const targets = ["guest-1", "guest-2"].flatMap((pod) =>
      (addresses[pod] ?? []).map((address) => `tcp:[${address}]:80`),
    );
    const args = ["beat", "-i", "50", "-t", "400", ...targets];
    const names = ["stubborn-1", "stubborn-2"];
    await apply(
      cluster,
      ...names.map((name) => podOf({ name, node: `node-${name.at(-1)}`, labels: { role: "locked" }, args })),
    );
    await waitReady(cluster, names);
    const files = cluster.nodes.map((node) =>
      node.run("sh", "-c", "ls /var/log/pods/shop_stubborn-*/peer/0.log").trim(),
    );
    // Without a kubelet, their processes go on.
    for (const node of cluster.nodes) node.run("pkill", "-STOP", "-x", "kubelet");
    try {
      await cluster.must(["-n", "shop", "delete", "pod", ...names, "--force", "--grace-period=0"]);
      expect((await cluster.kubectl(["-n", "shop", "get", "pod", ...names])).stderr).toContain("not found");
      await sleep(5_000);
      for (const [index, node] of cluster.nodes.entries()) {
        const lines = node
          .run("cat", files[index] ?? "")
          .trimEnd()
          .split("\n");
        const last = Number(/ F (\d+) /.exec(lines.at(-1) ?? "")?.[1]);
        expect(Date.now() - last).toBeLessThan(4_000);
        expect(lines.length).toBeGreaterThan(20 * targets.length);
        expect(lines.filter((line) => !line.includes(" timeout "))).toEqual([]);
      }
    } finally {
      for (const node of cluster.nodes) node.run("pkill", "-CONT", "-x", "kubelet");
    }
  });

  it("as members of a StatefulSet get their policies with each new address", async () => {
    const labels = { role: "db" };
    await apply(
      cluster,
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "db", namespace: "shop" },
        spec: { clusterIP: "None", selector: labels, ports: [{ port: 80 }] },
      },
      {
        apiVersion: "apps/v1",
        kind: "StatefulSet",
        metadata: { name: "db", namespace: "shop" },
        spec: {
          serviceName: "db",
          replicas: 2,
          podManagementPolicy: "Parallel",
          selector: { matchLabels: labels },
          template: {
            metadata: { labels },
            spec: {
              terminationGracePeriodSeconds: 1,
              automountServiceAccountToken: false,
              containers: [containerOf({})],
            },
          },
        },
      },
      policyOf("db", {
        podSelector: { matchLabels: labels },
        policyTypes: ["Ingress"],
        ingress: [{ from: [{ podSelector: { matchLabels: { role: "guest" } } }], ports: [{ port: 80 }] }],
      }),
    );
    let uids: readonly string[] = [];
    for (let round = 0; round < 3; round += 1) {
      const replaced = uids;
      const members = await cluster.until("new members", async () => {
        const pods = (await cluster.api.list("v1", "Pod", "shop")).filter(({ metadata }) =>
          metadata.name.startsWith("db-"),
        );
        const isNew = pods.every(({ metadata }) => !replaced.includes(String(metadata["uid"])));
        return pods.length === 2 && isNew ? pods : undefined;
      });
      uids = members.map(({ metadata }) => String(metadata["uid"]));
      await waitReady(cluster, ["db-0", "db-1"]);
      const known = await addressesOf(cluster);
      const on = (isAllowed: boolean): Record<string, string> =>
        Object.fromEntries(
          ["db-0", "db-1"].flatMap((pod) =>
            (known[pod] ?? []).map((address) => [`tcp:[${address}]:80`, isAllowed ? pod : "timeout"]),
          ),
        );
      // Never open, not even at first.
      for (const from of ["client-1", "client-2"])
        expect(await reach(cluster, from, Object.keys(on(false)))).toEqual(on(false));
      for (const from of ["guest-1", "guest-2"]) await reached(cluster, { from, want: on(true) });
      await cluster.must(["-n", "shop", "delete", "pod", "db-0", "db-1", "--wait=false"]);
    }
    await cluster.must(["-n", "shop", "delete", "statefulset,service", "db"]);
  });
});

describe("the CNI plugin", () => {
  it("is in its place on every node", async () => {
    for (const node of cluster.nodes) {
      const { plugins } = JSON.parse(node.run("cat", CONFLIST)) as { plugins: { type: string }[] };
      expect(plugins.at(-1)?.type).toBe("weir-cni");
      expect(await mustWeir(cluster, node, "cni", "status")).toMatch(
        /^entry: +in .*10-pods\.conflist\nbinary: +in /,
      );
    }
  });

  it("passes no packet of ten pods at once to denied peers, from their first instant", async () => {
    const names = Array.from({ length: 10 }, (_, index) => `burst-${index}`);
    const targets = ["guest-1", "guest-2"].flatMap((pod) =>
      (addresses[pod] ?? []).map((address) => `tcp:[${address}]:80`),
    );
    await apply(
      cluster,
      ...names.map((name, index) =>
        podOf({
          name,
          node: `node-${1 + (index % 2)}`,
          labels: { role: "client" },
          args: ["beat", "-i", "10", "-t", "400", ...targets],
        }),
      ),
    );
    await waitReady(cluster, names);
    await sleep(3_000);
    for (const name of names) {
      const attempts = await attemptsOf(cluster, name);
      expect(
        attempts.filter(({ result }) => result !== "timeout"),
        name,
      ).toEqual([]);
      expect(attempts.length, name).toBeGreaterThan(10 * targets.length);
    }
    await cluster.must(["-n", "shop", "delete", "pod", ...names, "--wait=false"]);
  });

  it("passes a pod's first packet to peers that it may reach on its node", async () => {
    const names = ["first-1", "first-2"];
    await apply(
      cluster,
      ...names.map((name) => {
        const here = name.at(-1);
        const targets = (addresses[`web-${here}`] ?? []).map((address) => `tcp:[${address}]:80`);
        return podOf({
          name,
          node: `node-${here}`,
          labels: { role: "client" },
          args: ["beat", "-i", "100", "-t", "3000", ...targets],
        });
      }),
    );
    await waitReady(cluster, names);
    await sleep(2_000);
    for (const name of names) {
      const attempts = await attemptsOf(cluster, name);
      const wrong = attempts.filter(
        ({ result, retransmits }) => result !== `web-${name.at(-1)}` || retransmits > 0,
      );
      expect(wrong, name).toEqual([]);
      expect(attempts.length, name).toBeGreaterThan(5);
    }
    await cluster.must(["-n", "shop", "delete", "pod", ...names, "--wait=false"]);
  });
});

const CONFLIST = "/etc/cni/net.d/10-pods.conflist";
const CONDITION = "weir.dev/PolicyEnforced";

/** The condition of Weir on each node that has it. */
async function conditions(): Promise<readonly { readonly status: string; readonly message: string }[]> {
  const nodes = await cluster.api.list("v1", "Node");
  return nodes.flatMap(({ status }) =>
    (status as { conditions: { type: string; status: string; message: string }[] }).conditions.filter(
      ({ type }) => type === CONDITION,
    ),
  );
}

describe("uninstalled", () => {
  it("there are conditions of the nodes, claims and pins before", async () => {
    const found = await cluster.until("the condition on both nodes", async () => {
      const all = await conditions();
      return all.length === 2 && all.every(({ status }) => status === "True") ? all : undefined;
    });
    for (const { message } of found) expect(message).toContain("lastHeartbeatTime");
    for (const node of cluster.nodes) expect(node.run("ls", "/run/weir")).toContain("claims.json");
  });

  it("as helm does it, nothing is left on the nodes or in the cluster", async () => {
    await uninstall(cluster, SECOND_RELEASE);
    for (const node of cluster.nodes) {
      expect(node.run("ls", "/sys/fs/bpf")).not.toContain("weir");
      expect(node.run("cat", CONFLIST)).toBe(
        readFileSync(join(cluster.directory, node.name, "cni.conflist"), "utf8"),
      );
      expect(node.run("ls", "/etc/cni/net.d").trim()).toBe("10-pods.conflist");
      expect(node.run("ls", "/opt/cni/bin")).not.toContain("weir");
      expect(node.run("ls", "-A", "/run/weir")).toBe("");
    }
    expect(await conditions()).toEqual([]);
    const kinds = "all,configmap,serviceaccount,role,rolebinding,clusterrole,clusterrolebinding";
    await cluster.until("no object of Weir", async () => {
      const out = await cluster.must([
        "get",
        kinds,
        "-A",
        "--selector=app.kubernetes.io/name=weir",
        "--output=name",
      ]);
      return out === "" ? true : undefined;
    });
  });

  it("pods reach each other as before it was installed, and new ones start", async () => {
    await expectMatrix(() => true);
    await apply(cluster, podOf({ name: "late", node: "node-1", labels: { role: "locked" } }));
    await waitReady(cluster, ["late"]);
  });
});
