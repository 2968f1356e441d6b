// Which addresses and ports kube-proxy rewrites, and which backends it may choose: its rules, one by one.

import { describe, expect, test } from "vitest";
import type { FrontendCapacities } from "../../../src/model/frontend-shares.ts";
import { backendsOf, frontendsOf, openFrontends } from "../../../src/model/frontends.ts";
import type { EndpointSlice, Service, SliceEndpoint } from "../../../src/model/service.ts";
import { MEMORY } from "../../../src/source/apiserver/object-memory.ts";
import { address, cluster, pod } from "../../support/model.ts";

const service = (facts: Partial<Service> = {}): Service => ({
  namespace: "x",
  name: "s",
  clusterIps: [address("10.96.0.1")],
  externalIps: [],
  loadBalancerIps: [],
  ports: [{ name: "", protocol: "TCP", port: 80, target: 8080 }],
  selector: new Map([["app", "a"]]),
  onlyLocal: false,
  ...facts,
});

const endpoint = (text: string, facts: Partial<SliceEndpoint> = {}): SliceEndpoint => ({
  address: address(text),
  ready: true,
  serving: true,
  terminating: false,
  ...facts,
});

const slice = (facts: Partial<EndpointSlice> = {}): EndpointSlice => ({
  namespace: "x",
  name: "s-1",
  service: "s",
  family: 4,
  ports: [{ name: "", protocol: "TCP", port: 8080 }],
  endpoints: [endpoint("10.0.0.1")],
  ...facts,
});

const PODS = [
  pod("x/a", ["10.0.0.1", "fd00::1"], {
    labels: { app: "a" },
    ports: [{ name: "web", port: 9090, protocol: "TCP" }],
  }),
  pod("x/b", ["10.0.0.2"], { labels: { app: "a" } }),
  pod("x/host", ["192.0.2.1"], { labels: { app: "a" }, hostNetwork: true }),
  pod("x/done", ["10.0.0.4"], { labels: { app: "a" }, finished: true }),
  pod("x/other", ["10.0.0.5"], { labels: { app: "b" } }),
  pod("y/a", ["10.0.0.6"], { labels: { app: "a" } }),
];

/** "10.96.0.1 TCP/80 -> 10.0.0.1:8080 10.0.0.2:8080", one for each frontend. */
function frontends(
  services: readonly Service[],
  slices: readonly EndpointSlice[] = [],
  nodes: readonly string[] = [],
): string[] {
  return frontendsOf(cluster({ pods: PODS, services, slices }), new Set(nodes)).map((each) => {
    const backends = backendsOf(each).map((backend) => `${backend.address.text}:${backend.port}`);
    const kept = each.keepsSource ? "" : " (masked)";
    const itself = each.judgedAsItself ? " (or itself)" : "";
    return `${each.address.text} ${each.protocol}/${each.port}${kept}${itself} -> ${backends.join(" ") || "nothing"}`;
  });
}

describe("without slices", () => {
  test("the pods that the selector matches, those on the host's network too, finished ones not", () => {
    expect(frontends([service()])).toEqual([
      "10.96.0.1 TCP/80 -> 10.0.0.1:8080 10.0.0.2:8080 192.0.2.1:8080",
    ]);
  });

  test("a name of a port is looked up on each pod", () => {
    const named = service({ ports: [{ name: "", protocol: "TCP", port: 80, target: "web" }] });
    expect(frontends([named])).toEqual(["10.96.0.1 TCP/80 -> 10.0.0.1:9090"]);
    const datagrams = service({ ports: [{ name: "", protocol: "UDP", port: 80, target: "web" }] });
    expect(frontends([datagrams])).toEqual(["10.96.0.1 UDP/80 -> nothing"]);
  });

  test("nothing without a selector, no frontend without an address", () => {
    expect(frontends([service({ selector: undefined })])).toEqual(["10.96.0.1 TCP/80 -> nothing"]);
    expect(frontends([service({ clusterIps: [] })])).toEqual([]);
  });

  test("each family has the addresses of its own", () => {
    const dual = service({ clusterIps: [address("10.96.0.1"), address("fd96::1")] });
    expect(frontends([dual])[1]).toBe("fd96::1 TCP/80 -> fd00::1:8080");
  });
});

