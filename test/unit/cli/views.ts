// The views of a healthy agent: two pods, two policies.
import { toWire } from "../../../src/model/cluster.ts";
import type { EndpointView, PolicyView, StatusView } from "../../../src/observe/api-views.ts";
import type { Views } from "../../../src/observe/socket-server.ts";
import { cluster, pod, pods, policy, ports, selector } from "../../support/model.ts";

const OPEN = { isolatedBy: [], policy: 0 };
const ENDPOINTS: EndpointView[] = [
  {
    namespace: "alpha",
    name: "nginx",
    labels: { run: "nginx" },
    addresses: ["10.63.48.10"],
    state: "enforced",
    id: 1,
    interface: "veth-a",
    ifindex: 7,
    ingress: { isolatedBy: ["alpha/access-nginx"], policy: 3 },
    egress: OPEN,
  },
  {
    namespace: "beta",
    name: "lost",
    labels: {},
    addresses: [],
    state: "no interface",
    ingress: OPEN,
    egress: OPEN,
  },
];

export const POLICIES: PolicyView[] = [
  {
    namespace: "alpha",
    name: "access-nginx",
    selector: "run=nginx",
    types: ["Ingress"],
    rules: { ingress: 1, egress: 0 },
    selects: ["alpha/nginx"],
    enforced: 1,
  },
  {
    namespace: "beta",
    name: "nobody",
    selector: "app=none",
    types: ["Egress"],
    rules: { ingress: 0, egress: 0 },
    selects: [],
    enforced: 0,
  },
];

const NGINX = pod("alpha/nginx", ["10.63.48.10"], { labels: { run: "nginx" } });
const FRIEND = pod("beta/friend", ["10.63.48.11"], { labels: { access: "true" } });
const CLUSTER = cluster({
  pods: [NGINX, FRIEND],
  policies: [
    policy("alpha/access-nginx", {
      subject: selector({ run: "nginx" }),
      ingress: [{ peers: [pods({ access: "true" }, selector({}))], ports: ports("TCP/80") }],
    }),
  ],
});

const STATUS: StatusView = {
  version: "9.9.9",
  pid: 4711,
  startedAt: "2025-06-01T12:00:00.000Z",
  generation: { wanted: 7, applied: 7 },
  appliedAt: "2025-06-01T12:04:30.000Z",
  endpoints: 1,
  policies: 2,
  problems: [],
  audited: 0,
  repairs: { attached: 0, pinned: 0 },
  capacity: [],
  hook: "tcx",
  fromPodHook: "tc",
  source: "/etc/weir",
};

const NAMES = {
  endpoints: {},
  addresses: {},
  services: {},
  identities: {},
  cidrs: {},
  policies: {},
  rows: {},
  classes: {},
};

/** `status` changes what the agent reports about itself. */
export const viewsWith = (status: Partial<StatusView> = {}): Views => ({
  status: () => ({ ...STATUS, ...status }),
  endpoints: () => ENDPOINTS,
  policies: () => POLICIES,
  names: () => NAMES,
  cluster: () => ({ generation: 7, cluster: toWire(CLUSTER) }),
});
