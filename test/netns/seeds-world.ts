// A cluster in which every rule of the nine seed policies has a peer that it allows and one that it does not.

import type { LabelMap, PodSpec } from "../../src/lab/lab-manifests.ts";
import type { EndpointSpec } from "../../src/lab/netns-lab.ts";

export const NAMESPACES: Readonly<Record<string, LabelMap>> = {
  // Without the label ns=a, so that each element of the rule in test-network-policy has a client of its own.
  alpha: {},
  beta: { ns: "b" },
  gamma: { ns: "a" },
  default: {},
  project: { project: "myproject" },
  d1: {},
  d2: {},
  d3: {},
  d4: {},
  d5: {},
  "new-ns": {},
  store: {},
  frontend: { app: "frontend" },
  "downstream-1": { app: "downstream-1" },
  "downstream-2": { app: "downstream-2" },
};

interface Ports {
  readonly tcp?: readonly number[];
  readonly udp?: readonly number[];
}

let lastNumber = 0;

function pod(name: string, labels: LabelMap, ports: Ports = {}): PodSpec {
  lastNumber += 1;
  return { name, labels, addresses: [`10.63.60.${lastNumber}`, `fd63:60::${lastNumber}`], ...ports };
}

const WEB: Ports = { tcp: [80, 81], udp: [80] };

export const PODS: readonly PodSpec[] = [
  pod("alpha/nginx-1", { run: "nginx" }, WEB),
  pod("alpha/nginx-2", { run: "nginx" }),
  pod("alpha/access", { run: "access" }, WEB),
  pod("alpha/other", { run: "other", app: "hammer" }, WEB),
  pod("beta/hammer", { app: "hammer" }, WEB),
  pod("beta/anvil", { app: "anvil" }, WEB),
  pod("gamma/visitor", {}),
  pod("default/db", { role: "db" }, { tcp: [6379, 6380], udp: [6379] }),
  pod("default/frontend", { role: "frontend" }),
  pod("default/hello", { app: "hello" }, WEB),
  pod("default/foo", { app: "foo" }),
  pod("default/bar", { app: "bar" }, WEB),
  pod("default/demo-db", { app: "demo-db" }, { tcp: [5432], udp: [5432] }),
  pod("default/demo", { app: "demo" }, WEB),
  pod("project/worker", { role: "worker" }),
  pod("d1/pod", {}, WEB),
  pod("d2/pod", {}, WEB),
  pod("d3/pod", {}, WEB),
  pod("d4/pod", {}, WEB),
  pod("d5/pod", {}, WEB),
  pod("new-ns/deny-egress-test", { app: "deny-egress-test" }, WEB),
  pod("new-ns/nginx-test", { app: "nginx-network-policy-test" }, WEB),
  pod("new-ns/client", { priv: "can-access" }),
  pod("store/api", { app: "store" }, { tcp: [8080, 8081], udp: [8080] }),
  // The right pod label in the wrong namespace.
  pod("store/frontend", { app: "frontend" }),
  pod("frontend/frontend", { app: "frontend" }),
  pod("frontend/other", { app: "other" }),
  pod("downstream-1/main", { app: "downstream-1" }, { tcp: [8080, 8081] }),
  pod("downstream-1/other", { app: "other" }, { tcp: [8080] }),
  pod("downstream-2/main", { app: "downstream-2" }, { tcp: [8080] }),
];

/** The outside world, in one namespace: it sends from whichever address a line names. */
export const WORLD: EndpointSpec = {
  name: "world",
  addresses: [
    ...["203.0.113.7", "fd63:113::7"],
    // Around 10.63.48.0/22 and its exception.
    ...["10.63.48.9", "10.63.48.4", "10.63.48.5", "10.63.51.255", "10.63.52.1", "fd63:48::9"],
    // Around 172.17.0.0/16 and its exception.
    ...["172.17.0.9", "172.17.1.0", "172.17.1.255", "172.17.2.0", "172.18.0.1"],
    // Around 10.0.0.0/24, and the ends of 10.0.0.0/8.
    ...["10.0.0.5", "10.0.1.5", "10.255.255.254", "11.0.0.1"],
  ],
  tcp: [53, 80, 81, 5978],
  udp: [53, 80],
};

