// Which pods each interface had when last enforced: kept in a file, since a pod's object may be deleted while
// no agent runs.

import { isDeepStrictEqual } from "node:util";
import * as z from "zod";
import type { Direction } from "../base/direction.ts";
import { messageOf } from "../base/errors.ts";
import { type Parsed, parseAddress, parseCidr } from "../base/ip.ts";
import { parseHardware } from "../base/mac-address.ts";
import { openStage, sameItems } from "../base/stage.ts";
import { bootId, readKept, unreadableFile, writeKept } from "../base/state-file.ts";
import { type Cluster, isSealed, keyOf, type Pod } from "../model/cluster.ts";
import type { Problem } from "../model/problem.ts";
import { PROTOCOLS } from "../model/protocol.ts";
import { isUnknown } from "../model/unclaimed-interface.ts";
import { identityOf, isSameLink, type LinkIdentity } from "../node/link-identity.ts";
import type { NodeTables } from "../node/node-tables.ts";
import type { EndpointSides } from "../policy/compile.ts";
import { podsOf } from "../policy/local-endpoints.ts";
import type { Incumbent, PodInterface } from "../source/interface-discovery.ts";
import { maySame, shareAddress } from "../source/interface-evidence.ts";

/** An interface as it was last enforced. */
interface Kept {
  readonly link: LinkIdentity;
  /** Empty if it was known to belong to no pod. */
  readonly pods: readonly Incumbent[];
  /** The MAC address that the pod is bound to, if one is known. */
  readonly hardware?: string;
}

export interface Incumbents {
  /** By interface index; only for links that are still the same. */
  of(tables: NodeTables): ReadonlyMap<number, readonly Incumbent[]>;
  /** The MAC addresses that their pods are bound to, for the same links. */
  hardwareOf(tables: NodeTables): ReadonlyMap<number, string>;
  /** Replaces the history with what is in force now. */
  settle(found: readonly PodInterface[], force: InForceNow): void;
  /** Whether the interfaces' pods from before this agent are known. */
  readonly isKnown: boolean;
  problems(): readonly Problem[];
}

export interface InForceNow {
  readonly cluster: Cluster;
  readonly sides: readonly EndpointSides[];
  readonly tables: NodeTables;
}

const VERSION = 1;

