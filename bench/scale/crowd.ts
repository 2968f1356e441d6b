// A cluster of a given size, and what goes on in it: rollouts, node drains, scaling, changed labels and policies.

import { present } from "../../src/base/assert.ts";
import { addressOf } from "../../src/base/ip.ts";
import type { Kind } from "../../src/source/apiserver/resource-kinds.ts";
import { type Random, randomFrom } from "../common/random.ts";
import {
  type LabelMap,
  type NodeState,
  namespaceOf,
  nextUid,
  nodeOf,
  type PodState,
  podOf,
  policyOf,
  type ServiceState,
  type Stored,
  serviceOf,
  sliceOf,
  type Workload,
} from "./cluster-objects.ts";

export interface CrowdSize {
  readonly pods: number;
  readonly policies: number;
  /** Pods of the node that is measured. */
  readonly locals: number;
  readonly seed: number;
}

/** Where objects go: the API server, which gives each change its version. */
export interface Sink {
  put(kind: Kind, make: (version: number) => Stored): void;
  remove(kind: Kind, key: string): void;
}

/** The node that is measured. */
export const NODE = "node-0";
const PODS_PER_NODE = 30;
const PODS_PER_NODE_MAX = 200;

/** Replicas of the workloads of a namespace: 200 pods together. */
const REPLICAS = [49, 30, 20, 15, 15, 10, 10, 8, 8, 5, 5, 5, 5, 3, 3, 3, 2, 2, 1, 1] as const;
const PODS_PER_NAMESPACE = REPLICAS.reduce((sum, each) => sum + each, 0);
const TEAMS = 8;
const COMPONENTS = ["frontend", "api", "worker", "cache", "database"] as const;
const ENVIRONMENTS = ["production", "staging", "test"] as const;

/** The first pod addresses of nodes; each node but the measured one has 256. */
const POD_ADDRESSES = 0x0a00_0000;
const LOCAL_BLOCKS = 4;
const NODE_ADDRESSES = 0xac10_0001;
const SERVICE_ADDRESSES = 0xac40_0001;
/** Of the pods that come while their time until enforcement is measured. */
const PROBE_ADDRESSES = 0x0aff_0001;
/** Beyond those of the measured node's other pods. */
export const PROBED_ADDRESS = v4(POD_ADDRESSES, LOCAL_BLOCKS * 256 - 2);
export const PROBED_PORT = 8080;
const PROBE = "weir-probe";
const PROBE_NODE = "node-probe";

function v4(first: number, offset: number): string {
  return addressOf(4, BigInt(first + offset)).text;
}

/** The address of the probe's client with this number. */
export const clientAddress = (number: number): string => v4(PROBE_ADDRESSES, number);

interface Member {
  pod: PodState;
  readonly local: boolean;
}

interface Team {
  workload: Workload;
  readonly members: Member[];
  readonly service: ServiceState;
  /** Of the ReplicaSets so far. */
  revision: number;
}

interface Space {
  readonly name: string;
  labels: LabelMap;
  readonly teams: Team[];
  readonly policies: string[];
}

interface Host {
  readonly state: NodeState;
  readonly free: number[];
  readonly first: number;
  pods: number;
}

export interface Crowd {
  /** Addresses of the measured node's pods. */
  readonly locals: readonly string[];
  /** A client of the probed pod comes, or goes. */
  putClient(number: number): void;
  removeClient(number: number): void;
  /** Makes what happens in a cluster, until so many pods have been changed. */
  churn(podEvents: number): void;
  /** Nodes report their state once in five minutes each. */
  heartbeats(count: number): void;
}

export function openCrowd({ pods, policies, locals, seed }: CrowdSize, sink: Sink): Crowd {
  const random = randomFrom(seed);
  const hosts = makeHosts(pods, sink);
  const spaces = makeSpaces({ pods, policies, locals }, { hosts, sink, random });
  makeProbe(sink);
  const members = spaces.flatMap(({ teams }) => teams.flatMap(({ members: of }) => of));
  const own = members.filter(({ local }) => local).map(({ pod }) => present(pod.address, "an address"));
  const life = happenings({ spaces, hosts, sink, random });
  let beat = 0;
  return {
    locals: [...own, PROBED_ADDRESS],
    putClient: (number) =>
      sink.put("Pod", (version) =>
        podOf(
          {
            name: `client-${number}`,
            workload: PROBE_CLIENTS,
            node: PROBE_NODE,
            address: clientAddress(number),
            ready: true,
            uid: nextUid(),
          },
          version,
        ),
      ),
    removeClient: (number) => sink.remove("Pod", `${PROBE}/client-${number}`),
    churn(podEvents) {
      for (let done = 0; done < podEvents; ) done += life.next().value;
    },
    heartbeats(count) {
      for (let index = 0; index < count; index += 1) {
        const host = present(hosts[beat % hosts.length], "a node");
        beat += 1;
        sink.put("Node", (version) => nodeOf(host.state, version));
      }
    },
  };
}

