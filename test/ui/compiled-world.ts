// Clusters of a given size for the page, compiled node by node as agents compile them: what the page shows is made by the functions that
// answer in the agent. Counts of packets and events are made up.

import { setTimeout as sleep } from "node:timers/promises";
import { capacityViews, type InForce, policyViews } from "../../src/agent/agent-views.ts";
import { memo } from "../../src/base/memo.ts";
import { versionOf } from "../../src/base/versioned-map.ts";
import type { Outcome } from "../../src/cli/plugin/agent-pods.ts";
import { pathsIn } from "../../src/cli/trace-question.ts";
import { reportOf } from "../../src/cli/trace-report.ts";
import type { AgentRunner } from "../../src/cli/ui/agent-runner.ts";
import type { EventView } from "../../src/events/packet-event.ts";
import type { HistoryRow } from "../../src/history/history-block.ts";
import { answerHistory } from "../../src/history/history-query.ts";
import { type Cluster, keyOf, type Pod } from "../../src/model/cluster.ts";
import type { Policy } from "../../src/model/network-policy.ts";
import { reportOfAgent } from "../../src/observe/status-report.ts";
import { type Compiled, compile } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import { reachabilityOf } from "../../src/policy/reach/reachability.ts";
import { block, namespace, pod, pods, policy, ports, selector } from "../support/model.ts";

const NAMESPACES = [
  "shop",
  "bank",
  "billing",
  "search",
  "mail",
  "auth",
  "media",
  "reports",
  "ledger",
  "catalog",
  "stock",
  "orders",
  "delivery",
  "support",
  "chat",
  "video",
  "maps",
  "payments",
  "fraud",
  "risk",
  "data",
  "etl",
  "ml",
  "web",
  "monitoring",
] as const;

/** What runs in each namespace, with the port that it serves. */
const WORKLOADS = [
  ["web", 8080],
  ["api", 8443],
  ["db", 5432],
  ["cache", 6379],
  ["queue", 5672],
  ["worker", 9090],
  ["auth-proxy", 4180],
  ["search", 9200],
  ["mailer", 2525],
  ["cron", 9091],
] as const;

/** Of names and labels that are no names of Kubernetes, as another writer of manifests may have them. */
export const HOSTILE = {
  markup: '<script>alert("x")</script><img src=x onerror=alert(1)>',
  reversed: "safe\u202Egnihton\u202C",
  rtl: "שלום-עולם",
  long: `very-${"long-".repeat(45)}name`,
} as const;

export interface LargeWorld {
  readonly cluster: Cluster;
  readonly nodes: readonly string[];
}

/** Deployments in up to 25 namespaces; each isolates its pods and is allowed from some of its own namespace, and monitoring from everywhere. */
export function largeWorld(count: number, nodeCount: number, isHostile = true): LargeWorld {
  const spaces = NAMESPACES.slice(0, Math.max(3, Math.min(25, Math.round(count / 200))));
  const all = isHostile ? [...spaces, HOSTILE.markup] : spaces;
  const nodes = Array.from({ length: nodeCount }, (_, at) => `node-${String(at + 1).padStart(2, "0")}`);
  const made: Pod[] = Array.from({ length: count }, (_, at) => {
    const space = all[at % all.length] as string;
    const [app] = WORKLOADS[Math.floor(at / all.length) % WORKLOADS.length] as (typeof WORKLOADS)[number];
    const hash = `7d9f${(at % 7) + 1}c`;
    return {
      ...pod("x/y", [`10.${64 + (at >> 16)}.${(at >> 8) & 255}.${at & 255}`]),
      namespace: space,
      name: `${app}-${hash}-${at.toString(36).padStart(5, "0")}`,
      labels: new Map([
        ["app", app],
        ["pod-template-hash", hash],
      ]),
      node: nodes[(at + Math.floor(at / (all.length * WORKLOADS.length))) % nodeCount] as string,
    };
  });
  const hostile = [HOSTILE.reversed, HOSTILE.rtl, HOSTILE.long].map(
    (name, at): Pod => ({
      ...pod("x/y", [`10.250.0.${at + 1}`]),
      namespace: HOSTILE.markup,
      name,
      labels: new Map([["app", HOSTILE.markup]]),
      node: nodes[0] as string,
    }),
  );
  const everyone = isHostile ? [...made, ...hostile] : made;
  return {
    nodes,
    cluster: {
      namespaces: versionOf(new Map(all.map((name) => [name, namespace(name)]))),
      pods: versionOf(new Map(everyone.map((each) => [keyOf(each), each]))),
      policies: versionOf(new Map(spaces.flatMap(policiesOf).map((each) => [keyOf(each), each]))),
      services: new Map(),
      slices: new Map(),
    },
  };
}