/** Without a path nothing is kept. */
export function openIncumbents(path: string | undefined): Incumbents {
  let kept: readonly Kept[] = [];
  let isKnown = path === undefined;
  let problem: Problem | undefined;
  let written: string | undefined;
  const boot = bootId();
  /** Pods that have no interface any more, as they last were with one, whose objects still name what they had there. */
  const ended = new Map<string, Pod>();
  function noteEnded(
    found: readonly PodInterface[],
    cluster: Cluster,
    here: ReadonlyMap<number, readonly Incumbent[]>,
  ): void {
    const alive = new Set([...here.values()].flatMap((pods) => pods.map(({ pod }) => keyOf(pod))));
    for (const { pod } of kept.flatMap(({ pods }) => pods))
      if (!alive.has(keyOf(pod))) ended.set(keyOf(pod), pod);
    const having = new Set(found.flatMap(podsOf).map(keyOf));
    for (const [key, before] of ended) {
      const object = cluster.pods.get(key);
      const isOver =
        object === undefined ? !having.has(key) : object.uid !== before.uid || hasMoved(before, object);
      if (isOver) ended.delete(key);
    }
  }
  try {
    const read = path === undefined ? undefined : readKept(path, [VERSION]);
    if (path !== undefined && read !== undefined) {
      // No link of another boot exists any more, whatever its name and index.
      kept = read["boot"] === boot ? keptIn(read["interfaces"], path) : [];
      isKnown = true;
    }
  } catch (thrown) {
    const effect = "isolated interfaces without a known pod are denied everything";
    problem = { severity: "error", reason: messageOf(thrown), effect, topic: "interface" };
  }
  const sameIn = ({ links }: NodeTables): readonly Kept[] =>
    kept.filter(({ link }) => {
      const now = links.get(link.ifindex);
      return now !== undefined && isSameLink(link, now);
    });
  const pods = openStage<ReadonlyMap<number, readonly Incumbent[]>>();
  const bound = openStage<ReadonlyMap<number, string>>();
  const of = (tables: NodeTables): ReadonlyMap<number, readonly Incumbent[]> =>
    pods([kept, tables], () => new Map(sameIn(tables).map((each) => [each.link.ifindex, each.pods])));
  let settled: readonly unknown[] = [];
  /** What was in force before, as far as this agent has seen it. */
  let last: Pick<InForceNow, "cluster" | "tables"> | undefined;
  return {
    get isKnown() {
      return isKnown;
    },
    of,
    hardwareOf: (tables) =>
      bound(
        [kept, tables],
        () =>
          new Map(
            sameIn(tables).flatMap(({ link, hardware }) =>
              hardware === undefined ? [] : [[link.ifindex, hardware] as const],
            ),
          ),
      ),
    settle(found, now) {
      const { clusterPolicies } = now.cluster;
      const inputs = [found, now.sides, now.tables, now.cluster.namespaces, clusterPolicies];
      const seen = last;
      last = now;
      // Once more would change nothing.
      if (sameItems(settled, inputs) && ended.size === 0 && problem === undefined) return;
      settled = inputs;
      const here = of(now.tables);
      noteEnded(found, now.cluster, here);
      const next = found.flatMap((each) => {
        const link = now.tables.links.get(each.ifindex);
        if (link === undefined) return [];
        const earlier = seen?.tables.links.get(each.ifindex);
        const age = {
          isNew: seen !== undefined && (earlier === undefined || !isSameLink(identityOf(earlier), link)),
          isUnknown: seen === undefined && path !== undefined,
        };
        const before = here.get(each.ifindex) ?? [];
        const { hardware } = each;
        const mac = hardware === undefined ? {} : { hardware };
        return [
          {
            link: identityOf(link),
            pods: incumbentsOf(each, before, { ...now, ended, age, seen: seen?.cluster }),
            ...mac,
          },
        ];
      });
      // The same history for the same content: what follows from it is the same, too.
      if (!isDeepStrictEqual(kept, next)) kept = next;
      if (path === undefined) return;
      const value = {
        ...{ version: VERSION, boot, interfaces: kept.map(plainKept) },
        clusterPolicies: (clusterPolicies?.size ?? 0) > 0,
      };
      const text = JSON.stringify(value);
      if (text === written) return;
      try {
        writeKept(path, value);
        written = text;
        problem = undefined;
      } catch (thrown) {
        const effect = "an agent started later does not find out which pods own the interfaces";
        problem = { severity: "warning", reason: messageOf(thrown), effect, topic: "interface" };
      }
    },
    problems: () => (problem === undefined ? [] : [problem]),
  };
}

/** False if the last agent of this boot has recorded that there were no cluster policies; never throws. */
export function mayHaveHadClusterPolicies(path: string | undefined): boolean {
  try {
    const read = path === undefined ? undefined : readKept(path, [VERSION]);
    return read?.["boot"] !== bootId() || read["clusterPolicies"] !== false;
  } catch {
    return true;
  }
}

/** The pods of an interface when it was last enforced, first the one that has it. */
export interface RememberedOwner {
  /** Name of the interface. */
  readonly link: string;
  readonly pods: readonly {
    readonly namespace: string;
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
  }[];
}

/**
 * By interface index, as an agent has left them; empty if it has not, or in an earlier boot. @throws OperationError if the
 * file cannot be read
 */
export function rememberedOwners(path: string): ReadonlyMap<number, RememberedOwner> {
  const read = readKept(path, [VERSION]);
  if (read === undefined || read["boot"] !== bootId()) return new Map();
  return new Map(
    keptIn(read["interfaces"], path).map(({ link, pods }) => [
      link.ifindex,
      {
        link: link.name,
        pods: pods.map(({ pod: { namespace, name, labels } }) => ({
          namespace,
          name,
          labels: Object.fromEntries(labels),
        })),
      },
    ]),
  );
}