describe("with slices", () => {
  test("they alone count, by the name and protocol of the port", () => {
    const ports = [
      { name: "a", protocol: "TCP", port: 80, target: 1 },
      { name: "b", protocol: "TCP", port: 81, target: 1 },
      { name: "a", protocol: "UDP", port: 80, target: 1 },
    ] as const;
    const named = slice({ ports: [{ name: "a", protocol: "TCP", port: 8443 }] });
    expect(frontends([service({ ports })], [named])).toEqual([
      "10.96.0.1 TCP/80 -> 10.0.0.1:8443",
      "10.96.0.1 TCP/81 -> nothing",
      "10.96.0.1 UDP/80 -> nothing",
    ]);
  });

  test("of several each endpoint once; of another Service, namespace or family none", () => {
    const slices = [
      slice(),
      slice({ name: "s-2", endpoints: [endpoint("10.0.0.1"), endpoint("198.51.100.1")] }),
      slice({ name: "s-3", service: "t", endpoints: [endpoint("10.0.0.7")] }),
      slice({ name: "s-4", service: undefined, endpoints: [endpoint("10.0.0.8")] }),
      slice({ namespace: "y", endpoints: [endpoint("10.0.0.9")] }),
      slice({ name: "s-6", family: 6, endpoints: [endpoint("fd00::9")] }),
    ];
    expect(frontends([service()], slices)).toEqual(["10.96.0.1 TCP/80 -> 10.0.0.1:8080 198.51.100.1:8080"]);
  });

  test("the ready ones; else those that still serve on their way out", () => {
    const ready = endpoint("10.0.0.1");
    const leaving = endpoint("10.0.0.2", { ready: false, terminating: true });
    const gone = endpoint("10.0.0.3", { ready: false, serving: false, terminating: true });
    const starting = endpoint("10.0.0.4", { ready: false, serving: true });
    const of = (...endpoints: SliceEndpoint[]) => frontends([service()], [slice({ endpoints })])[0];
    expect(of(leaving, ready, gone, starting)).toBe("10.96.0.1 TCP/80 -> 10.0.0.1:8080");
    expect(of(leaving, gone, starting)).toBe("10.96.0.1 TCP/80 -> 10.0.0.2:8080");
    expect(of(gone, starting)).toBe("10.96.0.1 TCP/80 -> nothing");
  });

  test("internalTrafficPolicy Local keeps a ClusterIP on the node, and no external address", () => {
    const local = service({ onlyLocal: true, externalIps: [address("198.51.100.9")] });
    const endpoints = [
      endpoint("10.0.0.1", { node: "n1", ready: false, terminating: true }),
      endpoint("10.0.0.2", { node: "n2" }),
    ];
    expect(frontends([local], [slice({ endpoints })], ["n1"])).toEqual([
      "10.96.0.1 TCP/80 -> 10.0.0.1:8080",
      "198.51.100.9 TCP/80 (masked) (or itself) -> 10.0.0.2:8080",
    ]);
    // If the node's name is not known, it may be any node.
    expect(frontends([local], [slice({ endpoints })])[0]).toBe(
      "10.96.0.1 TCP/80 -> 10.0.0.1:8080 10.0.0.2:8080",
    );
  });

  describe("which endpoint kube-proxy sees as ready is not certain", () => {
    const LEAVING = { ready: false, terminating: true };
    const UNREADY = { ready: false, serving: false };
    const ofOne = (...endpoints: SliceEndpoint[]): EndpointSlice[] => [slice({ endpoints })];
    const ofEach = (...endpoints: SliceEndpoint[]): EndpointSlice[] =>
      endpoints.map((each, at) => slice({ name: `s-${at}`, endpoints: [each] }));

    test.each<[string, Partial<Service>, EndpointSlice[], string]>([
      [
        "of one slice has the same address twice",
        {},
        ofOne(endpoint("10.0.0.1", UNREADY), endpoint("10.0.0.1"), endpoint("10.0.0.2", LEAVING)),
        "10.0.0.1:8080 10.0.0.2:8080",
      ],
      [
        "of two slices has the same address",
        {},
        ofEach(endpoint("10.0.0.1"), endpoint("10.0.0.2", LEAVING), endpoint("10.0.0.1", UNREADY)),
        "10.0.0.1:8080 10.0.0.2:8080",
      ],
      [
        "but another one is",
        {},
        ofOne(
          ...[endpoint("10.0.0.1", UNREADY), endpoint("10.0.0.1")],
          ...[endpoint("10.0.0.3"), endpoint("10.0.0.2", LEAVING)],
        ),
        "10.0.0.1:8080 10.0.0.3:8080",
      ],
      [
        "the same address twice, both times ready",
        {},
        ofEach(endpoint("10.0.0.1"), endpoint("10.0.0.1"), endpoint("10.0.0.2", LEAVING)),
        "10.0.0.1:8080",
      ],
      [
        "of this node, by the name of a node that it does not say",
        { onlyLocal: true },
        ofOne(endpoint("10.0.0.1"), endpoint("10.0.0.2", { ...LEAVING, node: "n1" })),
        "10.0.0.1:8080 10.0.0.2:8080",
      ],
      [
        "of this node, by two names",
        { onlyLocal: true },
        ofEach(
          endpoint("10.0.0.1", { node: "n1" }),
          endpoint("10.0.0.1", { node: "n2" }),
          endpoint("10.0.0.2", { ...LEAVING, node: "n1" }),
        ),
        "10.0.0.1:8080 10.0.0.2:8080",
      ],
      [
        "of this node, and one is",
        { onlyLocal: true },
        ofOne(
          ...[endpoint("10.0.0.1"), endpoint("10.0.0.3", { node: "n1" })],
          endpoint("10.0.0.2", { ...LEAVING, node: "n1" }),
        ),
        "10.0.0.1:8080 10.0.0.3:8080",
      ],
    ])("%s", (_, facts, slices, backends) => {
      for (const own of [slices, slices.toReversed()])
        expect(frontends([service(facts)], own, ["n1"])).toEqual([`10.96.0.1 TCP/80 -> ${backends}`]);
    });

    test("externalTrafficPolicy Local: those of this node, or, from a pod, of all", () => {
      const external = { clusterIps: [], onlyLocalOutside: true } as const;
      const endpoints = [
        endpoint("10.0.0.1", { node: "n2" }),
        endpoint("10.0.0.2", { ...LEAVING, node: "n1" }),
        endpoint("10.0.0.3", { ...LEAVING, node: "n2" }),
      ];
      for (const own of [
        { externalIps: [address("10.96.0.1")] },
        { loadBalancerIps: [address("10.96.0.1")] },
      ])
        expect(frontends([service({ ...external, ...own })], ofOne(...endpoints), ["n1"])[0]).toMatch(
          / -> 10\.0\.0\.1:8080 10\.0\.0\.2:8080$/,
        );
      const near = endpoint("10.0.0.4", { node: "n1" });
      expect(
        frontends(
          [service({ ...external, externalIps: [address("10.96.0.1")] })],
          ofOne(...endpoints, near),
          ["n1"],
        )[0],
      ).toMatch(/ -> 10\.0\.0\.1:8080 10\.0\.0\.4:8080$/);
    });
  });
});

