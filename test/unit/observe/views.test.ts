// The output of `get` and `status` from the agent's views, and from the kernel's tables if there is no agent.
import { describe, expect, it } from "vitest";
import { EXCEEDS_TEXT } from "../../../src/model/cluster.ts";
import type { KindHealth } from "../../../src/model/cluster-snapshot.ts";
import type { EndpointView, PolicyView, StatusView, UplinkView } from "../../../src/observe/api-views.ts";
import { type EndpointRow, endpointNames, endpointsTable } from "../../../src/observe/endpoints-table.ts";
import { policiesTable, policyNames } from "../../../src/observe/policies-table.ts";
import { reportOfAgent, reportOfKernel, statusText } from "../../../src/observe/status-report.ts";
import { tableText } from "../../../src/observe/text-output.ts";
import { lines } from "./lines.ts";

const OPEN = { isolatedBy: [], policy: 0 };
const ENDPOINTS: EndpointView[] = [
  {
    namespace: "alpha",
    name: "nginx",
    labels: {},
    addresses: ["10.63.48.10", "fd63::a"],
    state: "enforced",
    id: 1,
    interface: "veth-a",
    ifindex: 7,
    ingress: { isolatedBy: ["alpha/alpha-deny", "alpha/access-nginx"], policy: 3 },
    egress: OPEN,
  },
  {
    namespace: "alpha",
    name: "lost",
    labels: {},
    addresses: [],
    state: "no interface",
    ingress: OPEN,
    egress: OPEN,
  },
];

describe("get endpoints", () => {
  it("shows what isolates each pod and whether it is enforced", () => {
    expect(tableText(endpointsTable(ENDPOINTS, false)).trimEnd().split("\n")).toEqual(
      lines(`
        NAMESPACE   POD     INTERFACE   ID   ADDRESSES             INGRESS                   EGRESS   STATE
        alpha       nginx   veth-a      1    10.63.48.10,fd63::a   alpha-deny,access-nginx   open     enforced
        alpha       lost    -           -    -                     open                      open     no interface`),
    );
    expect(endpointNames(ENDPOINTS)).toBe("alpha/nginx\nalpha/lost\n");
  });

  it("adds the counters if it may be wide", () => {
    const counts = (packets: bigint) => ({ packets, bytes: packets * 60n });
    const rows: EndpointRow[] = ENDPOINTS.map((row) =>
      row.id === undefined
        ? row
        : {
            ...row,
            hooks: { ingress: "tcx", egress: "xdp" },
            traffic: {
              ingress: { allowed: counts(12n), dropped: counts(3n) },
              egress: { allowed: counts(4_000n), dropped: counts(0n) },
            },
          },
    );
    const [titles, first, second] = tableText(endpointsTable(rows, true)).split("\n");
    expect(titles).toMatch(
      /STATE {10}IFINDEX {3}HOOKS {5}IN-ALLOWED {3}IN-DROPPED {3}OUT-ALLOWED {3}OUT-DROPPED$/,
    );
    expect(first).toMatch(/enforced {7}7 {9}tcx\/xdp {11}12 {12}3 {10}4000 {13}0$/);
    expect(second).toMatch(/no interface( +-){6}$/);
  });

  it("shows numbers if only the kernel can be read", () => {
    const row: EndpointRow = {
      labels: {},
      addresses: ["10.63.48.10"],
      state: "enforced",
      id: 1,
      ifindex: 7,
      ingress: { policy: 3 },
      egress: { policy: 0 },
    };
    expect(tableText(endpointsTable([row], false), false)).toBe(
      "-   -   -   1   10.63.48.10   policy 3   open   enforced\n",
    );
    expect(endpointNames([row])).toBe("7\n");
  });

  it("says why everything is denied, whatever policies say", () => {
    const side = { isolatedBy: [], policy: 1, closed: true };
    const [first] = ENDPOINTS;
    const rows = [{ ...first, ingress: side, egress: side, sealed: EXCEEDS_TEXT }] as EndpointRow[];
    expect(tableText(endpointsTable(rows, false))).toMatch(
      / all denied +all denied +enforced: its labels and ports exceed its namespace's share of the agent's memory\n$/,
    );
  });

  it("shortens long lists of policies", () => {
    const [first] = ENDPOINTS;
    const isolatedBy = Array.from({ length: 9 }, (_, at) => `alpha/p${at}`);
    const rows = [{ ...first, ingress: { isolatedBy, policy: 3 } }] as EndpointRow[];
    expect(tableText(endpointsTable(rows, false))).toContain("p0,p1,p2,p3,p4,and 4 more");
  });
});

