// Which pods belong together, and the labels that select exactly them: for policies that outlive the pods they were made from.
//
// A workload is what one controller makes, as the labels and names show that controllers write; pods of no controller are one
// workload if their lasting labels are equal. Where no labels distinguish two workloads, they count as one.

import { keyOf, type Pod } from "../../model/cluster.ts";
import { type Labels, matches, type Requirement, type Selector, selectorText } from "../../model/selector.ts";

export interface SelectedWorkload {
  readonly namespace: string;
  /** Of its controller, pod or labels: for people, and unique in the namespace. */
  readonly name: string;
  /** Selects its pods, and no others of the namespace. */
  readonly selector: Selector;
  readonly pods: readonly [Pod, ...Pod[]];
}

export interface SelectedWorkloads {
  readonly all: readonly SelectedWorkload[];
  /** Of a pod by `namespace/name`; of one that is gone, by the form of the names that its controller makes. */
  of(pod: string): SelectedWorkload | undefined;
}

/** Labels that a controller writes for one pod, or for one version of its template. */
const FLEETING: ReadonlySet<string> = new Set([
  "pod-template-hash",
  "rollouts-pod-template-hash",
  "pod-template-generation",
  "controller-revision-hash",
  "controller-uid",
  "batch.kubernetes.io/controller-uid",
  "job-name",
  "batch.kubernetes.io/job-name",
  "batch.kubernetes.io/job-completion-index",
  "statefulset.kubernetes.io/pod-name",
  "apps.kubernetes.io/pod-index",
]);

/** Labels that change with each release: used only where no others distinguish the pods. */
const CHANGING: ReadonlySet<string> = new Set([
  "app.kubernetes.io/version",
  "helm.sh/chart",
  "chart",
  "version",
  "revision",
]);

/** Keys that name what a pod is, the most usual first; then the others by name. */
const NAMING = [
  "app.kubernetes.io/name",
  "app",
  "k8s-app",
  "app.kubernetes.io/instance",
  "app.kubernetes.io/component",
  "name",
  "component",
  "tier",
  "role",
];

/** The characters of generated names: k8s.io/apimachinery/pkg/util/rand. */
const GENERATED = "[bcdfghjklmnpqrstvwxz2456789]";
const POD_SUFFIX = `${GENERATED}{5}`;

type ControllerKind = "Deployment" | "StatefulSet" | "DaemonSet" | "Job" | "CronJob";

/** What a controller appends to its name in those of its pods. */
const SUFFIXES: Readonly<Record<ControllerKind, string>> = {
  Deployment: `-${GENERATED}{1,10}-${POD_SUFFIX}`,
  StatefulSet: "-[0-9]+",
  DaemonSet: `-${POD_SUFFIX}`,
  Job: `-(?:[0-9]+-)?${POD_SUFFIX}`,
  CronJob: `-[0-9]{8,11}-(?:[0-9]+-)?${POD_SUFFIX}`,
};

interface Controller {
  readonly kind: ControllerKind;
  readonly name: string;
}

/** By what controllers write into their pods' labels and names; undefined where neither shows one. */
function controllerOf({ name, labels }: Pod): Controller | undefined {
  const prefix = (pattern: string): string | undefined => new RegExp(`^(.+)${pattern}$`).exec(name)?.[1];
  const controller = (kind: ControllerKind, of: string | undefined): Controller | undefined =>
    of === undefined ? undefined : { kind, name: of };
  const hash = labels.get("pod-template-hash") ?? labels.get("rollouts-pod-template-hash");
  if (hash !== undefined && /^[a-z0-9]+$/.test(hash))
    return controller("Deployment", prefix(`-${hash}-${POD_SUFFIX}`));
  if (labels.get("statefulset.kubernetes.io/pod-name") === name)
    return controller("StatefulSet", prefix(SUFFIXES.StatefulSet));
  const job = labels.get("batch.kubernetes.io/job-name") ?? labels.get("job-name");
  if (job !== undefined && name.startsWith(`${job}-`)) {
    const cron = /^(.+)-[0-9]{8,11}$/.exec(job)?.[1];
    return cron === undefined ? { kind: "Job", name: job } : { kind: "CronJob", name: cron };
  }
  if (labels.has("controller-revision-hash")) return controller("DaemonSet", prefix(SUFFIXES.DaemonSet));
  return undefined;
}