const NEXT: Readonly<Record<string, readonly string[]>> = {
  web: ["auth-proxy"],
  api: ["web", "worker"],
  db: ["api", "worker", "cron"],
  cache: ["api", "web"],
  queue: ["api", "worker"],
  search: ["api"],
  mailer: ["worker", "queue"],
};

/** Every third namespace has no policies. */
function policiesOf(space: string, at: number): Policy[] {
  if (at % 3 === 2) return [];
  const byName = selector({ "kubernetes.io/metadata.name": "monitoring" });
  return [
    policy(`${space}/default-deny`),
    policy(`${space}/monitoring`, { ingress: [{ peers: [pods({}, byName)], ports: ports("TCP/9100") }] }),
    ...WORKLOADS.flatMap(([app, port]) =>
      NEXT[app] === undefined
        ? []
        : [
            policy(`${space}/${app}`, {
              subject: selector({ app }),
              ingress: [
                { peers: NEXT[app].map((peer) => pods({ app: peer })), ports: ports(`TCP/${port}`) },
                ...(app === "web"
                  ? [{ peers: [block("0.0.0.0/0")], ports: ports("TCP/8080", "TCP/8443") }]
                  : []),
              ],
            }),
          ],
    ),
    policy(`${space}/db-egress`, {
      subject: selector({ app: "db" }),
      isolates: { ingress: false, egress: true },
    }),
  ];
}

interface Node {
  readonly name: string;
  readonly compiled: Compiled;
  readonly force: InForce;
}

function nodeOf({ cluster }: LargeWorld, name: string): Node {
  const own = [...cluster.pods.values()].filter(({ node }) => node === name);
  const locals = own.map((each, at) => ({ pod: each, ifindex: 100 + at }));
  const compiled = compile(cluster, locals, NOTHING_NUMBERED);
  const force = {
    source: cluster,
    cluster,
    compiled,
    interfaces: new Map(),
    missing: [],
    attached: new Map(),
  };
  return { name, compiled, force };
}

export interface LargeRunner extends AgentRunner {
  /** Milliseconds that the slowest node took for its reachability. */
  readonly slowestMs: () => number;
}

/** Answers commands as the agents of all nodes would. `silent`: nodes that do not. */
export function compiledRunner(world: LargeWorld, silent: readonly string[] = []): LargeRunner {
  const nodes = world.nodes.map((name) => nodeOf(world, name));
  let slowest = 0;
  // An agent answers with what it has computed once for a state.
  const reachability = memo(({ compiled }: Node) => {
    const start = performance.now();
    const view = { generation: 7, ...reachabilityOf(compiled, world.cluster) };
    slowest = Math.max(slowest, performance.now() - start);
    return view;
  });
  const answers: Readonly<Record<string, (node: Node, args: readonly string[]) => unknown>> = {
    status: (node) => statusOf(node),
    "get reachability": reachability,
    "get policies": ({ force }) => policyViews(force),
    trace: (_, args) => {
      const { from = "", to = "", port, protocol = "TCP" } = optionsIn(args);
      const question = { from, to, protocol: protocol as "TCP", ...(port === undefined ? {} : { port }) };
      return reportOf(
        {
          paths: pathsIn({ cluster: world.cluster, before: undefined }, question, undefined),
          kernel: undefined,
        },
        () => undefined,
      );
    },
    drops: (node, args) => historyOf(node, optionsIn(args)),
  };
  const outputOf = async (node: Node, args: readonly string[]): Promise<string> => {
    if (args[0] === "monitor")
      return eventsOf(node)
        .map((event) => `${JSON.stringify(event)}\n`)
        .join("");
    const key = args[0] === "get" ? `get ${args[1]}` : (args[0] ?? "");
    return JSON.stringify(await answers[key]?.(node, args));
  };
  for (const node of nodes) reachability(node);
  const podsOf = nodes.map(({ name }) => ({ node: name, namespace: "weir-system", name: `weir-${name}` }));
  return {
    title: `cluster of ${world.cluster.pods.size} pods`,
    pods: async () => podsOf,
    slowestMs: () => slowest,
    nodeOf: async (key) => world.cluster.pods.get(key)?.node,
    async run(args, chosen) {
      // As over a network: not in the turn of the question.
      await sleep(1);
      const outcomes: Outcome[] = [];
      for (const each of chosen) {
        const node = nodes.find(({ name }) => name === each.node) as Node;
        if (silent.includes(each.node)) {
          outcomes.push({ pod: each, error: "no answer within 30000 ms" });
          continue;
        }
        try {
          const stdout = await outputOf(node, args);
          outcomes.push({ pod: each, exitCode: 0, stdout, bytes: Buffer.from(stdout), stderr: "" });
        } catch (thrown) {
          outcomes.push({
            pod: each,
            exitCode: 4,
            stdout: "",
            bytes: Buffer.alloc(0),
            stderr: `weir: ${(thrown as Error).message}\n`,
          });
        }
      }
      return outcomes;
    },
  };
}