describe("get policies", () => {
  const policy: PolicyView = {
    namespace: "alpha",
    name: "access-nginx",
    selector: "run=nginx",
    types: ["Ingress"],
    rules: { ingress: 1, egress: 0 },
    selects: ["alpha/nginx", "alpha/nginx-2"],
    enforced: 2,
  };
  const policies: PolicyView[] = [
    policy,
    { ...policy, name: "alpha-deny", selector: "", types: ["Ingress", "Egress"], selects: [], enforced: 0 },
    { ...policy, name: "half", enforced: 1 },
    { ...policy, name: "typo", unreadable: "spec.ingress[0].ports[0].port: 70000 is no port" },
  ];

  it("shows how many pods each selects, and on how many it is enforced", () => {
    expect(tableText(policiesTable(policies, false)).trimEnd().split("\n")).toEqual(
      lines(`
        NAMESPACE   NAME           SELECTOR      TYPES            PODS   STATE
        alpha       access-nginx   run=nginx     Ingress             2   enforced
        alpha       alpha-deny     <every pod>   Ingress,Egress      0   selects no pod here
        alpha       half           run=nginx     Ingress             2   enforced on 1 of 2
        alpha       typo           run=nginx     Ingress             2   enforced; unreadable, so allows nothing`),
    );
    expect(policyNames(policies)).toContain("alpha/half\n");
  });

  it("adds rules and pods if it may be wide", () => {
    const [titles, first, , , last] = tableText(policiesTable(policies, true)).split("\n");
    expect(titles).toMatch(/INGRESS-RULES {3}EGRESS-RULES {3}SELECTS {9}UNREADABLE$/);
    expect(first).toMatch(/ {3}1 +0 {3}nginx,nginx-2 {3}-$/);
    expect(last).toMatch(/ {3}spec\.ingress\[0\]\.ports\[0\]\.port: 70000 is no port$/);
  });
});

const STATUS: StatusView = {
  version: "0.1.0",
  pid: 4711,
  startedAt: "2025-06-01T12:00:00.000Z",
  generation: { wanted: 7, applied: 7 },
  appliedAt: "2025-06-01T12:04:30.000Z",
  endpoints: 4,
  policies: 1,
  problems: [],
  audited: 0,
  repairs: { attached: 0, pinned: 0 },
  capacity: [
    { name: "endpoints", used: 4, max: 1_023 },
    { name: "cidrs", used: 262_143, max: 262_144 },
    { name: "rows", used: 0, max: 4_094 },
  ],
  hook: "tcx",
  fromPodHook: "tc",
  source: "/etc/weir/manifests",
};
const NOW = new Date("2025-06-01T12:05:00Z");