interface Draft {
  readonly pods: readonly [Pod, ...Pod[]];
  readonly controllers: readonly Controller[];
}

interface Selected extends Draft {
  readonly selector: Selector;
}

/** Of pods that policies can select; those on the host's network are not among them. */
export function workloadsOf(pods: Iterable<Pod>): SelectedWorkloads {
  const selectable = [...pods].filter(({ hostNetwork }) => !hostNetwork);
  const byPod = new Map<string, SelectedWorkload>();
  const generated: {
    readonly pattern: RegExp;
    readonly length: number;
    readonly workload: SelectedWorkload;
  }[] = [];
  const all = [...Map.groupBy(selectable, ({ namespace }) => namespace)].flatMap(([namespace, own]) => {
    const names = new Set<string>();
    return selectedIn(own).map(({ pods: members, selector, controllers }) => {
      const name = distinct(nameFor(members, selector, controllers), names);
      const workload: SelectedWorkload = { namespace, name, selector, pods: members };
      for (const pod of members) byPod.set(keyOf(pod), workload);
      // A workload that is known by its template alone has no pod of a generated name yet.
      const makers = controllers.length > 0 ? controllers : members.flatMap(possibleControllers);
      for (const maker of makers)
        generated.push({
          pattern: new RegExp(`^${escaped(`${namespace}/${maker.name}`)}${SUFFIXES[maker.kind]}$`),
          length: maker.name.length,
          workload,
        });
      return workload;
    });
  });
  return {
    all,
    of(key) {
      const known = byPod.get(key);
      if (known !== undefined) return known;
      const fitting = generated.filter(({ pattern }) => pattern.test(key));
      const longest = Math.max(...fitting.map(({ length }) => length));
      const found = new Set(
        fitting.filter(({ length }) => length === longest).map(({ workload }) => workload),
      );
      const [only, ...others] = found;
      return others.length === 0 ? only : undefined;
    },
  };
}

/** A pod without an address may be a template: whatever kind of controller it is of. */
const possibleControllers = ({ name, ips }: Pod): readonly Controller[] =>
  ips.length > 0
    ? []
    : (["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"] as const).map((kind) => ({ kind, name }));

const escaped = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** The workloads of one namespace: drafts that labels do not distinguish are merged until each has a selector of its own. */
function selectedIn(pods: readonly Pod[]): readonly Selected[] {
  const drafts = new Map<string, Draft>();
  for (const pod of pods) {
    const controller = controllerOf(pod);
    const key = controller === undefined ? labelsText(pod.labels) : `${controller.kind} ${controller.name}`;
    const known = drafts.get(key);
    drafts.set(key, {
      pods: known === undefined ? [pod] : [...known.pods, pod],
      controllers: known?.controllers ?? (controller === undefined ? [] : [controller]),
    });
  }
  let rest: readonly Draft[] = [...drafts.values()];
  for (;;) {
    const selected = rest.map((draft): Selected => ({ ...draft, selector: selectorOf(draft.pods, pods) }));
    const merging = selected.find(({ pods: own, selector }) => selectedBy(selector, pods) > own.length);
    if (merging === undefined) return selected;
    const [together, others] = [
      rest.filter((draft) => draft.pods.some(({ labels }) => matches(merging.selector, labels))),
      rest.filter((draft) => !draft.pods.some(({ labels }) => matches(merging.selector, labels))),
    ];
    const merged: Draft = {
      pods: together.flatMap((draft) => draft.pods) as [Pod, ...Pod[]],
      controllers: together.flatMap(({ controllers }) => controllers),
    };
    rest = [...others, merged];
  }
}

const labelsText = (labels: Labels): string =>
  selectorText({ requirements: lasting(labels).map(([key, value]) => requires(key, value)) });