/** What this agent has seen of pods and links before. */
interface Witnessed {
  /** Pods that have no interface any more, as they last were with one, whose objects still name what they had there. */
  readonly ended: ReadonlyMap<string, Pod>;
  /** Of the link: whether it is new, or that is unknown. */
  readonly age: { readonly isNew: boolean; readonly isUnknown: boolean };
  /** The pods before; undefined at the start. */
  readonly seen: Cluster | undefined;
}

/** Whether the object names an address that the pod did not have before, and none that it had: that of a new sandbox. */
const hasMoved = (before: Pod, object: Pod): boolean =>
  object.ips.length > 0 && !shareAddress(object, before);

/** Whether a pod's object had an address of its own before, so that it says nothing of a new link. */
function hadAddress(pod: Pod, seen: Cluster | undefined): boolean {
  const before = seen?.pods.get(keyOf(pod));
  return before !== undefined && maySame(before, pod) && shareAddress(before, pod);
}

/**
 * Whether a pod shares an interface only because the object of the one that has it may have been old. It has no part in it
 * any more when its own object is gone, which may have named the address in error.
 */
const contends = (pod: Pod, each: PodInterface, before: readonly Incumbent[]): boolean =>
  before.some(
    ({ pod: first, unwitnessed }) =>
      unwitnessed === true &&
      podsOf(each).some((other) => other !== pod && keyOf(other) === keyOf(first) && maySame(first, other)),
  );

/**
 * The pods to record for an interface. If nothing is known about it, there are none, unless an earlier agent
 * isolated it.
 */
function incumbentsOf(
  each: PodInterface,
  before: readonly Incumbent[],
  { cluster, sides, ended, age, seen }: InForceNow & Witnessed,
): readonly Incumbent[] {
  const entry = sides.find(({ local }) => local.ifindex === each.ifindex);
  const isEnforced = (direction: Direction): boolean => {
    const side = entry?.sides[direction];
    // Rules of cluster policies apply by the last labels; they make no pod an isolated one.
    return side?.isolated === true && !side.audit;
  };
  return podsOf(each).flatMap((pod): Incumbent[] => {
    const { retained, attachment: _, deleting: __, ...rest } = pod;
    if (isUnknown(pod) && retained === undefined) return [];
    const namespace = cluster.namespaces.get(pod.namespace);
    const earlier = before.find((one) => keyOf(one.pod) === keyOf(pod) && one.pod.uid === pod.uid);
    const isolated = (direction: Direction): boolean =>
      retained?.isolated[direction] === true || (!isSealed(pod) && isEnforced(direction));
    const isEnded = pod.finished || pod.deleting === true || retained !== undefined || ended.has(keyOf(pod));
    const isOld = before.length === 0 && age.isNew && hadAddress(pod, seen);
    // What the CNI plugin says is sure.
    const isSure = each.claimed === true || pod.attachment !== undefined;
    const provisional =
      each.claimed !== true &&
      (earlier === undefined
        ? isEnded || (!isSure && (isOld || contends(pod, each, before)))
        : earlier.provisional === true);
    const unwitnessed =
      !isSure &&
      !provisional &&
      (earlier === undefined
        ? before.length === 0 && (age.isUnknown || age.isNew)
        : earlier.unwitnessed === true);
    const isUnseen = retained === undefined && each.lost !== undefined;
    const lost = retained === undefined ? each.lost : { since: retained.since, why: retained.why };
    return [
      {
        // Addresses not seen behind the interface did not make it the pod's.
        pod: { ...rest, ips: (isUnseen ? earlier?.pod.ips : undefined) ?? rest.ips },
        namespace:
          retained !== undefined && earlier !== undefined
            ? earlier.namespace
            : {
                known: namespace !== undefined,
                ...(namespace?.uid === undefined ? {} : { uid: namespace.uid }),
              },
        isolated: { ingress: isolated("ingress"), egress: isolated("egress") },
        ...(lost === undefined ? {} : { lost: { since: lost.since, why: lost.why } }),
        ...(provisional ? { provisional } : {}),
        ...(unwitnessed ? { unwitnessed } : {}),
      },
    ];
  });
}