describe("status", () => {
  it("is ok when the desired state is applied", () => {
    const report = reportOfAgent(STATUS, "/run/weir/agent.sock");
    expect(report).toMatchObject({ health: "ok", generation: { wanted: 7, applied: 7 }, endpoints: 4 });
    expect(statusText(report, NOW)).toBe(
      [
        "ok: 4 endpoints, 1 policy, all enforced (tcx)",
        "agent:      pid 4711, version 0.1.0, at /run/weir/agent.sock",
        "started:    2025-06-01T12:00:00.000Z (5m ago)",
        "source:     /etc/weir/manifests",
        "hook:       tcx",
        "generation: 7, applied 2025-06-01T12:04:30.000Z (30s ago)",
        "",
        "TABLE         USED      MAX   USE",
        "endpoints        4     1023   <1%",
        "cidrs       262143   262144   99%",
        "rows             0     4094    0%",
        "",
      ].join("\n"),
    );
  });

  it("reports where XDP is enabled, and what it does on uplinks", () => {
    const uplinks: UplinkView = {
      file: "/etc/weir/deny.txt",
      prefixes: 3,
      interfaces: [
        { name: "eth0", mode: "native" },
        { name: "eth1", mode: "none" },
      ],
      frames: { passed: 40, neighbour: 2, denied: 5, malformed: 1, unsupported: 0 },
    };
    const text = statusText(reportOfAgent({ ...STATUS, fromPodHook: "xdp", uplinks }, "/s"), NOW);
    expect(text).toContain("ok: 4 endpoints, 1 policy, all enforced (tcx, from pods xdp)\n");
    expect(text).toContain("hook:       tcx, from pods xdp\n");
    expect(text).toContain(
      "uplinks:    eth0 (native), eth1 (not attached), 3 prefixes denied; 6 frames dropped, 42 passed\n",
    );
  });

  it("reports how well the API server is followed", () => {
    const kind = {
      objects: 20,
      state: "following",
      lists: { first: 1 },
      watches: {},
      differences: 0,
      bytes: 0,
    } as const;
    const listed = { contactAt: "2025-06-01T12:04:58Z", listedAt: "2025-06-01T12:01:50Z" };
    const of = (...kinds: KindHealth[]): string => {
      const synced = kinds.every(({ listedAt }) => listedAt !== undefined);
      const following = { server: "https://10.0.0.1", synced, kinds };
      return statusText(reportOfAgent({ ...STATUS, following }, "/s"), NOW);
    };
    const pods = { kind: "Pod", ...kind, ...listed };
    expect(of(pods, { ...pods, kind: "Service", contactAt: "2025-06-01T12:00:00Z" })).toContain(
      "following:  2 of 2 kinds, 40 objects; last contact 2s ago, all listed 3m10s ago\n",
    );
    expect(of(pods, { kind: "Node", ...kind, objects: 0, state: "waiting" })).toContain(
      "following:  1 of 2 kinds, 20 objects; last contact 2s ago, not listed yet: Node\n",
    );
    expect(of({ kind: "Node", ...kind, objects: 1, state: "listing" })).toContain(
      "following:  0 of 1 kinds, 1 object; last contact never, not listed yet: Node\n",
    );
  });

  it("is degraded by a problem, which it shows in one line", () => {
    const problem = {
      severity: "error",
      file: "bad.yaml",
      line: 3,
      object: "NetworkPolicy alpha/x",
      path: "spec.podSelector",
      reason: "no object\u001b[2J",
      effect: "nothing is selected",
    } as const;
    const report = reportOfAgent({ ...STATUS, problems: [problem] }, "/s");
    expect(report.health).toBe("degraded");
    expect(report.problems).toEqual([
      {
        ...problem,
        text: "bad.yaml:3: NetworkPolicy alpha/x: spec.podSelector: no object\u001b[2J; nothing is selected",
      },
    ]);
    const text = statusText(report, NOW);
    expect(text).toMatch(/^degraded: 1 problem; the rest is enforced: 4 endpoints, 1 policy\n/);
    expect(text).toContain(
      "problems:\n  error: bad.yaml:3: NetworkPolicy alpha/x: spec.podSelector: no object\\u{1b}[2J; nothing is selected\n",
    );
  });

  it("is degraded while a change is not in the kernel", () => {
    const report = reportOfAgent({ ...STATUS, generation: { wanted: 8, applied: 7 } }, "/s");
    expect(report.health).toBe("degraded");
    expect(statusText(report, NOW)).toMatch(/^degraded: generation 8 is desired, 7 is enforced/);
  });

  it("is degraded until the agent has applied something", () => {
    const { appliedAt: _, ...unapplied } = STATUS;
    const report = reportOfAgent({ ...unapplied, generation: { wanted: 0, applied: 0 } }, "/s");
    expect(report.health).toBe("degraded");
    expect(statusText(report, NOW)).toMatch(
      /^degraded: this agent has not applied any state yet \(0 problems\)/,
    );
  });

  it("is down without an agent, and reports what the kernel still enforces", () => {
    const endpoint: EndpointRow = {
      labels: {},
      addresses: ["10.63.48.10"],
      state: "enforced",
      ingress: { policy: 3 },
      egress: { policy: 0 },
    };
    const kernel = {
      pins: "/sys/fs/bpf/weir",
      digest: "abc",
      generation: 7,
      endpoints: [endpoint, endpoint],
      filtered: [],
      others: [],
    };
    const report = reportOfKernel(kernel, "/s", "no agent answers at /s");
    expect(report).toMatchObject({ health: "down", agent: { running: false }, generation: { applied: 7 } });
    expect(statusText(report, NOW)).toBe(
      [
        "down: no agent answers; the kernel enforces the last applied state",
        "agent:      no agent answers at /s",
        "kernel:     generation 7: 2 endpoints, 2 isolated for ingress, 0 for egress",
        "pins:       /sys/fs/bpf/weir",
        "",
      ].join("\n"),
    );
  });

  it("is down and without details if nothing was ever enforced", () => {
    const report = reportOfKernel(undefined, "/s", "no agent answers at /s");
    expect(report).toMatchObject({ generation: { applied: 0 }, endpoints: 0 });
    expect(statusText(report, NOW)).toBe(
      "down: no agent answers, and nothing is enforced\nagent:      no agent answers at /s\n",
    );
  });

  it("leaves the colours to its caller", () => {
    const report = reportOfAgent(STATUS, "/s");
    expect(statusText(report, NOW, (health, text) => `<${health}>${text}</>`)).toMatch(/^<ok>ok<\/>: /);
  });
});