const lasting = (labels: Labels): readonly (readonly [string, string])[] =>
  [...labels].filter(([key]) => !FLEETING.has(key));

const requires = (key: string, value: string): Requirement => ({ operator: "In", key, values: [value] });

const selectedBy = (selector: Selector, pods: readonly Pod[]): number =>
  pods.filter(({ labels }) => matches(selector, labels)).length;

/**
 * The smallest set of labels that selects these pods and no others; where there is none, with labels that these pods do not have;
 * else the largest set that selects all of these pods, and others.
 */
function selectorOf(members: readonly [Pod, ...Pod[]], all: readonly Pod[]): Selector {
  const own = new Set(members);
  const others = all.filter((pod) => !own.has(pod));
  const common = lasting(members[0].labels)
    .filter(([key, value]) => members.every(({ labels }) => labels.get(key) === value))
    .sort(([a], [b]) => rankOf(a) - rankOf(b) || (a < b ? -1 : 1))
    .map(([key, value]) => requires(key, value));
  const lastingOnes = common.filter(({ key }) => !CHANGING.has(key));
  const chosen = smallest(lastingOnes, others) ?? smallest(common, others);
  if (chosen !== undefined) return { requirements: chosen };
  const alike = others.filter(({ labels }) => matches({ requirements: common }, labels));
  const foreign = [...new Set(alike.flatMap(({ labels }) => lasting(labels).map(([key]) => key)))]
    .filter((key) => !members.some(({ labels }) => labels.has(key)))
    .sort()
    .map((key): Requirement => ({ operator: "DoesNotExist", key }));
  const excluding = smallest(foreign, alike);
  if (excluding === undefined) return { requirements: common };
  const rest = others.filter(({ labels }) => matches({ requirements: excluding }, labels));
  return { requirements: [...(smallest(common, rest) ?? common), ...excluding] };
}

function rankOf(key: string): number {
  const place = NAMING.indexOf(key);
  return place < 0 ? NAMING.length : place;
}

/** Up to this many requirements every subset is tried. */
const EXHAUSTIVE_MAX = 10;

/** The fewest of the requirements, at least one if there are any, that none of the pods meets; of as few, the first in order. */
function smallest(
  requirements: readonly Requirement[],
  others: readonly Pod[],
): readonly Requirement[] | undefined {
  const excludes = (some: readonly Requirement[]): boolean =>
    !others.some(({ labels }) => matches({ requirements: some }, labels));
  if (!excludes(requirements)) return undefined;
  if (requirements.length > EXHAUSTIVE_MAX) {
    // Without those that are not needed, from the last on.
    return requirements.reduceRight<readonly Requirement[]>((kept, each) => {
      const without = kept.filter((other) => other !== each);
      return without.length > 0 && excludes(without) ? without : kept;
    }, requirements);
  }
  for (let size = Math.min(1, requirements.length); size < requirements.length; size += 1)
    for (const some of subsets(requirements, size)) if (excludes(some)) return some;
  return requirements;
}

function* subsets<T>(items: readonly T[], size: number): Generator<readonly T[]> {
  if (size === 0) {
    yield [];
    return;
  }
  for (const [at, first] of items.entries())
    for (const rest of subsets(items.slice(at + 1), size - 1)) yield [first, ...rest];
}

function nameFor(
  [first, ...more]: readonly [Pod, ...Pod[]],
  { requirements }: Selector,
  controllers: readonly Controller[],
): string {
  const names = new Set(controllers.map(({ name }) => name));
  const [only, ...others] = names;
  if (only !== undefined && others.length === 0) return only;
  if (more.length === 0) return first.name;
  const values = requirements.flatMap((each) => (each.operator === "In" ? each.values : []));
  return values.filter((value) => value !== "").join("-") || "pods";
}

function distinct(name: string, taken: Set<string>): string {
  let text = name;
  for (let number = 2; taken.has(text); number += 1) text = `${name}-${number}`;
  taken.add(text);
  return text;
}