const plainKept = ({ link, pods, hardware }: Kept) => ({
  link,
  ...(hardware === undefined ? {} : { hardware }),
  pods: pods.map(
    ({
      pod: { labels, ips, ports, sources, macs, ...pod },
      namespace,
      isolated,
      lost,
      provisional,
      unwitnessed,
    }) => ({
      namespace: pod.namespace,
      name: pod.name,
      ...(pod.uid === undefined ? {} : { uid: pod.uid }),
      ...(pod.node === undefined ? {} : { node: pod.node }),
      labels: Object.fromEntries([...labels].sort(([a], [b]) => (a < b ? -1 : 1))),
      addresses: ips.map(({ text }) => text),
      ports,
      ...(pod.exceeds === undefined ? {} : { exceeds: pod.exceeds }),
      ...(sources === undefined ? {} : { sources: sources.map(({ text }) => text) }),
      ...(macs === undefined ? {} : { macs }),
      inNamespace: namespace,
      isolated,
      ...(lost === undefined ? {} : { lost }),
      ...(provisional === undefined ? {} : { provisional }),
      ...(unwitnessed === undefined ? {} : { unwitnessed }),
    }),
  ),
});

function parsedBy<T>(parse: (text: string) => Parsed<T>) {
  return z.string().transform((text, context) => {
    const parsed = parse(text);
    if (parsed.ok) return parsed.value;
    context.issues.push({ code: "custom", message: parsed.reason, input: text });
    return z.NEVER;
  });
}

const SIDES = z.object({ ingress: z.boolean(), egress: z.boolean() });

const INTERFACES = z.array(
  z.object({
    link: z.object({
      ifindex: z.int(),
      name: z.string(),
      birth: z.string().exactOptional(),
      address: z.string().exactOptional(),
    }),
    hardware: parsedBy(parseHardware).exactOptional(),
    pods: z.array(
      z
        .object({
          namespace: z.string(),
          name: z.string(),
          uid: z.string().exactOptional(),
          node: z.string().exactOptional(),
          labels: z.record(z.string(), z.string()),
          addresses: z.array(parsedBy(parseAddress)),
          ports: z.array(
            z.object({
              name: z.string().exactOptional(),
              port: z.int(),
              protocol: z.enum(PROTOCOLS),
            }),
          ),
          sources: z.array(parsedBy(parseCidr)).exactOptional(),
          macs: z.array(parsedBy(parseHardware)).exactOptional(),
          exceeds: z.literal(true).exactOptional(),
          inNamespace: z.object({ known: z.boolean(), uid: z.string().exactOptional() }),
          isolated: SIDES,
          lost: z.object({ since: z.string(), why: z.string() }).exactOptional(),
          provisional: z.literal(true).exactOptional(),
          unwitnessed: z.literal(true).exactOptional(),
        })
        .transform(
          ({
            labels,
            addresses,
            inNamespace,
            isolated,
            lost,
            provisional,
            unwitnessed,
            ...pod
          }): Incumbent => {
            const known: Pod = {
              ...pod,
              labels: new Map(Object.entries(labels)),
              ips: addresses,
              hostNetwork: false,
              finished: false,
            };
            return {
              pod: known,
              namespace: inNamespace,
              isolated,
              ...(lost === undefined ? {} : { lost }),
              ...(provisional === undefined ? {} : { provisional }),
              ...(unwitnessed === undefined ? {} : { unwitnessed }),
            };
          },
        ),
    ),
  }),
);

/** @throws OperationError if any part is malformed: a history must be complete to be usable. */
function keptIn(value: unknown, path: string): readonly Kept[] {
  const read = INTERFACES.safeParse(value);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  throw unreadableFile(path, `interfaces.${issue?.path.join(".")}: ${issue?.message}`);
}