describe("two Services that claim one frontend", () => {
  const slices = [slice(), slice({ name: "t-1", service: "t", endpoints: [endpoint("198.51.100.1")] })];
  const external = { clusterIps: [], externalIps: [address("10.96.0.1")] };
  const balanced = { clusterIps: [], loadBalancerIps: [address("10.96.0.1")] };

  // An address that one of them has as its own is nobody else's.
  test.each<[string, Partial<Service>, Partial<Service>, string]>([
    ["a ClusterIP and an external address", {}, external, ""],
    ["a load balancer's address and an external one", balanced, external, ""],
    ["two external addresses", external, external, " (or itself)"],
  ])("may lead to the backends of either: %s", (_, one, two, itself) => {
    expect(frontends([service(one), service({ ...two, name: "t" })], slices)).toEqual([
      `10.96.0.1 TCP/80 (masked)${itself} -> 10.0.0.1:8080 198.51.100.1:8080`,
    ]);
  });

  test("are judged again when one of them goes", () => {
    const compiled = openFrontends();
    const step = (...services: readonly Service[]) =>
      [...compiled(cluster({ services, slices }), new Set()).all.values()].map((each) => each.judgedAsItself);
    expect([
      step(service(), service({ ...external, name: "t" })),
      step(service(external), service({ ...external, name: "t" })),
      step(service({ ...external, name: "t" }), service(balanced)),
    ]).toEqual([[false], [true], [false]]);
  });
});

