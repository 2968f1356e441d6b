// Random small clusters with Services: few frontends, whose backends are pods, other addresses, or both.

import fc from "fast-check";
import { type Address, addressOf } from "../../src/base/ip.ts";
import { type Cluster, keyOf, type Pod, type Protocol } from "../../src/model/cluster.ts";
import { FRONTEND_CAPACITIES, type FrontendCapacities } from "../../src/model/frontend-shares.ts";
import { type Frontend, openFrontends } from "../../src/model/frontends.ts";
import type { Policy, Rule } from "../../src/model/network-policy.ts";
import { EVERYTHING } from "../../src/model/selector.ts";
import type { EndpointSlice, Service, ServicePort, SliceEndpoint } from "../../src/model/service.ts";
import { type ServiceProbe, type ServiceVerdict, serviceVerdict } from "../../src/policy/service-oracle.ts";
import { MEMORY } from "../../src/source/apiserver/object-memory.ts";
import { cidr, pods, policy, ports } from "./model.ts";
import { cluster, namesBetween, v4, v6 } from "./worlds.ts";

const PROTOCOLS: readonly Protocol[] = ["TCP", "UDP", "SCTP"];
const PORTS = [1, 80, 443, 8080];

const vipV4 = (number: number): Address => addressOf(4, 0x0a600000n + BigInt(number));
const vipV6 = (number: number): Address => addressOf(6, (0xfd96n << 112n) + BigInt(number));

const rarely = fc.integer({ min: 0, max: 11 }).map((number) => number === 0 && true);

const port: fc.Arbitrary<ServicePort> = fc.record({
  name: fc.constantFrom("", "a"),
  protocol: fc.constantFrom(...PROTOCOLS),
  port: fc.constantFrom(...PORTS),
  target: fc.constantFrom<(number | string)[]>(80, 8080, "web", "dns"),
});

const service: fc.Arbitrary<Service> = fc
  .record({
    namespace: fc.constantFrom("x", "y", "z"),
    name: fc.constantFrom("s", "t"),
    vip: fc.nat({ max: 2 }),
    /** Sometimes a pod's own address. */
    external: fc.option(fc.nat({ max: 15 }), { freq: 4 }),
    balanced: fc.option(fc.nat({ max: 15 }), { freq: 2 }),
    ports: fc.uniqueArray(port, {
      minLength: 1,
      maxLength: 2,
      selector: ({ protocol, port: number }) => `${protocol}/${number}`,
    }),
    selector: fc.constantFrom(undefined, new Map([["app", "a"]]), new Map([["tier", "b"]])),
    onlyLocal: fc.boolean(),
    exceeds: rarely,
  })
  .map(({ vip, external, balanced, exceeds, ...rest }) => {
    const whole: Service = {
      ...rest,
      clusterIps: [vipV4(vip), vipV6(vip)],
      externalIps: external === null ? [] : [v4(external), v6(external)],
      loadBalancerIps: balanced === null ? [] : [v4(balanced)],
    };
    return exceeds ? MEMORY.Service.reduced(whole) : whole;
  });

const yes = fc.integer({ min: 0, max: 4 }).map((number) => number > 0);

/** The owner of its address is a number until the pods are known. */
const endpoint = fc.record({
  whose: fc.nat({ max: 15 }),
  isPod: yes,
  ready: yes,
  serving: fc.boolean(),
  terminating: fc.boolean(),
});

const slice = fc.record({
  /** Which of the Services; its ports get these numbers, except those that are 0. */
  of: fc.nat({ max: 3 }),
  numbers: fc.tuple(fc.constantFrom(0, ...PORTS), fc.constantFrom(...PORTS)),
  family: fc.constantFrom(4 as const, 6 as const),
  number: fc.nat({ max: 2 }),
  endpoints: fc.array(endpoint, { maxLength: 4 }),
  exceeds: rarely,
});

type PlannedSlice = typeof slice extends fc.Arbitrary<infer T> ? T : never;

function sliceIn(
  world: Cluster,
  services: readonly Service[],
  { of, numbers, number, endpoints, family, exceeds }: PlannedSlice,
): EndpointSlice {
  const own = [...world.pods.values()].flatMap(({ ips }) => ips.filter((each) => each.family === family));
  const other = family === 4 ? v4 : v6;
  const { namespace, name, ports: named } = services[of % services.length] as Service;
  if (exceeds)
    return { namespace, name: `${name}-${number}`, service: name, family, ports: [], endpoints: [], exceeds };
  return {
    namespace,
    name: `${name}-${number}`,
    service: name,
    family,
    ports: named.flatMap(({ name: port, protocol }, index) => {
      const target = numbers[index % 2] ?? 0;
      return target === 0 ? [] : [{ name: port, protocol, port: target }];
    }),
    endpoints: endpoints.map(({ whose, isPod, ...conditions }): SliceEndpoint => {
      const address = isPod ? own[whose % own.length] : undefined;
      return { ...conditions, address: address ?? other(whose) };
    }),
  };
}

