// Every limit of the compiler, exceeded by one namespace: what it loses, that the others lose nothing, and that the documentation says so.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { addressOf, cidrOf } from "../../../../src/base/ip.ts";
import { type Cluster, keyOf, NO_SURROUNDINGS, type Pod } from "../../../../src/model/cluster.ts";
import type { Rule } from "../../../../src/model/network-policy.ts";
import { METRICS } from "../../../../src/observe/metrics-table.ts";
import { compile } from "../../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../../src/policy/identity-allocation.ts";
import { CAPACITIES, type Capacities } from "../../../../src/policy/limits/capacity-fit.ts";
import { excessProblems } from "../../../../src/policy/limits/fair-shares.ts";
import { placeOf } from "../../../../src/policy/port-classes.ts";
import { LIMITS, policyNumber } from "../../../../src/state/desired-state.ts";
import { planOf } from "../../../../src/state/state-lookup.ts";
import {
  localsFor,
  named,
  pod,
  policyOf,
  portRule,
  service,
  world,
} from "../../../support/limited-worlds.ts";

/** Those of domain names are a namespace's by what it needs for its names: see domain-names.test.ts. */
type Name = Exclude<keyof Capacities, "policies" | "domains" | "names">;

interface Scenario {
  /** The row of docs/limits.md. */
  readonly row: string;
  /** A lower limit, which the cluster exceeds; how much of it the cluster without the greedy namespace needs is added. */
  readonly limit: number;
  readonly text: string;
  readonly greedy: { readonly rules?: readonly Rule[]; readonly egress?: readonly Rule[] } & Partial<
    Pick<Cluster, "services">
  > & { readonly pods?: readonly Pod[]; readonly sources?: number };
  /** The objects that lose something. */
  readonly losers: RegExp;
}

const MODEST = [pod("modest", 1), pod("closed", 2)];
const PEER = addressOf(4, 0x1e000001n);
const modestRules = [portRule(1, 80)];

const ports = (count: number): Rule[] =>
  Array.from({ length: count }, (_, index) => portRule(10 + index, 1_000 + 2 * index));
const blocks = (count: number, more: Rule["ports"]): Rule[] =>
  Array.from({ length: count }, (_, index) => ({
    peers: [{ kind: "block", cidr: cidrOf(4, 0x32000000n + BigInt(index), 32), except: [] }],
    ports: more,
  }));
const WEB = [{ kind: "range", protocol: "TCP", first: 80, last: 80 }] as const;
const spans = (count: number): Rule["ports"] =>
  Array.from({ length: count }, (_, index) => ({
    kind: "range",
    protocol: "UDP",
    first: 4 * index,
    last: 4 * index + 1,
  }));
const everywhere: Rule = {
  peers: [{ kind: "pods", namespaces: { requirements: [] }, pods: { requirements: [] } }],
  ports: "all",
};
const crowd = (count: number): Pod[] =>
  Array.from({ length: count }, (_, index) => named("greedy", `p${index}`, 100 + index));

const toApp = (name: string): Rule => ({
  peers: [
    {
      kind: "pods",
      namespaces: undefined,
      pods: { requirements: [{ operator: "In", key: "app", values: [name] }] },
    },
  ],
  ports: "all",
});
const notOfApp = (name: string): Rule => ({
  peers: [
    {
      kind: "pods",
      namespaces: { requirements: [] },
      pods: { requirements: [{ operator: "NotIn", key: "app", values: [name] }] },
    },
  ],
  ports: "all",
});
const APPS = ["u", "v", "w", "x", "y", "z"];
const backends = APPS.map((name, index) => ({
  ...named("greedy", name, 200 + index),
  labels: new Map([["app", name]]),
}));
const services = new Map(
  APPS.map((name, index) => [`greedy/${name}`, service("greedy", name, 50 + index, 2)] as const),
);