describe("what frontends share", () => {
  const indexes = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
  const ports = indexes(20).map(
    (index) => ({ name: `p${index}`, protocol: "TCP", port: 1 + index, target: 1_000 + index }) as const,
  );
  const external = indexes(5).map((index) => address(`198.51.100.${index}`));
  const large = service({ ports, externalIps: external });
  const numbered = ports.map(({ name, protocol, target: port }) => ({ name, protocol, port }));
  const slices = ["s-1", "s-2"].map((name, index) =>
    slice({ name, ports: numbered, endpoints: indexes(9).map((each) => endpoint(`10.1.${index}.${each}`)) }),
  );
  const lists = (world: Parameters<typeof frontendsOf>[0]) =>
    new Set(
      frontendsOf(world, new Set()).flatMap(({ backends }) => backends.map(({ addresses }) => addresses)),
    );

  test.each<[string, EndpointSlice[], number]>([
    ["of slices", slices, 18],
    ["of pods", [], 3],
  ])("is the list of addresses, for all ports and addresses: %s", (_, own, count) => {
    const world = cluster({ pods: PODS, services: [large], slices: own });
    const all = frontendsOf(world, new Set());
    expect(all).toHaveLength(20 * 6);
    expect(lists(world).size).toBe(1);
    const [one] = all.filter((each) => each.address.text === "198.51.100.4" && each.port === 7);
    const [backends] = one?.backends ?? [];
    expect([one?.backends.length, backends?.port, backends?.addresses.length]).toEqual([1, 1_006, count]);
  });

  test("more than two Services that claim the same are refused there", () => {
    const services = ["s", "t", "u"].map((name) => ({ ...large, name, clusterIps: [] }));
    const own = services.map(({ name }) =>
      slice({ name, service: name, ports: numbered, endpoints: [endpoint("10.2.1.1")] }),
    );
    const found = [...openFrontends()(cluster({ services, slices: own }), new Set()).all.values()];
    expect(found.length).toBeGreaterThan(0);
    for (const { refused, backends } of found) expect([refused, backends]).toEqual([true, []]);
  });

  test("Services without slices are refused where they and the pods of their namespace are too many to be compared", () => {
    const many = (count: number) => Array.from({ length: count }, (_, index) => index);
    const pods = many(1_000).map((index) =>
      pod(`x/p${index}`, [`10.3.${index >> 8}.${index & 255}`], { labels: { app: "a" } }),
    );
    const services = many(1_001).map((index) =>
      service({
        name: `s${index}`,
        clusterIps: [address(`10.96.${index >> 8}.${index & 255}`)],
        selector: new Map([["app", "a"]]),
      }),
    );
    const open = openFrontends();
    const refusedOf = (count: number): number =>
      [...open(cluster({ pods, services: services.slice(0, count) }), new Set()).all.values()].filter(
        ({ refused }) => refused === true,
      ).length;
    const ports = services[0]?.ports.length ?? 0;
    expect([refusedOf(2), refusedOf(1_001), refusedOf(3)]).toEqual([0, 1_001 * ports, 0]);
  });

  test("of several Services that claim the same, too", () => {
    const services = ["s", "t"].map((name) => ({ ...large, name, clusterIps: [] }));
    const own = services.map(({ name }, index) =>
      slice({
        name,
        service: name,
        ports: numbered,
        endpoints: [endpoint(`10.2.0.${index}`), endpoint("10.2.1.1")],
      }),
    );
    const world = cluster({ services, slices: own });
    const [list, other] = lists(world);
    expect([other, list?.map(({ text }) => text)]).toEqual([undefined, ["10.2.0.0", "10.2.1.1", "10.2.0.1"]]);
  });
});