const optionsIn = (args: readonly string[]): Readonly<Record<string, string>> =>
  Object.fromEntries(
    args.flatMap((arg) => {
      const found = /^--([a-z]+)=(.*)$/s.exec(arg);
      return found === null ? [] : [[found[1] ?? "", found[2] ?? ""]];
    }),
  );

function statusOf({ name, compiled, force }: Node) {
  const number = Number(name.replace(/\D/g, ""));
  return reportOfAgent(
    {
      version: "0.1.0",
      pid: 1,
      startedAt: new Date(Date.now() - 3_600_000).toISOString(),
      generation: { wanted: 7, applied: 7 },
      appliedAt: new Date(Date.now() - 60_000).toISOString(),
      endpoints: compiled.state.endpoints.size,
      policies: force.cluster.policies.size,
      problems: [],
      capacity: capacityViews(compiled.state),
      flows: [
        {
          family: "ipv4",
          table: "conntrack_v4",
          used: 40_000 * number,
          max: 655_360,
          inserted: 1,
          evicted: { sameOwner: 0, unconfirmed: 0 },
          refused: 0,
        },
      ],
      hook: "tcx",
      fromPodHook: "tc",
      source: "https://api.example:6443",
      audited: 0,
      repairs: { attached: 0, pinned: 0 },
      cni: { socket: "/run/weir/cni.sock", claims: 0, inForce: 0 },
      ...(number === 2
        ? {
            bypasses: [
              {
                target: "shop/web-0",
                since: new Date().toISOString(),
                until: new Date(Date.now() + 900_000).toISOString(),
                reason: "INC-4711",
              },
            ],
          }
        : {}),
    },
    "/run/weir/agent.sock",
  );
}

const MINUTES = 60;

function historyOf({ compiled }: Node, { by, audit }: Readonly<Record<string, string>>) {
  const now = Date.now();
  const locals = compiled.meaning.sides.slice(0, 12).map(({ local }) => local.pod);
  const minute = (at: number): HistoryRow[] =>
    locals.map((each, index) => ({
      pod: keyOf(each),
      direction: "ingress",
      reason: audit === undefined ? "denied" : "audit",
      peer: index % 3 === 0 ? HOSTILE.markup : keyOf(locals[(index + 1) % locals.length] as Pod),
      port: "TCP/5432",
      policies: [`${each.namespace}/default-deny`],
      packets: Math.round(10 + 8 * Math.sin(at / 5) + (at % 17 === 0 ? 60 : 0)),
      bytes: 600,
    })) as HistoryRow[];
  const heads = Array.from({ length: MINUTES }, (_, at) => ({
    from: now - (MINUTES - at) * 60_000,
    to: now - (MINUTES - at - 1) * 60_000,
    away: false,
    at,
  }));
  const store = {
    heads: () => heads,
    rows: async (head: { readonly at: number }) => minute(head.at),
    damaged: () => 0,
    lost: () => 0,
  } as unknown as Parameters<typeof answerHistory>[0]["store"];
  const current = { from: now, to: now, away: false, rows: [] } as unknown as Parameters<
    typeof answerHistory
  >[0]["current"];
  return answerHistory(
    { store, current },
    { since: now - 3_600_000, until: now, ...(by === "minute" ? { by: "minute" as const } : {}) },
  );
}

function eventsOf({ name, compiled }: Node): EventView[] {
  return compiled.meaning.sides.slice(0, 5).map(({ local: { pod: each, ifindex } }, at) => ({
    time: new Date(Date.now() - at * 1_000).toISOString(),
    verdict: "dropped",
    reason: "denied",
    direction: "ingress",
    endpoint: keyOf(each),
    ifindex,
    from: { address: "10.64.0.9", port: 40_000 + at, pod: `${HOSTILE.markup}/x` },
    to: { address: each.ips[0]?.text ?? "", port: 5432, pod: keyOf(each) },
    protocol: "TCP",
    bytes: 60,
    generation: 7,
    identity: 3,
    opener: "ingress",
    policies: [`${each.namespace}/default-deny`],
    text: `on ${name} isolated by ${each.namespace}/default-deny, which allows no such connection`,
  }));
}