/** Distinguishes the pods of a world by a label, whatever else policies select: backends of one Service differ by it. */
const divider: fc.Arbitrary<Policy> = fc
  .record({
    namespace: fc.constantFrom("x", "y", "z"),
    value: fc.constantFrom("a", "b"),
    ports: fc.constantFrom<Rule["ports"][]>("all", ports("TCP/80", "UDP/80", "SCTP/80"), ports("TCP/1-8080")),
  })
  .map(({ namespace, value, ports: allowed }) => ({
    ...policy(`${namespace}/divider`, { isolates: { ingress: false, egress: true } }),
    rules: { ingress: [], egress: [{ peers: [pods({ app: value }, EVERYTHING)], ports: allowed }] },
  }));

const byKey = <T extends { readonly namespace: string; readonly name: string }>(list: readonly T[]) =>
  new Map(list.map((each) => [keyOf(each), each]));

export const clusterWithServices: fc.Arbitrary<Cluster> = fc
  .record({
    world: cluster,
    services: fc.array(service, { minLength: 1, maxLength: 4 }),
    slices: fc.array(slice, { maxLength: 6 }),
    dividers: fc.uniqueArray(divider, { maxLength: 2, selector: keyOf }),
    /** Sometimes a pod that may send from the addresses of others. */
    router: fc.option(fc.nat({ max: 5 }), { freq: 4 }),
  })
  .map(({ world, services, slices, dividers, router }) => ({
    ...world,
    pods: new Map(
      [...world.pods].map(([key, each], index) => [
        key,
        { ...each, sources: index === router ? [cidr("10.0.0.0/28"), cidr("fd00::/124")] : [] },
      ]),
    ),
    policies: new Map([...world.policies, ...byKey(dividers)]),
    services: byKey(services),
    slices: byKey(slices.map((each) => sliceIn(world, services, each))),
  }));

export interface ServiceQuestion extends ServiceProbe, ServiceVerdict {
  readonly pod: Pod;
  readonly ifindex: number;
  readonly names: readonly string[];
  readonly text: string;
}

/** All that Services of these worlds can have. */
const ADDRESSES: readonly Address[] = [
  ...[0, 1, 2].flatMap((vip) => [vipV4(vip), vipV6(vip)]),
  ...Array.from({ length: 16 }, (_, at) => [v4(at), v6(at)]).flat(),
];

/** Small enough that the random worlds exceed them; or large enough. */
export const frontendCapacities: fc.Arbitrary<FrontendCapacities> = fc.record({
  services: fc.oneof(fc.constant(FRONTEND_CAPACITIES.services), fc.nat({ max: 4 })),
  backends: fc.oneof(fc.constant(FRONTEND_CAPACITIES.backends), fc.nat({ max: 8 })),
});

/** All frontends; of a Service whose ports are not known two of any. */
function frontendsIn(world: Cluster, capacities?: FrontendCapacities): readonly Frontend[] {
  const { all, closed } = openFrontends()(world, new Set(), capacities);
  const refused = { keepsSource: false, judgedAsItself: false, backends: [], refused: true } as const;
  const unknown = ADDRESSES.filter(closed.has).flatMap((each) =>
    [80, 4_444].map(
      (number): Frontend => ({
        ...{ service: closed.serviceAt(each) ?? "none", address: each },
        ...{ ...refused, protocol: "TCP", port: number },
      }),
    ),
  );
  return [...all.values(), ...unknown];
}

/** Every frontend requested by every endpoint, with the oracle's answer. */
export function serviceQuestions(
  world: Cluster,
  locals: readonly { readonly pod: Pod; readonly ifindex: number }[],
  capacities?: FrontendCapacities,
): ServiceQuestion[] {
  const keys = new Set(locals.map(({ pod }) => keyOf(pod)));
  return locals.flatMap(({ pod, ifindex }) =>
    frontendsIn(world, capacities).flatMap((frontend): ServiceQuestion[] => {
      const address = pod.ips.find(({ family }) => family === frontend.address.family);
      if (address === undefined) return [];
      const from = { kind: "pod", pod, address } as const;
      const names = namesBetween(address, frontend.address);
      const verdict = serviceVerdict(world, { from, frontend, names }, (other) => keys.has(keyOf(other)));
      const backends = verdict.backends.map(
        (each) =>
          `${each.backend.address.text}:${each.backend.port} ${each.verdict.kind}${each.guarded ? " guarded" : ""}`,
      );
      const to = `${frontend.protocol} ${frontend.address.text}:${frontend.port}`;
      const text = `${keyOf(pod)} to ${to} as ${names.join(", ") || "no name"} (${frontend.refused === true ? "refused" : backends.join(", ") || "no backends"}${verdict.itself === undefined ? "" : `, itself ${verdict.itself.kind}`})`;
      return [{ from, frontend, names, pod, ifindex, ...verdict, text }];
    }),
  );
}