function makeHosts(pods: number, sink: Sink): Host[] {
  const count = Math.max(3, Math.ceil(pods / PODS_PER_NODE));
  return Array.from({ length: count }, (_, index) => {
    const isMeasured = index === 0;
    const blocks = isMeasured ? LOCAL_BLOCKS : 1;
    const first = isMeasured ? POD_ADDRESSES : POD_ADDRESSES + (LOCAL_BLOCKS + index - 1) * 256;
    const state: NodeState = {
      name: `node-${index}`,
      address: v4(NODE_ADDRESSES, index),
      podCidr: `${v4(first, 0)}/${isMeasured ? 22 : 24}`,
      uid: nextUid(),
    };
    sink.put("Node", (version) => nodeOf(state, version));
    const free = Array.from({ length: blocks * 256 - 6 }, (__, offset) => offset + 2).reverse();
    return { state, free, first, pods: 0 };
  });
}

interface Making {
  readonly hosts: readonly Host[];
  readonly sink: Sink;
  readonly random: Random;
}

function makeSpaces(size: Omit<CrowdSize, "seed">, { hosts, sink, random }: Making): Space[] {
  const count = Math.ceil(size.pods / PODS_PER_NAMESPACE);
  const every = size.pods / Math.max(1, size.locals);
  let made = 0;
  let local = 0;
  let services = 0;
  const spaces: Space[] = [];
  for (let index = 0; index < count; index += 1) {
    const name = `space-${index}`;
    const labels = {
      team: `team-${index % TEAMS}`,
      environment: present(ENVIRONMENTS[index % ENVIRONMENTS.length], "an environment"),
    };
    sink.put("Namespace", (version) => namespaceOf(name, labels, version));
    const space: Space = { name, labels, teams: [], policies: [] };
    for (const [number, replicas] of REPLICAS.entries()) {
      const workload = workloadOf(name, number, random);
      services += 1;
      const service: ServiceState = {
        namespace: name,
        name: workload.app,
        address: v4(SERVICE_ADDRESSES, services),
        uid: nextUid(),
      };
      const team: Team = { workload, members: [], service, revision: 0 };
      for (let replica = 0; replica < replicas && made < size.pods; replica += 1) {
        const isLocal = local < size.locals && made >= local * every;
        const host = isLocal ? present(hosts[0], "the measured node") : otherHost(hosts, random);
        local += isLocal ? 1 : 0;
        made += 1;
        const pod = { ...newPod(team, replica, random), ...takeAddress(host), ready: true };
        team.members.push({ pod, local: isLocal });
        sink.put("Pod", (version) => podOf(pod, version));
      }
      space.teams.push(team);
      sink.put("Service", (version) => serviceOf(service, version));
      putSlice(team, sink);
    }
    spaces.push(space);
  }
  for (let index = 0; index < size.policies; index += 1) {
    const space = present(spaces[index % spaces.length], "a namespace");
    putPolicy(space, Math.floor(index / spaces.length), sink);
  }
  return spaces;
}

function workloadOf(namespace: string, number: number, random: Random): Workload {
  const app = `app-${number}`;
  const component = present(COMPONENTS[number % COMPONENTS.length], "a component");
  return {
    namespace,
    app,
    kind: number % 5 === 4 ? "StatefulSet" : "Deployment",
    hash: hashOf(random),
    labels: {
      "app.kubernetes.io/name": app,
      "app.kubernetes.io/instance": `${app}-${namespace}`,
      "app.kubernetes.io/component": component,
      "app.kubernetes.io/part-of": namespace,
      "app.kubernetes.io/managed-by": "Helm",
      "helm.sh/chart": `${app}-1.2.3`,
    },
  };
}

/** Of ten letters, as ReplicaSets have them. */
const LETTERS = "bcdfghjklmnpqrstvwxz2456789";
const word = (random: Random, length: number): string =>
  Array.from({ length }, () => LETTERS[random.below(LETTERS.length)]).join("");
const hashOf = (random: Random): string => word(random, 10);

function newPod({ workload }: Team, replica: number, random: Random): PodState {
  const { app, kind, hash } = workload;
  const name = kind === "StatefulSet" ? `${app}-${replica}` : `${app}-${hash}-${word(random, 5)}`;
  return { name, workload, ready: false, uid: nextUid() };
}

