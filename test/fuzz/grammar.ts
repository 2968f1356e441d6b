// Texts of each grammar that Weir reads from others, and random faults in them.

import { Buffer } from "node:buffer";
import { pick, type Random } from "../../bench/common/random.ts";

export type Json = null | boolean | number | string | Json[] | JsonObject;
interface JsonObject {
  [key: string]: Json;
}

const LABELS: Json = {
  matchLabels: { role: "web" },
  matchExpressions: [{ key: "tier", operator: "In", values: ["a"] }],
};
export const OBJECTS: readonly JsonObject[] = [
  {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: "p", namespace: "n" },
    spec: {
      podSelector: LABELS,
      policyTypes: ["Ingress", "Egress"],
      ingress: [
        {
          from: [{ podSelector: LABELS, namespaceSelector: {} }],
          ports: [{ protocol: "TCP", port: 80, endPort: 90 }],
        },
      ],
      egress: [
        { to: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16"] } }], ports: [{ port: "web" }] },
      ],
    },
  },
  {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: "a",
      namespace: "n",
      uid: "u",
      labels: { role: "web" },
      annotations: { "weir.dev/interface": "v0" },
    },
    spec: {
      nodeName: "x",
      containers: [{ name: "c", ports: [{ name: "web", containerPort: 80, protocol: "TCP" }] }],
    },
    status: { phase: "Running", podIP: "10.0.0.1", podIPs: [{ ip: "10.0.0.1" }, { ip: "fd00::1" }] },
  },
  { apiVersion: "v1", kind: "Namespace", metadata: { name: "n", labels: { team: "t" } } },
  {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "s", namespace: "n" },
    spec: {
      clusterIP: "10.9.0.1",
      clusterIPs: ["10.9.0.1"],
      selector: { role: "web" },
      ports: [{ port: 80, targetPort: "web" }],
    },
  },
];

export const NETWORK = {
  cniVersion: "1.0.0",
  name: "net",
  type: "weir-cni",
  socket: "/nonexistent/cni.sock",
  prevResult: {
    cniVersion: "1.0.0",
    interfaces: [
      { name: "v0", mac: "02:00:00:00:00:01" },
      { name: "eth0", mac: "02:00:00:00:00:02", sandbox: "/proc/self/ns/net" },
    ],
    ips: [{ address: "10.0.0.1/24", interface: 1, gateway: "10.0.0.254" }],
  },
} satisfies Json;

/** What weir-cni sends to the agent. No interface has these indexes. */
export const REQUEST: Json = {
  command: "ADD",
  containerId: "c",
  netns: "/proc/self/ns/net",
  ifname: "eth0",
  args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=n;K8S_POD_NAME=a;K8S_POD_UID=u",
  timeoutMs: 300,
  link: { ifindex: 999_983, peer: 999_979 },
  config: { ...NETWORK, "cni.dev/valid-attachments": [{ containerID: "c", ifname: "eth0" }] },
};

const ODD: readonly ((random: Random) => Json)[] = [
  () => null,
  () => true,
  () => "",
  () => [],
  () => ({}),
  () => -1,
  () => 1e308,
  () => 0.5,
  () => "\0\u202e\ud800",
  () => "10.0.0.0/33",
  () => "::/0",
  () => "__proto__",
  (random) => "x".repeat(1 << random.below(16)),
  (random) => Array.from({ length: random.below(2_000) }, () => 1),
  (random) => {
    let nested: Json = 0;
    for (let depth = random.below(500); depth > 0; depth -= 1)
      nested = depth % 2 === 0 ? [nested] : { a: nested };
    return nested;
  },
];

/** A copy with a fault at a random place. */
function faulty(random: Random, value: Json): Json {
  if (typeof value !== "object" || value === null || random.below(5) === 0) return pick(random, ODD)(random);
  if (Array.isArray(value)) {
    const copy = [...value];
    const at = random.below(copy.length + 1);
    if (random.below(3) === 0) copy.splice(at, random.below(2), pick(random, ODD)(random));
    else if (at < copy.length) copy[at] = faulty(random, copy[at] ?? null);
    return copy;
  }
  const keys = Object.keys(value);
  const key = keys.length === 0 ? "key" : pick(random, keys);
  const { [key]: old = null, ...rest } = value;
  switch (random.below(5)) {
    case 0:
      return rest;
    case 1:
      return { ...rest, [`${key}s`]: old };
    default:
      return { ...rest, [key]: faulty(random, old) };
  }
}

