// Interface discovery for the agent's reconciliations: the netlink tables, the interface history, first appearances,
// and short absences.

import { openStage, sameEntries } from "../base/stage.ts";
import { sharedAddresses } from "../model/address-ownership.ts";
import { type Cluster, keyOf, type Ownership, type Pod } from "../model/cluster.ts";
import type { Problem } from "../model/problem.ts";
import { unknownPod } from "../model/unclaimed-interface.ts";
import { followNode, type Node, readNode } from "../node/netlink-watch.ts";
import { surroundingsReader } from "../node/node-surroundings.ts";
import type { NetLink, NodeTables } from "../node/node-tables.ts";
import { type Ignored, isUnclaimedVeth, unclaimedVethsIn } from "../node/unclaimed-veths.ts";
import type { EndpointSides } from "../policy/compile.ts";
import {
  type Adopted,
  type ClaimedInterface,
  openInterfaceResolver,
  type PodInterface,
  type Resolved,
} from "../source/interface-discovery.ts";
import type { SourceOptions } from "../source/source.ts";
import { openIncumbents } from "./interface-history.ts";
import type { Gate } from "./unclaimed-default-deny.ts";

export interface InterfaceOptions {
  /** This node's name in the cluster, if the source has one. */
  readonly node?: string;
  /** Unclaimed interfaces are denied everything, except for these. If absent, all of them are ignored. */
  readonly denyUnknown?: { readonly ignored: Ignored };
  /** The file with the interface history; if absent, nothing is kept. */
  readonly kept?: string;
}

interface Asked extends Pick<InterfaceOptions, "denyUnknown" | "kept"> {
  readonly source: SourceOptions;
  /** Uplinks belong to no pod. */
  readonly uplinks?: { readonly interfaces: readonly string[] };
}

/** Only the API server assigns pods to nodes. */
export const interfaceOptions = ({ source, denyUnknown, kept, uplinks }: Asked): InterfaceOptions => ({
  ...(source.kind === "apiserver" ? { node: source.node } : {}),
  ...(kept === undefined ? {} : { kept }),
  ...(denyUnknown === undefined
    ? {}
    : { denyUnknown: { ignored: [...denyUnknown.ignored, ...(uplinks?.interfaces ?? [])] } }),
});

export interface Tracked extends Resolved {
  /** Of the tables that this comes from, by interface index. */
  readonly links: NodeTables["links"];
}

export interface Interfaces {
  /**
   * Resolves by the current tables. Interfaces to be denied everything come with a placeholder pod. In the
   * cluster that is returned, pods have the addresses known for them.
   */
  resolve(cluster: Cluster, claims?: readonly ClaimedInterface[]): Tracked;
  /** The result of the last resolve() is in force: from now on it is the history. */
  settle(cluster: Cluster, sides: readonly EndpointSides[]): void;
  /** Set if unclaimed interfaces are shut at once. */
  readonly gate?: Gate;
  close(): void;
}

/** What an earlier agent has left in the kernel. */
export interface Left {
  /** Its endpoints, by interface index. */
  readonly endpoints: ReadonlyMap<
    number,
    { readonly addresses: readonly string[]; readonly isolated: boolean; readonly hardware?: string }
  >;
  /** Whether its programs are attached to an interface: then the link is the one it attached them to. */
  readonly isAttached: (ifindex: number) => boolean;
}

export interface ReadEnv {
  readonly left?: Left;
  readonly now?: () => Date;
}

export interface FollowEnv extends ReadEnv {
  /** From now on resolve() may return something else. */
  readonly onChange: () => void;
  readonly onError: (error: unknown) => void;
  readonly gate?: Gate;
}

/** Reads the node's tables once. Errors: BpfError. */
export async function readInterfaces(options: InterfaceOptions, env: ReadEnv = {}): Promise<Interfaces> {
  const node = await readNode();
  return {
    ...resolver(options, node, { ...env, adopted: adoptedFrom(env.left, node.tables()) }),
    close: () => undefined,
  };
}

/** Follows the node's tables until it is closed. Errors: BpfError if they cannot be read at all. */
export async function openInterfaces(
  options: InterfaceOptions,
  { onChange, onError, gate, left, now }: FollowEnv,
): Promise<Interfaces> {
  const { denyUnknown } = options;
  // Before the gate attaches to anything.
  const adopted = left === undefined ? new Map() : adoptedFrom(left, (await readNode()).tables());
  const node = await followNode({
    onChange,
    onError,
    ...(gate === undefined || denyUnknown === undefined
      ? {}
      : {
          onPair: (link, tables) => {
            if (isUnclaimedVeth(tables, link, denyUnknown.ignored)) gate.shut(link.ifindex);
          },
        }),
  });
  const absences = openAbsences(onChange);
  const { resolve, settle } = resolver(options, node, {
    absences,
    adopted,
    ...(now === undefined ? {} : { now }),
  });
  return {
    resolve(cluster, claims) {
      gate?.release();
      return resolve(cluster, claims);
    },
    settle,
    ...(gate === undefined ? {} : { gate }),
    close() {
      absences.close();
      node.close();
    },
  };
}

type AdoptedByIndex = ReadonlyMap<number, Adopted>;

/** Interfaces from an earlier agent. If its tables cannot be read, any of them may have been isolated. */
function adoptedFrom(left: Left | undefined, { links }: NodeTables): AdoptedByIndex {
  const found = new Map<number, Adopted>();
  if (left === undefined) return found;
  for (const ifindex of links.keys()) {
    const endpoint = left.endpoints.get(ifindex);
    if (!left.isAttached(ifindex)) continue;
    found.set(ifindex, endpoint ?? { addresses: undefined, isolated: left.endpoints.size === 0 });
  }
  return found;
}