function otherHost(hosts: readonly Host[], random: Random): Host {
  for (;;) {
    const host = present(hosts[1 + random.below(hosts.length - 1)], "a node");
    if (host.pods < PODS_PER_NODE_MAX) return host;
  }
}

/** Addresses are given again, the one that was free for the longest time first. */
function takeAddress(host: Host): { node: string; address: string } {
  const offset = present(host.free.pop(), `an address of ${host.state.name}`);
  host.pods += 1;
  return { node: host.state.name, address: v4(host.first, offset) };
}

const putSlice = ({ service, members }: Team, sink: Sink): void => {
  const pods = members.map(({ pod }) => pod);
  sink.put("EndpointSlice", (version) => sliceOf(service, pods, version));
};

const pods = (labels: LabelMap): object => ({ podSelector: { matchLabels: labels } });
const appAt = (index: number): LabelMap => ({
  "app.kubernetes.io/name": `app-${index % REPLICAS.length}`,
});
const componentAt = (index: number): LabelMap => ({
  "app.kubernetes.io/component": present(COMPONENTS[index % COMPONENTS.length], "a component"),
});
const DNS = { ports: ["UDP", "TCP"].map((protocol) => ({ protocol, port: 53 })) };

/** The first policy of a namespace denies by default; each of the others opens one of its workloads. */
function putPolicy(space: Space, number: number, sink: Sink, edition = 0): void {
  const name = number === 0 ? "default-deny" : `allow-${number}`;
  if (edition === 0) space.policies.push(name);
  const team = { matchLabels: { team: `team-${(number + edition) % TEAMS}` } };
  const spec =
    number === 0
      ? { podSelector: {}, policyTypes: ["Ingress", "Egress"], egress: [DNS] }
      : {
          podSelector: { matchLabels: appAt(number - 1) },
          policyTypes: ["Ingress", "Egress"],
          ingress: [
            {
              from: [pods(appAt(number)), pods(appAt(number + 5))],
              ports: [{ protocol: "TCP", port: "http" }],
            },
            {
              from: [{ namespaceSelector: team, ...pods(componentAt(number)) }],
              ports: [{ protocol: "TCP", port: 8080 + (edition % 2) }],
            },
            { from: [{ ipBlock: { cidr: `192.168.${number % 256}.0/24` } }] },
          ],
          egress: [
            { to: [pods(appAt(number + 3))], ports: [{ protocol: "TCP", port: "http" }] },
            { to: [{ namespaceSelector: team }], ports: [{ protocol: "TCP", port: "metrics" }] },
          ],
        };
  sink.put("NetworkPolicy", (version) => policyOf(space.name, name, spec, version));
}

const probeWorkload = (app: string): Workload => ({
  namespace: PROBE,
  app,
  kind: "Deployment",
  hash: "5d8f6c7b9",
  labels: { app },
});
const PROBE_CLIENTS = probeWorkload("client");
const PROBE_SERVERS = probeWorkload("server");

/** A pod of the measured node that admits the pods that come as its clients. */
function makeProbe(sink: Sink): void {
  const node: NodeState = {
    name: PROBE_NODE,
    address: v4(NODE_ADDRESSES, 0x1_0000),
    podCidr: `${v4(PROBE_ADDRESSES, -1)}/16`,
    uid: nextUid(),
  };
  sink.put("Node", (version) => nodeOf(node, version));
  sink.put("Namespace", (version) => namespaceOf(PROBE, {}, version));
  const server: PodState = {
    name: "server",
    workload: PROBE_SERVERS,
    node: NODE,
    address: PROBED_ADDRESS,
    ready: true,
    uid: nextUid(),
  };
  sink.put("Pod", (version) => podOf(server, version));
  const ingress = [{ from: [pods({ app: "client" })], ports: [{ protocol: "TCP", port: PROBED_PORT }] }];
  const spec = { podSelector: { matchLabels: { app: "server" } }, policyTypes: ["Ingress"], ingress };
  sink.put("NetworkPolicy", (version) => policyOf(PROBE, "server", spec, version));
}

interface Life extends Making {
  readonly spaces: readonly Space[];
}

/** Each step is one change; its value is the number of pods changed (1 or 0). */
type Steps = Generator<number, undefined>;