/** Every limit has to have one. */
const SCENARIOS: Readonly<Record<Name, Scenario>> = {
  clauses: {
    row: "rules and ports of pods",
    ...{ limit: 10, text: "rules and ports of pods", losers: /^NetworkPolicy greedy\/policy$/ },
    greedy: { rules: ports(12) },
  },
  matches: {
    row: "matches of selectors and prefixes",
    ...{ limit: 12, text: "matches of selectors and prefixes", losers: /^NetworkPolicy greedy\/policy$/ },
    greedy: { pods: crowd(6), rules: APPS.map(notOfApp) },
  },
  classes: {
    row: "port classes",
    ...{
      limit: 4,
      text: "port classes",
      greedy: { rules: ports(12) },
      losers: /^NetworkPolicy greedy\/policy$/,
    },
  },
  rows: {
    row: "port sets",
    ...{
      limit: 4,
      text: "port sets",
      greedy: { rules: ports(12) },
      losers: /^NetworkPolicy greedy\/policy$/,
    },
  },
  identities: {
    row: "identities",
    ...{ limit: 4, text: "identities", losers: /^NetworkPolicy greedy\/policy$/ },
    greedy: { rules: ports(12) },
  },
  cidrs: {
    row: "CIDR prefixes",
    ...{ limit: 4, text: "IPv4 prefixes", losers: /^NetworkPolicy greedy\/policy$/ },
    greedy: { rules: blocks(12, WEB) },
  },
  ranges: {
    row: "port ranges",
    ...{ limit: 10, text: "port ranges for peers", losers: /^NetworkPolicy greedy\/policy$/ },
    greedy: { rules: blocks(6, spans(8)) },
  },
  bits: {
    row: "port classes of all port sets",
    ...{ limit: 10, text: "port classes in port sets", losers: /^NetworkPolicy greedy\/policy$/ },
    greedy: { rules: ports(20) },
  },
  endpoints: {
    row: "endpoints",
    ...{ limit: 4, text: "endpoints", greedy: { pods: crowd(6) }, losers: /^Pod greedy\// },
  },
  sources: {
    row: "sources",
    ...{ limit: 4, text: "IPv4 sources", greedy: { sources: 10 }, losers: /^Pod greedy\/pod$/ },
  },
  addresses: {
    row: "addresses",
    ...{ limit: 6, text: "IPv4 addresses", losers: /^Pod greedy\// },
    greedy: { pods: crowd(12), rules: [everywhere] },
  },
  services: {
    row: "ports of Services",
    ...{ limit: 4, text: "IPv4 ports of Services", losers: /^Service greedy\// },
    greedy: { services, pods: backends, egress: [everywhere] },
  },
  serviceGroups: {
    row: "sets of backends",
    ...{ limit: 3, text: "sets of backends", losers: /^Service greedy\// },
    greedy: { services, pods: backends, egress: APPS.map(toApp) },
  },
  backends: {
    row: "endpoints at ports of Services",
    ...{ limit: 4, text: "endpoints at ports of Services", losers: /^Service greedy\// },
    greedy: { services, pods: backends, egress: [everywhere] },
  },
};

const NAMES = Object.keys(SCENARIOS) as Name[];

function worldOf({ greedy }: Scenario): { readonly cluster: Cluster; readonly pods: readonly Pod[] } {
  const { rules = [], egress, sources = 0 } = greedy;
  const first: Pod = {
    ...pod("greedy", 3),
    ...(sources === 0
      ? {}
      : {
          sources: Array.from({ length: sources }, (_, index) =>
            cidrOf(4, BigInt(0x0b000000 + index * 512), 24),
          ),
        }),
  };
  const policies = [
    policyOf("modest", modestRules),
    policyOf("closed", []),
    egress === undefined ? policyOf("greedy", rules) : policyOf("greedy", egress, "egress"),
  ];
  const others = greedy.pods ?? [];
  const all = [...MODEST, first, ...others];
  return { cluster: world(all, policies, [...(greedy.services?.values() ?? [])]), pods: all };
}

/** What the tables need for everybody else. */
function neededByOthers(name: Name): number {
  if (name !== "sources") return 0;
  const { state } = compile(world(MODEST, []), localsFor(MODEST), NOTHING_NUMBERED, NO_SURROUNDINGS);
  return [...state.scopes.values()].flat().filter((text) => !text.includes(":")).length;
}

describe.each(NAMES)("beyond the limit of %s", (name) => {
  const scenario = SCENARIOS[name];
  const { cluster, pods } = worldOf(scenario);
  /** Of this node are all pods where endpoints are limited, else one of each namespace. */
  const locals = localsFor(name === "endpoints" ? pods : pods.slice(0, 3));
  const limit = scenario.limit + neededByOthers(name);
  const limited = compile(cluster, locals, NOTHING_NUMBERED, NO_SURROUNDINGS, {
    ...CAPACITIES,
    [name]: limit,
  });
  const whole = compile(cluster, locals, NOTHING_NUMBERED, NO_SURROUNDINGS);

  it("only the greedy namespace loses something, and it is reported", () => {
    expect(whole.excesses).toEqual([]);
    expect(limited.excesses.length).toBeGreaterThan(0);
    for (const { object, limit: text } of limited.excesses) {
      expect(object).toMatch(scenario.losers);
      expect(text).toBe(scenario.text);
    }
    for (const { severity, object, reason } of excessProblems(limited.excesses)) {
      expect([severity, object]).toEqual(["error", expect.stringContaining(" greedy/")]);
      expect(reason).toContain("namespace greedy");
      expect(reason).toContain(scenario.text);
    }
  });

  it("the others have what they had, and all pods stay isolated", () => {
    const plan = planOf(limited.state);
    const ask = (ifindex: number, port: number) =>
      plan.judge({ ifindex, direction: "ingress", remote: PEER, place: placeOf("TCP", port) });
    expect([ask(10, 80), ask(10, 81), ask(11, 80)]).toEqual(["allowed", "denied", "denied"]);
    for (const { ifindex } of locals) {
      const isShut = limited.shut.some((each) => each.ifindex === ifindex);
      const of = (state: typeof limited.state) => {
        const { policy } = state.endpoints.get(ifindex) ?? {};
        return [policy?.ingress, policy?.egress].map(
          (each) => each !== undefined && policyNumber(each) !== 0,
        );
      };
      if (!isShut) expect(of(limited.state)).toEqual(of(whole.state));
    }
  });

  it("no order of the objects changes what is lost", () => {
    const reversed: Cluster = {
      ...cluster,
      pods: new Map([...cluster.pods].reverse()),
      policies: new Map([...cluster.policies].reverse()),
      services: new Map([...cluster.services].reverse()),
    };
    const other = compile(reversed, [...locals].reverse(), NOTHING_NUMBERED, NO_SURROUNDINGS, {
      ...CAPACITIES,
      [name]: limit,
    });
    const lost = ({ excesses }: typeof limited): string[] =>
      excesses.map(({ object, rules = [] }) => `${object} ${rules.join()}`).sort();
    expect(lost(other)).toEqual(lost(limited));
  });
});

it("policies of the node: two for each endpoint fit", () => {
  expect(LIMITS.policies).toBeGreaterThanOrEqual(2 * LIMITS.endpoints + 1);
});

// The table of the documentation.

const DOCS = fileURLToPath(new URL("../../../../docs/limits.md", import.meta.url));

/** The rows of the tables under a heading: cells by the title of their column. */
function rowsOf(heading: string): ReadonlyMap<string, string>[] {
  const [, section = ""] = readFileSync(DOCS, "utf8").split(`\n${heading}\n`);
  const lines = (section.split("\n## ")[0] ?? "").split("\n").filter((line) => line.startsWith("|"));
  const cells = (line: string): string[] =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
  const titles = cells(lines[0] ?? "");
  return lines.slice(2).map((line) => new Map(cells(line).map((cell, at) => [titles[at] ?? "", cell])));
}

describe("docs/limits.md", () => {
  const rows = rowsOf("## All limits");

  it("has every limit of the compiler with its value", () => {
    const others = {
      policies: "policies",
      domains: "domain names",
      names: "domain names for policies",
    } as const;
    for (const name of [...NAMES, "policies", "domains", "names"] as const) {
      const title = name in others ? others[name as keyof typeof others] : SCENARIOS[name as Name].row;
      const found = rows.filter((row) => row.get("limit")?.startsWith(`**${title}**`));
      expect(found, title).toHaveLength(1);
      expect(found[0]?.get("default"), title).toContain(CAPACITIES[name].toLocaleString("en"));
    }
  });

  it("has every cell, and names metrics that exist", () => {
    const known = new Set<string>(Object.values(METRICS).map((metric) => metric.name));
    expect(rows.length).toBeGreaterThan(NAMES.length + 10);
    for (const row of rows) {
      expect([...row.keys()]).toEqual(["limit", "default", "memory", "option", "beyond", "metric"]);
      for (const cell of row.values()) expect(cell, row.get("limit")).not.toBe("");
      for (const [name] of row.get("metric")?.matchAll(/weir_\w+/g) ?? []) expect(known).toContain(name);
    }
  });
});

it("every object of these tests has a key of its own", () => {
  for (const name of NAMES) {
    const { pods } = worldOf(SCENARIOS[name]);
    expect(new Set(pods.map(keyOf)).size).toBe(pods.length);
  }
});