/** File of test/fixtures/seeds to what must hold with all nine enforced. */
export const EXPECTED: Readonly<Record<string, string>> = {
  "01-test-network-policy-alpha.yaml": `
    world@10.63.48.9     -> alpha/nginx-1 tcp/80 : 4-
    world@10.63.48.5     -> alpha/nginx-1 tcp/80 : 4-
    world@10.63.51.255   -> alpha/nginx-1 tcp/80 : 4-
    world@10.63.48.4     -> alpha/nginx-1 tcp/80 udp/80 icmp : --
    world@10.63.52.1     -> alpha/nginx-1 tcp/80 : --
    world@fd63:48::9     -> alpha/nginx-1 tcp/80 icmp : --
    world@10.63.48.9     -> alpha/nginx-1 tcp/81 udp/80 icmp : --
    gamma/visitor        -> alpha/nginx-1 tcp/80 : 46
    gamma/visitor        -> alpha/nginx-1 tcp/81 udp/80 icmp : --
    beta/hammer          -> alpha/nginx-1 tcp/80 : 46
    beta/hammer          -> alpha/nginx-1 tcp/81 udp/80 icmp : --
    beta/anvil           -> alpha/nginx-1 tcp/80 icmp : --
    alpha/other          -> alpha/nginx-1 tcp/80 icmp : --
    alpha/nginx-2        -> alpha/nginx-1 tcp/80 : 4-         # nginx's own egress is IPv4 only
    alpha/nginx-2        -> alpha/nginx-1 tcp/81 udp/80 icmp : --
    alpha/nginx-2        -> beta/anvil tcp/80 : 4-
    alpha/nginx-2        -> beta/anvil tcp/81 udp/80 icmp : --
    alpha/nginx-2        -> world@10.255.255.254 tcp/80 : 4-
    alpha/nginx-2        -> world@11.0.0.1 tcp/80 icmp : --
    alpha/nginx-2        -> world@203.0.113.7 tcp/80 : --`,
  "02-alpha-deny.yaml": `
    alpha/access         -> alpha/other tcp/80 udp/80 icmp : --
    beta/hammer          -> alpha/other tcp/80 udp/80 icmp : --
    world                -> alpha/access tcp/80 udp/80 icmp : --
    alpha/other          -> world@203.0.113.7 tcp/80 udp/80 icmp : 4-
    alpha/other          -> beta/anvil tcp/80 udp/80 icmp : 46
    beta/anvil           -> beta/hammer tcp/80 udp/80 icmp : 46
    node                 -> alpha/other tcp/80 udp/80 icmp : 46`,
  "03-access-nginx.yaml": `
    alpha/access         -> alpha/nginx-1 tcp/80 tcp/81 udp/80 icmp : 46
    beta/anvil           -> alpha/nginx-1 tcp/81 udp/80 icmp : --`,
  "04-role-db.yaml": `
    world@172.17.0.9     -> default/db tcp/6379 : 4-
    world@172.17.2.0     -> default/db tcp/6379 : 4-
    world@172.17.1.0     -> default/db tcp/6379 : --
    world@172.17.1.255   -> default/db tcp/6379 icmp : --
    world@172.18.0.1     -> default/db tcp/6379 : --
    world@172.17.0.9     -> default/db tcp/6380 udp/6379 icmp : --
    project/worker       -> default/db tcp/6379 : 46
    project/worker       -> default/db tcp/6380 udp/6379 icmp : --
    default/frontend     -> default/db tcp/6379 : 46
    default/frontend     -> default/db tcp/6380 icmp : --
    default/bar          -> default/db tcp/6379 icmp : --
    default/db           -> world@10.0.0.5 tcp/5978 : 4-
    default/db           -> world@10.0.0.5 tcp/80 udp/53 icmp : --
    default/db           -> world@10.0.1.5 tcp/5978 : --
    default/db           -> default/bar tcp/80 icmp : --`,
  "05-defaults.yaml": `
    world                -> d1/pod tcp/80 udp/80 icmp : --
    d1/pod               -> d4/pod tcp/80 udp/80 icmp : 46
    world                -> d2/pod tcp/80 udp/80 icmp : 46
    d1/pod               -> d2/pod tcp/81 udp/80 icmp : 46
    world                -> d3/pod tcp/80 udp/80 icmp : 46     # replies pass although egress is denied
    d3/pod               -> d2/pod tcp/80 udp/80 icmp : --
    d3/pod               -> world@203.0.113.7 tcp/80 udp/80 icmp : --
    d4/pod               -> world tcp/80 udp/80 icmp : 46
    world                -> d4/pod tcp/80 udp/80 icmp : 46
    world                -> d5/pod tcp/80 udp/80 icmp : --
    d5/pod               -> d2/pod tcp/80 udp/80 icmp : --
    node                 -> d5/pod tcp/80 udp/80 icmp : 46`,
  "06-new-ns.yaml": `
    new-ns/deny-egress-test -> world@203.0.113.7 tcp/80 udp/53 icmp : --
    new-ns/deny-egress-test -> world@fd63:113::7 tcp/80 udp/53 icmp : --
    new-ns/deny-egress-test -> new-ns/nginx-test tcp/80 : --
    world                   -> new-ns/deny-egress-test tcp/80 udp/80 icmp : 46
    new-ns/client           -> new-ns/nginx-test tcp/80 tcp/81 udp/80 icmp : 46
    gamma/visitor           -> new-ns/nginx-test tcp/80 udp/80 icmp : --
    world                   -> new-ns/nginx-test tcp/80 icmp : --
    new-ns/client           -> world@203.0.113.7 tcp/80 udp/53 icmp : 4-`,
  "07-hello-web.yaml": `
    default/foo          -> default/hello tcp/80 tcp/81 udp/80 icmp : 46
    default/bar          -> default/hello tcp/80 udp/80 icmp : --
    default/foo          -> default/bar tcp/80 udp/80 icmp : --
    default/foo          -> world@203.0.113.7 tcp/53 udp/53 : 4-
    default/foo          -> world@fd63:113::7 tcp/53 udp/53 : -6
    default/foo          -> world@203.0.113.7 tcp/80 udp/80 icmp : --
    default/bar          -> world@203.0.113.7 tcp/80 icmp : 4-`,
  "08-demo-db.yaml": `
    default/demo         -> default/demo-db tcp/5432 udp/5432 icmp : 46
    default/bar          -> default/demo-db tcp/5432 udp/5432 icmp : --
    default/demo-db      -> default/demo tcp/80 udp/80 icmp : --
    default/demo-db      -> world@203.0.113.7 tcp/53 udp/53 icmp : --`,
  "09-store-api.yaml": `
    frontend/frontend    -> store/api tcp/8080 : 46
    frontend/frontend    -> store/api tcp/8081 udp/8080 icmp : --
    frontend/other       -> store/api tcp/8080 : --
    store/frontend       -> store/api tcp/8080 : --           # its own egress is isolated too
    gamma/visitor        -> store/api tcp/8080 icmp : --
    store/api            -> downstream-1/main tcp/8080 : 46
    store/api            -> downstream-1/main tcp/8081 icmp : --
    store/api            -> downstream-1/other tcp/8080 : --
    store/api            -> downstream-2/main tcp/8080 : 46
    store/api            -> world@203.0.113.7 tcp/80 udp/53 icmp : --`,
};
