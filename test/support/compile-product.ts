// Compiles, in a process of its own, objects of one namespace that are small alone and large as a product of each other, beside a
// namespace with one rule; then without that rule. Prints a line of JSON for each.
//
// node --max-old-space-size=192 test/support/compile-product.ts NAME

import { getHeapStatistics } from "node:v8";
import { addressOf, cidrOf } from "../../src/base/ip.ts";
import { type Cluster, EMPTY_CLUSTER, keyOf, type Pod } from "../../src/model/cluster.ts";
import type { Peer, Policy, PortMatch, Rule } from "../../src/model/network-policy.ts";
import { EVERYTHING, type Requirement, type Selector } from "../../src/model/selector.ts";
import { type LocalEndpoint, openCompiler } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import { capacitiesFor } from "../../src/policy/limits/capacity-fit.ts";
import { placeOf } from "../../src/policy/port-classes.ts";
import { planOf } from "../../src/state/state-lookup.ts";

const OTHERS = 5_000;
const SHOP = { ifindex: 10, pod: podOf("shop/server", 1, { app: "server" }) };
const FRIEND = podOf("shop/friend", 2, { app: "friend" });

interface World {
  readonly pods: readonly Pod[];
  readonly locals: readonly LocalEndpoint[];
  readonly policies: readonly Policy[];
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

function podOf(
  key: string,
  number: number,
  labels: Readonly<Record<string, string>>,
  ports: Pod["ports"] = [],
): Pod {
  const [namespace = "", name = ""] = key.split("/");
  return {
    ...{ namespace, name, labels: new Map(Object.entries(labels)), ports },
    ...{ ips: [addressOf(4, 0x0a000000n + BigInt(number))], hostNetwork: false, finished: false },
  };
}

const select = (...requirements: Requirement[]): Selector => ({ requirements });
const is = (key: string, value: string): Requirement => ({ operator: "In", key, values: [value] });
const isNot = (key: string, value: string): Requirement => ({ operator: "NotIn", key, values: [value] });
const pods = (selector: Selector, namespaces: Selector = EVERYTHING): Peer => ({
  kind: "pods",
  namespaces,
  pods: selector,
});
const block = (first: number, length: number, except?: readonly [number, number]): Peer => ({
  kind: "block",
  cidr: cidrOf(4, BigInt(first), length),
  except: except === undefined ? [] : [cidrOf(4, BigInt(except[0]), except[1])],
});
const tcp = (first: number, last = first): PortMatch => ({ kind: "range", protocol: "TCP", first, last });
const named = (name: string): PortMatch => ({ kind: "name", protocol: "TCP", name });

const policyOf = (key: string, rules: Partial<Policy["rules"]>, subject: Selector = EVERYTHING): Policy => {
  const [namespace = "", name = ""] = key.split("/");
  return {
    ...{ namespace, name, subject, isolates: { ingress: true, egress: true } },
    rules: { ingress: [], egress: [], ...rules },
  };
};

/** Pods of other nodes, each with labels of its own. */
const crowd = (ports: (index: number) => Pod["ports"] = () => []): Pod[] =>
  numbers(OTHERS).map((index) =>
    podOf(`crowd/p${index}`, 1_000 + index, { app: `a${index % 50}`, n: `n${index}` }, ports(index)),
  );

const greedy = (policies: readonly Policy[], others: readonly Pod[] = crowd()): World => {
  const own = podOf("greedy/pod", 3, { app: "greedy" });
  return { pods: [own, ...others], locals: [{ ifindex: 11, pod: own }], policies };
};

/** A hundred pods of this node, each with a policy of its own beside those of all. */
function sides(policies: readonly Policy[]): World {
  const locals = numbers(100).map((index) => ({
    ifindex: 100 + index,
    pod: podOf(`greedy/l${index}`, 20_000 + index, { x: `${index}` }),
  }));
  const own = numbers(100).map((index) => policyOf(`greedy/own${index}`, {}, select(is("x", `${index}`))));
  return { pods: locals.map(({ pod }) => pod), locals, policies: [...own, ...policies] };
}

const ofPeers = (count: number, peer: (index: number) => Peer): Policy =>
  policyOf("greedy/policy", { ingress: [{ peers: numbers(count).map(peer), ports: "all" }] });

const SHAPES: Readonly<Record<string, () => World>> = {
  "rules that nearly all pods match": () =>
    greedy([
      policyOf("greedy/policy", {
        ingress: numbers(1_000).map((index) => ({
          peers: [pods(select(isNot("n", `n${index}`)))],
          ports: [tcp(1 + index, 60_000 - index)],
        })),
      }),
    ]),
  "selectors that no pod matches, and each has to be compared with": () =>
    greedy(
      [
        ofPeers(20_000, (index) =>
          pods(select({ operator: "Exists", key: "app" }, isNot("n", `n${index}`), is("kind", "none"))),
        ),
        ofPeers(20_000, (index) =>
          pods(
            select(
              { operator: "Exists", key: "app" },
              { operator: "DoesNotExist", key: "app" },
              isNot("n", `n${index}`),
            ),
          ),
        ),
      ].map((each, index) => ({ ...each, name: `policy${index}` })),
    ),
  "selectors of namespaces": () =>
    greedy([
      ofPeers(20_000, (index) =>
        pods(EVERYTHING, select(isNot("team", `t${index}`), isNot("kubernetes.io/metadata.name", "crowd"))),
      ),
    ]),
  "policies, for each of many pods": () =>
    sides(
      numbers(3_000).map((index) =>
        policyOf(`greedy/all${index}`, {
          ingress: [{ peers: [block(0x0b000000 + index * 256, 24)], ports: "all" }],
        }),
      ),
    ),
  "rules, for each of many pods": () =>
    sides(
      numbers(5).map((policy) =>
        policyOf(`greedy/all${policy}`, {
          ingress: numbers(7_000).map(
            (index): Rule => ({
              peers: "anyone",
              ports: [tcp(1 + policy * 7_000 + index)],
            }),
          ),
        }),
      ),
    ),
  "port names of many rules, on many pods": () => {
    const ports = (pod: number): Pod["ports"] =>
      numbers(200).map((port) => ({
        ...{ name: `q${(pod * 200 + port) % 2_000}`, protocol: "TCP" },
        port: 1 + ((pod * 331 + port * 7) % 65_000),
      }));
    const own = numbers(20).map((pod) => podOf(`greedy/l${pod}`, 20_000 + pod, {}, ports(pod)));
    return {
      pods: [
        ...own,
        ...numbers(200).map((pod) => podOf(`greedy/p${pod}`, 30_000 + pod, {}, ports(20 + pod))),
      ],
      locals: own.map((pod, index) => ({ ifindex: 100 + index, pod })),
      policies: numbers(20).map((policy) =>
        policyOf(`greedy/policy${policy}`, {
          egress: numbers(100).map((rule) => ({
            peers: [pods(EVERYTHING)],
            ports: numbers(50).map((port) => named(`q${(policy * 5_000 + rule * 50 + port) % 2_000}`)),
          })),
        }),
      ),
    };
  },
  "prefixes with ranges of ports in one another": () =>
    greedy(
      numbers(40).map((policy) =>
        policyOf(`greedy/policy${policy}`, {
          ingress: numbers(1_000).map((rule) => ({
            peers: [block(0x0c000000 + policy * 1_000 + rule, 32)],
            ports: [tcp(1 + rule, 65_000 - rule)],
          })),
        }),
      ),
    ),
  "prefixes in one another": () =>
    greedy([
      ...numbers(1_000).map((index) =>
        policyOf(`greedy/wide${index}`, {
          ingress: [
            {
              peers: [block(0x0c000000, 8, [0x0c000000 + index * 4_096, 24])],
              ports: [tcp(1 + index)],
            },
          ],
        }),
      ),
      ...numbers(10).map((policy) =>
        policyOf(`greedy/narrow${policy}`, {
          ingress: [
            {
              peers: numbers(3_000).map((index) => block(0x0c800000 + index * 10 + policy, 32)),
              ports: "all",
            },
          ],
        }),
      ),
    ]),
  "prefixes with pods in them": () =>
    greedy([
      policyOf("greedy/policy", {
        ingress: [
          ...numbers(1_000).map((index) => ({
            peers: [block(0x0a000000, 14, [0x0a010000 + index * 16, 28])],
            ports: [tcp(1 + index)],
          })),
          ...numbers(OTHERS).map((index) => ({
            peers: [pods(select(is("n", `n${index}`)))],
            ports: [tcp(7)],
          })),
        ],
      }),
    ]),
};

const shape = process.argv[2] ?? "";
const make = SHAPES[shape];
if (make === undefined)
  throw new Error(`unknown: ${shape}; expected one of ${Object.keys(SHAPES).join(" | ")}`);
const made = make();
const byKey = <T extends { readonly namespace: string; readonly name: string }>(all: readonly T[]) =>
  new Map(all.map((each) => [keyOf(each), each]));
const allowFriend = policyOf("shop/policy", {
  ingress: [{ peers: [pods(select(is("app", "friend")))], ports: [tcp(80)] }],
});
const locals = [SHOP, ...made.locals];
const cluster: Cluster = {
  ...EMPTY_CLUSTER,
  pods: byKey([SHOP.pod, FRIEND, ...made.pods]),
  policies: byKey([allowFriend, ...made.policies]),
};
const capacities = capacitiesFor(getHeapStatistics().heap_size_limit);
const compiler = openCompiler();
let previous = NOTHING_NUMBERED;
for (const next of [
  cluster,
  { ...cluster, policies: byKey([...cluster.policies.values(), policyOf("shop/policy", {})]) },
]) {
  const { numbering, state, excesses } = compiler.compile({ cluster: next, locals, previous, capacities });
  previous = numbering;
  const remote = FRIEND.ips[0] as Pod["ips"][number];
  const place = placeOf("TCP", 80);
  process.stdout.write(
    `${JSON.stringify({
      friend: planOf(state).judge({ ifindex: SHOP.ifindex, direction: "ingress", remote, place }),
      limited: [...new Set(excesses.map(({ namespace, limit }) => `${namespace}: ${limit}`))].sort(),
    })}\n`,
  );
}
