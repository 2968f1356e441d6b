// A Service with one backend that the client's policy allows and one that it denies: when the client may still use it.

import { describe, expect, test } from "vitest";
import { type Cluster, keyOf, NO_SURROUNDINGS, type Pod } from "../../../src/model/cluster.ts";
import { frontendsOf } from "../../../src/model/frontends.ts";
import type { Peer } from "../../../src/model/network-policy.ts";
import type { Service } from "../../../src/model/service.ts";
import { compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import { CAPACITIES, type Capacities } from "../../../src/policy/limits/capacity-fit.ts";
import { placeOf } from "../../../src/policy/port-classes.ts";
import { serviceVerdict } from "../../../src/policy/service-oracle.ts";
import { planOf } from "../../../src/state/state-lookup.ts";
import {
  address,
  block,
  cidr,
  cluster,
  clusterPolicy,
  clusterRule,
  pod,
  pods,
  policy,
  ports,
  selector,
} from "../../support/model.ts";

const VIP = "10.96.0.1";
const EXTERNAL = "198.51.100.1";
const CLIENT = pod("x/client", ["10.0.0.1"], { labels: { app: "client" } });
const WEB = pod("x/web", ["10.0.0.2"], { labels: { app: "web", behind: "yes" } });
const API = pod("x/api", ["10.0.0.3"], { labels: { app: "api", behind: "yes" } });
const SERVICE: Service = {
  namespace: "x",
  name: "s",
  clusterIps: [address(VIP)],
  externalIps: [address(EXTERNAL)],
  loadBalancerIps: [],
  ports: [{ name: "", protocol: "TCP", port: 80, target: 8080 }],
  selector: new Map([["behind", "yes"]]),
  onlyLocal: false,
};

const worldOf = (...members: readonly Pod[]): Cluster =>
  cluster({
    pods: members,
    services: [SERVICE],
    policies: [
      policy("x/client", {
        subject: selector({ app: "client" }),
        isolates: { ingress: false, egress: true },
        egress: [{ peers: [pods({ app: "web" })], ports: "all" }],
      }),
    ],
  });

/** The plan's verdict on a packet, and the oracle's on what leaves; they must agree. */
function askedOf(world: Cluster, locals: readonly Pod[], to = VIP) {
  const ifindex = (of: Pod): number => 100 + [...world.pods.keys()].indexOf(keyOf(of));
  const endpoints = locals.map((each) => ({ pod: each, ifindex: ifindex(each) }));
  const plan = planOf(compile(world, endpoints, NOTHING_NUMBERED).state);
  const passes = (of: Pod, direction: "ingress" | "egress", remote: string, place: number): boolean =>
    ["allowed", "not isolated"].includes(
      plan.judge({ ifindex: ifindex(of), direction, remote: address(remote), place }),
    );
  const client = world.pods.get("x/client") as Pod;
  const leaves = passes(client, "egress", to, 80);
  const frontend = frontendsOf(world, new Set()).find((each) => each.address.text === to);
  if (frontend === undefined) throw new Error(`no frontend ${to}`);
  const from = { kind: "pod", pod: client, address: address("10.0.0.1") } as const;
  const verdict = serviceVerdict(world, { from, frontend }, (each) =>
    locals.some((own) => keyOf(own) === keyOf(each)),
  );
  expect(leaves).toBe(verdict.leaves);
  return { leaves, arrives: (at: Pod, sender = "10.0.0.1") => passes(at, "ingress", sender, 8080) };
}

describe("a Service with a backend that a policy denies", () => {
  test("leaves the client if the backend is of this node, and drops what comes there from this client", () => {
    const { leaves, arrives } = askedOf(worldOf(CLIENT, WEB, API), [CLIENT, WEB, API]);
    expect(leaves).toBe(true);
    expect([arrives(WEB), arrives(API), arrives(API, "10.0.0.2"), arrives(API, "192.0.2.1")]).toEqual([
      true,
      false,
      true,
      true,
    ]);
  });

  test("leaves it if only the allowed backend is of another node", () => {
    expect(askedOf(worldOf(CLIENT, WEB, API), [CLIENT, API]).leaves).toBe(true);
  });

  test.each<[string, readonly Pod[], string]>([
    ["the denied backend is of another node", [CLIENT, WEB], VIP],
    ["the client is an external address", [CLIENT, WEB, API], EXTERNAL],
  ])("does not leave it if %s", (_, locals, to) => {
    expect(askedOf(worldOf(CLIENT, WEB, API), locals, to).leaves).toBe(false);
  });

  test("does not leave a client that may send from other addresses", () => {
    const router = { ...CLIENT, sources: [cidr("10.9.0.0/16")] };
    const { leaves, arrives } = askedOf(worldOf(router, WEB, API), [router, WEB, API]);
    expect([leaves, arrives(API)]).toEqual([false, true]);
  });

  test("does not leave it if the denied backend has two addresses of the family", () => {
    const api = { ...API, ips: [address("10.0.0.3"), address("10.0.0.4")] };
    expect(askedOf(worldOf(CLIENT, WEB, api), [CLIENT, WEB, api]).leaves).toBe(false);
  });

  test("costs nothing if no pod is isolated for egress", () => {
    const world = { ...worldOf(CLIENT, WEB, API), policies: new Map() };
    const { state } = compile(world, [{ pod: CLIENT, ifindex: 7 }], NOTHING_NUMBERED);
    expect([state.services.size, [...state.addresses.keys()].includes(VIP)]).toEqual([0, false]);
  });
});

describe("a Service left out at a limit is denied to each pod to which anything can be denied", () => {
  const LIMITED: readonly [string, Partial<Capacities>][] = [
    ["ports of Services", { services: 0 }],
    ["sets of backends", { serviceGroups: 0 }],
    ["endpoints at ports of Services", { backends: 0 }],
  ];
  const CASES: readonly [string, readonly Peer[], full: boolean, limited: boolean][] = [
    ["its backends are denied", [pods({ behind: "yes" })], false, false],
    ["one of its backends is denied", [pods({ app: "web" })], false, false],
    ["something else is denied", [block("192.0.2.0/24")], true, false],
    ["nothing is denied", [], true, true],
  ];
  for (const [limit, few] of LIMITED)
    test.each(CASES)(`${limit}: %s`, (_, denied, full, limited) => {
      const policies = denied.length === 0 ? [] : [clusterRule("Deny", denied)];
      const world: Cluster = {
        ...worldOf(CLIENT, WEB, API),
        policies: new Map(),
        clusterPolicies: new Map([["deny", clusterPolicy("deny", { egress: policies })]]),
      };
      const leaves = (capacities: Capacities): boolean => {
        const locals = [{ pod: CLIENT, ifindex: 7 }];
        const { state } = compile(world, locals, NOTHING_NUMBERED, NO_SURROUNDINGS, capacities);
        const question = { ifindex: 7, direction: "egress", remote: address(VIP), place: 80 } as const;
        return ["allowed", "not isolated"].includes(planOf(state).judge(question));
      };
      expect([leaves(CAPACITIES), leaves({ ...CAPACITIES, ...few })]).toEqual([full, limited]);
    });
});

describe("an external address is judged as itself, and by the backends", () => {
  const ENDS = [
    { family: 4, external: EXTERNAL, wide: "198.51.100.0/24", client: "10.0.0.1", web: "10.0.0.2" },
    { family: 6, external: "2001:db8::1", wide: "2001:db8::/64", client: "fd00::1", web: "fd00::2" },
  ] as const;
  const toWeb = pods({ app: "web" });
  /** What the client's policies are, where the address leads beside the Service, and whether packets to each kind of address leave. */
  interface Case {
    readonly allowed?: readonly (readonly [Peer, string])[];
    readonly denied?: readonly Peer[];
    readonly holder?: boolean;
    readonly backends?: boolean;
    readonly external: boolean;
    readonly balanced: boolean;
  }
  const casesWith = (own: string, wide: string): readonly [string, Case][] => [
    ["nothing isolates", { external: true, balanced: true }],
    ["the backend alone is allowed", { allowed: [[toWeb, "8080"]], external: false, balanced: true }],
    ["the address alone is allowed", { allowed: [[block(own), "80"]], external: false, balanced: false }],
    [
      "both are",
      {
        allowed: [
          [toWeb, "8080"],
          [block(wide), "80"],
        ],
        external: true,
        balanced: true,
      },
    ],
    [
      "the address at the backend's port",
      {
        allowed: [
          [toWeb, "8080"],
          [block(own), "8080"],
        ],
        external: false,
        balanced: true,
      },
    ],
    ["a Deny of the address", { denied: [block(own)], external: false, balanced: true }],
    ["a Deny of its network", { denied: [block(wide)], external: false, balanced: true }],
    ["a Deny of the backend", { denied: [toWeb], external: false, balanced: false }],
    ["a Deny of something else", { denied: [pods({ app: "api" })], external: true, balanced: true }],
    [
      "a Deny of the address, without backends",
      { denied: [block(own)], backends: false, external: false, balanced: true },
    ],
    [
      "a Deny of the pod that has the address",
      { denied: [pods({ app: "api" })], holder: true, external: false, balanced: true },
    ],
    [
      "the pod that has the address, and the backend, are allowed",
      {
        allowed: [
          [toWeb, "8080"],
          [pods({ app: "api" }), "80"],
        ],
        holder: true,
        external: true,
        balanced: true,
      },
    ],
  ];
  for (const { family, external, wide, client, web } of ENDS)
    for (const protocol of ["TCP", "UDP"] as const)
      test.each(casesWith(`${external}/${family === 4 ? 32 : 128}`, wide))(
        `IPv${family} ${protocol}: %s`,
        (_, { allowed, denied = [], holder = false, backends = true, ...expected }) => {
          const named = (name: string, ips: readonly string[], app: string) =>
            pod(`x/${name}`, ips, { labels: { app } });
          const sender = named("client", [client], "client");
          const leaves = (kind: "external" | "balanced"): boolean => {
            const world: Cluster = {
              ...cluster({
                pods: [
                  sender,
                  named("web", [web], "web"),
                  ...(holder ? [named("api", [external], "api")] : []),
                ],
                services: [
                  {
                    ...SERVICE,
                    clusterIps: [],
                    externalIps: kind === "external" ? [address(external)] : [],
                    loadBalancerIps: kind === "balanced" ? [address(external)] : [],
                    ports: [{ name: "", protocol, port: 80, target: 8080 }],
                    selector: new Map([["app", backends ? "web" : "none"]]),
                  },
                ],
                policies: allowed === undefined ? [] : [egressOfClient(protocol, allowed)],
              }),
              clusterPolicies: new Map(
                denied.length === 0
                  ? []
                  : [["deny", clusterPolicy("deny", { egress: [clusterRule("Deny", denied)] })]],
              ),
            };
            const plan = planOf(compile(world, [{ pod: sender, ifindex: 7 }], NOTHING_NUMBERED).state);
            const place = placeOf(protocol, 80);
            const question = { ifindex: 7, direction: "egress", remote: address(external), place } as const;
            const passes = ["allowed", "not isolated"].includes(plan.judge(question));
            const [frontend] = frontendsOf(world, new Set());
            if (frontend === undefined) throw new Error("no frontend");
            const from = { kind: "pod", pod: sender, address: address(client) } as const;
            expect(passes).toBe(serviceVerdict(world, { from, frontend }, () => false).leaves);
            return passes;
          };
          expect({ external: leaves("external"), balanced: leaves("balanced") }).toEqual(expected);
        },
      );
  const egressOfClient = (protocol: string, allowed: readonly (readonly [Peer, string])[]) =>
    policy("x/client", {
      subject: selector({ app: "client" }),
      isolates: { ingress: false, egress: true },
      egress: allowed.map(([peer, port]) => ({ peers: [peer], ports: ports(`${protocol}/${port}`) })),
    });
});