interface ResolverEnv {
  readonly absences?: Absences;
  readonly adopted: AdoptedByIndex;
  readonly now?: () => Date;
}

function resolver(
  { node: nodeName, denyUnknown, kept }: InterfaceOptions,
  node: Node,
  { absences, adopted, now = () => new Date() }: ResolverEnv,
): Pick<Interfaces, "resolve" | "settle"> {
  const incumbents = openIncumbents(kept);
  const appearances = openAppearances();
  const surroundings = surroundingsReader();
  const resolveInterfaces = openInterfaceResolver();
  const unclaimed = openStage<NetLink[]>();
  const all = openStage<readonly PodInterface[]>();
  let left = adopted;
  let last: { readonly found: readonly PodInterface[]; readonly tables: NodeTables } | undefined;
  return {
    resolve(cluster, claims = []) {
      const tables = node.tables();
      const resolved = resolveInterfaces(cluster, node, {
        claims,
        incumbents: incumbents.of(tables),
        bound: incumbents.hardwareOf(tables),
        adopted: left,
        appeared: appearances.see(cluster.pods),
        now: now().toISOString(),
        sealGone: denyUnknown !== undefined,
        ...(nodeName === undefined ? {} : { node: nodeName }),
      });
      const unknown = unclaimed([resolved.found, tables], () => {
        const taken = new Set(resolved.found.map(({ ifindex }) => ifindex));
        return denyUnknown === undefined ? [] : unclaimedVethsIn(tables, taken, denyUnknown.ignored);
      });
      const reported = new Set(resolved.problems.map(({ object }) => object));
      const silent = resolved.missing.map(missingProblem).filter(({ object }) => !reported.has(object));
      const lasting =
        absences?.lasting([...silent, ...unknown.map(({ name }) => unknownProblem(name))]) ?? [];
      const found = all([resolved.found, unknown], () => [
        ...resolved.found,
        ...unknown.map(({ ifindex, name }) => ({ pod: unknownPod(name), ifindex, name, addresses: NONE })),
      ]);
      last = { found, tables };
      return {
        ...resolved,
        found,
        links: tables.links,
        surroundings: surroundings(tables),
        problems: [...incumbents.problems(), ...resolved.problems, ...lasting],
      };
    },
    settle(cluster, sides) {
      if (last === undefined) return;
      incumbents.settle(last.found, { cluster, sides, tables: last.tables });
      // From now on only this agent's results count.
      if (left.size > 0) left = new Map();
    },
  };
}

const NONE: Pod["ips"] = [];

type NamedProblem = Problem & { readonly object: string };

const missingProblem = (key: string): NamedProblem => ({
  severity: "error",
  object: `Pod ${key}`,
  reason: "none of its addresses is behind an interface of this node",
  effect: "the pod is not enforced",
  topic: "interface",
});

const unknownProblem = (name: string): NamedProblem => ({
  severity: "warning",
  object: `interface ${name}`,
  reason: "not owned by a known pod",
  effect: "everything is denied to and from it",
  topic: "interface",
});

// Things that are briefly missing while pods are created, and are a problem only if that lasts.

export interface Absences {
  /** Of all current problems, distinguished by object, those that have lasted too long. */
  lasting(problems: readonly (Problem & { readonly object: string })[]): readonly Problem[];
  close(): void;
}

export const GRACE_MS = 5_000;

/** `onDue` is called when there is a new problem to report. `now` is a monotonic clock in milliseconds. */
export function openAbsences(onDue: () => void, now: () => number = () => performance.now()): Absences {
  const since = new Map<string, number>();
  let timer: NodeJS.Timeout | undefined;
  return {
    lasting(problems) {
      const objects = new Set(problems.map(({ object }) => object));
      for (const object of [...since.keys()]) if (!objects.has(object)) since.delete(object);
      for (const object of objects) if (!since.has(object)) since.set(object, now());
      const ageOf = ({ object }: { readonly object: string }) => now() - (since.get(object) ?? now());
      const waits = problems.map((each) => GRACE_MS - ageOf(each)).filter((rest) => rest > 0);
      clearTimeout(timer);
      // One millisecond more: timers may fire slightly early.
      if (waits.length > 0) timer = setTimeout(onDue, Math.min(...waits) + 1);
      return problems.filter((each) => ageOf(each) >= GRACE_MS);
    },
    close: () => clearTimeout(timer),
  };
}

// Which of several objects with one address had it first, as far as this agent has observed.

export interface Appearances {
  /** Records a snapshot's pods; snapshots must come in order. All pods of the first one have the same age. */
  see(pods: Cluster["pods"]): Ownership["appeared"];
}

/** Records only addresses that several objects have. */
export function openAppearances(): Appearances {
  let before: Cluster["pods"] | undefined;
  let count = 0;
  let known: Ownership["appeared"] = new Map();
  return {
    see(pods) {
      if (pods === before) return known;
      count += 1;
      const next = new Map<string, ReadonlyMap<string, number>>();
      for (const [text, sharing] of sharedAddresses(pods)) {
        const since = new Map<string, number>();
        for (const key of sharing.map(keyOf)) {
          const had = before?.get(key)?.ips.some((address) => address.text === text) === true;
          const first = known.get(text)?.get(key);
          since.set(key, had ? (first ?? 0) : before === undefined ? 0 : count);
        }
        const same = known.get(text);
        next.set(text, same !== undefined && sameEntries(same, since) ? same : since);
      }
      before = pods;
      // The same map while nothing changes.
      if (!sameEntries(known, next)) known = next;
      return known;
    },
  };
}