/** Never ends. Which of them is next is a matter of chance, weighted by how often each happens. */
function* happenings(life: Life): Generator<number, never> {
  const { random } = life;
  for (;;) {
    const chance = random.below(1_000);
    if (chance < 600) yield* rollout(life);
    else if (chance < 700) yield* drain(life);
    else if (chance < 850) yield* flap(life);
    else if (chance < 900) yield* relabel(life);
    else if (chance < 960) yield* editPolicy(life);
    else if (chance < 990) yield* addPolicyAndRemove(life);
    else yield* relabelNamespace(life);
  }
}

const anyOf = <T>(random: Random, list: readonly T[]): T | undefined => list[random.below(list.length)];

function anyTeam({ random, spaces }: Life): Team | undefined {
  return anyOf(random, anyOf(random, spaces)?.teams ?? []);
}

const put = (sink: Sink, pod: PodState): 1 => {
  sink.put("Pod", (version) => podOf(pod, version));
  return 1;
};

/** As a controller replaces a pod: the new one is scheduled and starts, then the old one ends. */
function* replace({ sink, random, hosts }: Life, team: Team, member: Member): Steps {
  const old = member.pod;
  const replica = Number(old.name.slice(old.name.lastIndexOf("-") + 1));
  const isOrdered = team.workload.kind === "StatefulSet";
  const end = function* (): Steps {
    yield put(sink, { ...old, deleting: true });
    yield put(sink, { ...old, deleting: true, ready: false });
    sink.remove("Pod", `${team.workload.namespace}/${old.name}`);
    yield 1;
    const host = hosts.find(({ state }) => state.name === old.node);
    if (host !== undefined && old.address !== undefined) {
      host.pods -= 1;
      host.free.unshift(offsetOf(host, old.address));
    }
  };
  if (isOrdered) yield* end();
  const fresh = newPod(team, replica, random);
  yield put(sink, fresh);
  const place = takeAddress(otherHost(hosts, random));
  yield put(sink, { ...fresh, node: place.node });
  yield put(sink, { ...fresh, ...place });
  member.pod = { ...fresh, ...place, ready: true };
  yield put(sink, member.pod);
  putSlice(team, sink);
  yield 0;
  if (!isOrdered) yield* end();
}

function offsetOf({ first }: Host, address: string): number {
  const value = address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  return value - first;
}

function* rollout(life: Life): Steps {
  const team = anyTeam(life);
  if (team === undefined) return;
  team.workload = { ...team.workload, hash: hashOf(life.random) };
  for (const member of team.members) if (!member.local) yield* replace(life, team, member);
}

/** All pods of a node go to others. */
function* drain(life: Life): Steps {
  const host = life.hosts[1 + life.random.below(life.hosts.length - 1)];
  if (host === undefined) return;
  for (const { teams } of life.spaces)
    for (const team of teams)
      for (const member of team.members)
        if (member.pod.node === host.state.name) yield* replace(life, team, member);
}

/** Readiness that comes and goes: most events of a cluster change nothing that matters. */
function* flap(life: Life): Steps {
  const team = anyTeam(life);
  for (const member of team?.members ?? []) {
    if (member.local) continue;
    for (const ready of [false, true]) {
      yield put(life.sink, { ...member.pod, ready });
      putSlice(present(team, "a workload"), life.sink);
    }
  }
}

function* relabel(life: Life): Steps {
  const member = anyOf(life.random, anyTeam(life)?.members ?? []);
  if (member === undefined || member.local) return;
  const labels = { "app.kubernetes.io/component": anyOf(life.random, COMPONENTS) ?? "api" };
  member.pod = { ...member.pod, labels };
  yield put(life.sink, member.pod);
}

function* editPolicy({ random, spaces, sink }: Life): Steps {
  const space = anyOf(random, spaces);
  if (space === undefined || space.policies.length < 2) return;
  putPolicy(space, 1 + random.below(space.policies.length - 1), sink, 1 + random.below(TEAMS));
  yield 0;
}

function* addPolicyAndRemove(life: Life): Steps {
  const { random, spaces, sink } = life;
  const space = anyOf(random, spaces);
  if (space === undefined) return;
  const spec = { ...pods(appAt(random.below(REPLICAS.length))), ingress: [{ from: [pods(appAt(0))] }] };
  sink.put("NetworkPolicy", (version) => policyOf(space.name, "for-a-while", spec, version));
  yield* flap(life);
  sink.remove("NetworkPolicy", `${space.name}/for-a-while`);
}

function* relabelNamespace({ random, spaces, sink }: Life): Steps {
  const space = anyOf(random, spaces);
  if (space === undefined) return;
  space.labels = { ...space.labels, team: `team-${random.below(TEAMS)}` };
  const { name, labels } = space;
  sink.put("Namespace", (version) => namespaceOf(name, labels, version));
  yield 0;
}