describe("a Service beyond its namespace's share", () => {
  const two = [
    { name: "a", protocol: "TCP", port: 80, target: 8080 },
    { name: "b", protocol: "TCP", port: 81, target: 8081 },
  ] as const;
  const numbered = two.map(({ name, protocol, target: port }) => ({ name, protocol, port }));
  const endpoints = [endpoint("10.0.0.1"), endpoint("10.0.0.2"), endpoint("10.0.0.3")];
  const large = service({ name: "large", ports: two });
  const other = service({ name: "other", clusterIps: [address("10.96.0.2")] });
  const slices = [
    slice({ name: "large-1", service: "large", ports: numbered, endpoints }),
    slice({ name: "other-1", service: "other" }),
  ];
  const VIPS = ["10.96.0.1", "10.96.0.2", "10.96.0.9"].map(address);
  const { reduced } = MEMORY.Service;
  /** "10.96.0.1:80 refused", "10.96.0.1 closed". */
  const texts = (services: readonly Service[], own: readonly EndpointSlice[], few = {}): string[] => {
    const capacities = { services: 1_000, backends: 1_000, ...few };
    const { all, closed } = openFrontends()(cluster({ services, slices: own }), new Set(), capacities);
    return [
      ...[...all.values()].map(
        ({ address: { text }, port, refused, backends }) =>
          `${text}:${port} ${refused === true ? "refused" : backendsOf({ backends }).length}`,
      ),
      ...VIPS.filter(closed.has).map((each) => `${each.text} closed by ${closed.serviceAt(each)}`),
    ].sort();
  };
  const whole = ["10.96.0.1:80 3", "10.96.0.1:81 3", "10.96.0.2:80 1"];
  const refused = ["10.96.0.1:80 refused", "10.96.0.1:81 refused", "10.96.0.2:80 1"];
  const claiming = service({
    namespace: "y",
    name: "s",
    clusterIps: [],
    externalIps: [address("10.96.0.1")],
  });

  test.each<[string, string[], Service[], EndpointSlice[], object?]>([
    ["is as it is where all fits", whole, [large, other], slices, { backends: 7, services: 3 }],
    ["is refused where its endpoints are too many", refused, [large, other], slices, { backends: 6 }],
    [
      "is closed where its frontends are too many",
      ["10.96.0.1 closed by x/large", "10.96.0.2:80 1"],
      [large, other],
      slices,
      { services: 2 },
    ],
    [
      "is closed where its ports are not kept",
      ["10.96.0.1 closed by x/large", "10.96.0.2:80 1"],
      [reduced(large), other],
      slices,
    ],
    [
      "is refused where one of its slices is not kept",
      refused,
      [large, other],
      [...slices, slice({ name: "large-2", service: "large", ports: [], endpoints: [], exceeds: true })],
    ],
    [
      "is refused for others that claim the same",
      ["10.96.0.1:80 refused", "10.96.0.1:81 refused"],
      [large, claiming],
      slices,
      { backends: 5 },
    ],
    ["closes what others claim there", ["10.96.0.1 closed by x/large"], [reduced(large), claiming], slices],
    [
      "of another namespace takes nothing from one within its share",
      ["10.96.0.1:80 3", "10.96.0.1:81 3", "10.96.0.9:80 refused", "10.96.0.9:81 refused"],
      [large, service({ ...large, namespace: "y", clusterIps: [address("10.96.0.9")] })],
      [
        ...slices,
        slice({
          ...{ namespace: "y", name: "large-1", service: "large", ports: numbered },
          endpoints: [...endpoints, endpoint("10.0.0.4")],
        }),
      ],
      { backends: 13 },
    ],
  ])("%s", (_, expected, services, own, few) => {
    expect(texts(services, own, few)).toEqual(expected);
    expect(texts(services.toReversed(), own.toReversed(), few)).toEqual(expected);
  });

  test("is as it was once it fits, and all that it claims with others", () => {
    const follow = openFrontends();
    const step = (capacities: FrontendCapacities, ...services: readonly Service[]) => {
      const { all, closed } = follow(cluster({ services, slices }), new Set(), capacities);
      return (
        [...all]
          .map(([key, { refused: is }]) => `${key}${is === true ? " refused" : ""}`)
          .sort()
          .join(", ") + (closed.words.length > 0 ? " closed" : "")
      );
    };
    const enough = { services: 9, backends: 9 };
    const exceeding = reduced(large);
    expect([
      step(enough, large, claiming),
      step(enough, exceeding, claiming),
      step(enough, large, claiming),
      step({ services: 9, backends: 5 }, large, claiming),
      step({ services: 1, backends: 9 }, large, claiming),
      step(enough, claiming),
    ]).toEqual([
      "10.96.0.1 TCP/80, 10.96.0.1 TCP/81",
      " closed",
      "10.96.0.1 TCP/80, 10.96.0.1 TCP/81",
      "10.96.0.1 TCP/80 refused, 10.96.0.1 TCP/81 refused",
      " closed",
      "10.96.0.1 TCP/80",
    ]);
  });
});