/** Bytes changed, left out or repeated. */
export function torn(random: Random, text: string): Buffer {
  const bytes = Buffer.from(text);
  for (let count = random.below(4); count > 0 && bytes.length > 0; count -= 1)
    bytes[random.below(bytes.length)] = random.below(256);
  return random.below(3) === 0 ? bytes.subarray(0, random.below(bytes.length + 1)) : bytes;
}

export const withFaults = (random: Random, value: Json): Json => {
  let made = value;
  for (let count = 1 + random.below(3); count > 0; count -= 1) made = faulty(random, made);
  return made;
};

const METHODS = ["GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PRI", "G\0T"];

/** What is asked of the agent's two sockets: a path, and a body where it takes one. None of them changes anything if it is well-formed. */
const ASKED: readonly { readonly path: string; readonly body?: Json }[] = [
  { path: "/v1/status" },
  { path: "/v1/endpoints" },
  { path: "/v1/policies" },
  { path: "/v1/names" },
  { path: "/v1/state" },
  { path: "/v1/log" },
  { path: "/v1/log-level?level=loudest" },
  { path: "/v1/events?last=10" },
  { path: "/v1/events/left-out" },
  { path: "/v1/events/follow?last=10&flows=true" },
  { path: "/v1/history?since=0&until=1" },
  { path: "/v1/history/top?since=0&by=bytes" },
  { path: "/v1/bypasses" },
  { path: "/v1/bypass", body: { target: "n/a", seconds: 60, reason: "r" } },
  { path: "/v1/bypass-end?target=n/a" },
  { path: "/v1/judge", body: { packets: [{ ifindex: -1, direction: "sideways", frame: "AAAA" }] } },
  { path: "/v1/cni/add", body: REQUEST },
  { path: "/v1/cni/check", body: REQUEST },
  { path: "/v1/cni/del", body: REQUEST },
  { path: "/v1/cni/gc", body: REQUEST },
  { path: "/v1/cni/status" },
  { path: "/v2/status" },
  { path: "*" },
  { path: "" },
];

const HEADERS: readonly ((random: Random, length: number) => string)[] = [
  (_, length) => `content-length: ${length}`,
  (_, length) => `content-length: ${length}`,
  (random, length) => `content-length: ${pick(random, [-1, 0, length + 7, 1 << 30, 1e21, "x"])}`,
  () => "transfer-encoding: chunked",
  () => "expect: 100-continue",
  () => "connection: upgrade\r\nupgrade: websocket",
  (random) => `x-${"y".repeat(1 << random.below(15))}: ${"z".repeat(1 << random.below(15))}`,
  (random) => Array.from({ length: random.below(300) }, (_, index) => `a${index}: b`).join("\r\n"),
];

/** A request of HTTP with faults, as it may come to one of the agent's sockets. */
export function hostileRequest(random: Random): Buffer {
  const { path, body } = pick(random, ASKED);
  const faulty = body === undefined ? pick(random, ODD)(random) : withFaults(random, body);
  const text = random.below(3) === 0 && body === undefined ? "" : JSON.stringify(faulty);
  const headers = Array.from({ length: random.below(4) }, () =>
    pick(random, HEADERS)(random, Buffer.byteLength(text)),
  );
  const query = random.below(8) === 0 ? `${path.includes("?") ? "&" : "?"}last=-1&last=2&%zz=1` : "";
  const method = pick(random, METHODS);
  const version = pick(random, ["1.1", "1.1", "1.1", "1.0", "2.0", "0.9", "x"]);
  const head = [`${method} ${path}${query} HTTP/${version}`, "host: weir", ...headers, "", ""].join("\r\n");
  return torn(random, `${head}${text}`);
}

/** A line of a watch with faults, for the kind of object that it is of: no other is affected by it. */
export function hostileEvent(random: Random): { readonly kind: string; readonly line: Buffer } {
  const object = withVersion(random, pick(random, OBJECTS));
  const event = { type: pick(random, ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]), object };
  const text = JSON.stringify(random.below(3) === 0 ? event : withFaults(random, event));
  const end = Buffer.from(random.below(10) === 0 ? "" : "\n");
  return { kind: String(object["kind"]), line: Buffer.concat([torn(random, text), end]) };
}

function withVersion(random: Random, object: JsonObject): JsonObject {
  const resourceVersion = pick<Json>(random, ["7", "999999999", "", "0", "x", 7]);
  return { ...object, metadata: { ...(object["metadata"] as JsonObject), resourceVersion } };
}