// Tenants write these objects, of a megabyte each: what takes the square of their size stops the agent.
describe("the work for twice as many", () => {
  let reads = 0;
  /** The value, with each reading of these fields counted. */
  const counted = <T extends object>(value: T): T =>
    new Proxy(value, {
      get(target, key, receiver) {
        reads += 1;
        return Reflect.get(target, key, receiver);
      },
    });
  const port = (index: number) =>
    counted({ name: `p${index}`, protocol: "TCP", port: 1 + index, target: 1 + index } as const);
  const indexes = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
  const withPorts = (count: number) => ({
    services: [service({ clusterIps: [counted(address("10.96.0.1"))], ports: indexes(count).map(port) })],
    slices: [slice({ ports: indexes(count).map(port) })],
  });

  test.each<[string, (count: number) => { services: Service[]; slices: EndpointSlice[] }]>([
    ["ports of a Service and its slice", withPorts],
    ["ports of a Service without slices", (count) => ({ ...withPorts(count), slices: [] })],
    [
      "ports and endpoints of a Service",
      (count) => {
        const { services, slices } = withPorts(count);
        const endpoints = indexes(count).map((index) =>
          endpoint("10.1.0.0", { address: counted(address(`10.1.${index >> 8}.${index & 255}`)) }),
        );
        return { services, slices: slices.map((each) => ({ ...each, endpoints })) };
      },
    ],
    [
      "Services that claim one frontend",
      (count) => ({
        services: indexes(count).map((index) =>
          service({ name: `s${index}`, clusterIps: [], externalIps: [counted(address("10.96.0.1"))] }),
        ),
        slices: indexes(count).map((index) =>
          slice({
            name: `s-${index}`,
            service: `s${index}`,
            endpoints: [
              endpoint("10.1.0.0", { address: counted(address(`10.1.${index >> 8}.${index & 255}`)) }),
            ],
          }),
        ),
      }),
    ],
  ])("%s take less than three times the work", (_, make) => {
    const readsFor = (count: number): number => {
      const made = cluster({ pods: PODS, ...make(count) });
      reads = 0;
      openFrontends()(made, new Set());
      return reads;
    };
    expect(readsFor(600)).toBeLessThan(3 * readsFor(300));
  });
});
