// Lint: selectors that match nothing, and the nearest label.

import { assertNever } from "../../base/assert.ts";
import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { distance } from "../../base/nearest-word.ts";
import { isSelectable, keyOf, NAMESPACE_NAME_LABEL, type Pod } from "../../model/cluster.ts";
import type { Policy } from "../../model/network-policy.ts";
import { type Labels, matches, type Requirement, type Selector, selectorText } from "../../model/selector.ts";
import {
  type Finding,
  isGiven,
  namespacesOf,
  type Path,
  type PodsPeer,
  peerPath,
  podNames,
  selectableIn,
  selectedBy,
  type World,
} from "./lint-input.ts";
import { contradiction } from "./rule-coverage.ts";

// Selectors that match none of the pods and namespaces that are given, or none ever.

export function selectorFindings(world: World, policy: Policy): readonly Finding[] {
  const subject: Path = ["spec", "podSelector"];
  return [
    ...(impossible(policy, policy.subject, subject) ?? subjectFinding(world, policy, subject)),
    ...DIRECTIONS.flatMap((direction) => peerFindings(world, policy, direction)),
  ];
}

/** A finding if the selector contradicts itself, else undefined. */
function impossible(policy: Policy, selector: Selector, path: Path): readonly Finding[] | undefined {
  // The parser has reported values that no label can have.
  if (neverMatches(selector)) return [];
  const key = contradiction(selector);
  if (key === undefined) return undefined;
  const reason = `no labels can meet it: its requirements of the label ${key} contradict each other`;
  const fix = "remove one of them; all requirements of a selector must hold";
  return [{ code: "selector-impossible", policy, path, reason, fix }];
}

/** Whether all values of a requirement are such that no label can have them. */
const neverMatches = ({ requirements }: Selector): boolean =>
  requirements.some((each) => each.operator === "In" && each.values.length === 0);

function subjectFinding(world: World, policy: Policy, path: Path): readonly Finding[] {
  const { namespace, subject } = policy;
  if (world.podsIn.size === 0 || selectedBy(world, policy).length > 0) return [];
  const inNamespace = world.podsIn.get(namespace) ?? [];
  const found = (at: Path, reason: string, fix: string): readonly Finding[] => [
    { code: "no-pod-selected", policy, path: at, reason, fix },
  ];
  if (inNamespace.length === 0) {
    const elsewhere = [...world.podsIn].filter(([, pods]) =>
      pods.some((pod) => matches(subject, pod.labels)),
    );
    const names = (elsewhere.length > 0 ? elsewhere : [...world.podsIn]).map(([name]) => name).sort();
    const what = elsewhere.length > 0 ? "pods that it would select are" : "pods are";
    const reason = `there is no pod in namespace ${namespace}; ${what} in ${namesText(names)}`;
    const fix = "a policy selects pods of its own namespace only: correct metadata.namespace";
    return found(["metadata", "namespace"], reason, fix);
  }
  const out = inNamespace.filter((pod) => matches(subject, pod.labels) && !isSelectable(pod));
  if (out.length > 0)
    return found(path, outOfReach(out), "policies do not apply to such pods; select others");
  const { reason, fix } = mismatchOf(subject, labelled(inNamespace), `pod in namespace ${namespace}`);
  return found(path, `selects no pod: ${reason}`, fix);
}

const outOfReach = (pods: readonly Pod[]): string =>
  `selects only pods that are on the host's network or have finished (${podNames(pods)})`;

function peerFindings(world: World, policy: Policy, direction: Direction): readonly Finding[] {
  return policy.rules[direction].flatMap(({ peers }, rule) => {
    if (peers === "anyone") return [];
    return peers.flatMap((peer, index) =>
      peer.kind === "pods" ? podsFindings(world, policy, peer, peerPath(direction, rule, index)) : [],
    );
  });
}

function podsFindings(world: World, policy: Policy, peer: PodsPeer, path: Path): readonly Finding[] {
  const podsPath = [...path, "podSelector"];
  const namespacesPath = [...path, "namespaceSelector"];
  const never = [
    ...((peer.namespaces && impossible(policy, peer.namespaces, namespacesPath)) ?? []),
    ...(impossible(policy, peer.pods, podsPath) ?? []),
  ];
  if (never.length > 0 || neverMatches(peer.pods) || (peer.namespaces && neverMatches(peer.namespaces)))
    return never;
  const names = namespacesOf(world, policy, peer);
  if (names.length === 0) return namespaceFinding(world, policy, peer, namespacesPath);
  return podFinding(world, policy, { peer, path: podsPath, names });
}

function namespaceFinding(
  world: World,
  policy: Policy,
  { namespaces }: PodsPeer,
  path: Path,
): readonly Finding[] {
  if (!world.givesNamespaces || namespaces === undefined) return [];
  const candidates = [...world.namespaces.values()].filter(({ name }) => isGiven(world, name));
  const { reason, fix } = mismatchOf(namespaces, candidates, "namespace");
  return [{ code: "no-namespace-matched", policy, path, reason: `matches no namespace: ${reason}`, fix }];
}

interface PodsQuestion {
  readonly peer: PodsPeer;
  readonly path: Path;
  /** The namespaces to search. */
  readonly names: readonly string[];
}

function podFinding(world: World, policy: Policy, { peer, path, names }: PodsQuestion): readonly Finding[] {
  const given = names.filter((name) => isGiven(world, name));
  const hasPods = given.some((name) => world.podsIn.has(name));
  // Without objects there is no finding; a policy's namespace without pods is reported for its podSelector.
  if (world.podsIn.size === 0 || given.length === 0 || peer.pods.requirements.length === 0) return [];
  if (peer.namespaces === undefined && !hasPods) return [];
  const fits = (pod: Pod): boolean => matches(peer.pods, pod.labels);
  if (given.some((name) => selectableIn(world, name).some(fits))) return [];
  if (world.assumed.some((pod) => names.includes(pod.namespace) && fits(pod))) return [];
  const inThem = given.flatMap((name) => world.podsIn.get(name) ?? []);
  const found = (reason: string, fix: string): readonly Finding[] => [
    { code: "no-pod-matched", policy, path, reason, fix },
  ];
  const out = inThem.filter(fits);
  if (out.length > 0)
    return found(outOfReach(out), "selectors never match such pods: write their addresses as ipBlock");
  const noun = `pod in ${given.length === 1 ? `namespace ${given[0]}` : `the namespaces ${namesText(given)}`}`;
  if (!hasPods) return found(`matches no pod: there is no ${noun}`, "correct the namespaceSelector");
  const elsewhere = elsewhereFits(world, policy, peer);
  if (elsewhere !== undefined) {
    const reason = `matches no pod in namespace ${policy.namespace}, but ${keyOf(elsewhere)}; without namespaceSelector only the policy's own namespace counts`;
    const label = `{ matchLabels: { ${NAMESPACE_NAME_LABEL}: ${elsewhere.namespace} } }`;
    return found(reason, `add namespaceSelector: ${label} to the same element`);
  }
  const { reason, fix } = mismatchOf(peer.pods, labelled(inThem), noun);
  return found(`matches no pod: ${reason}`, fix);
}

/** A pod of another namespace that a peer without namespaceSelector would match. */
function elsewhereFits(world: World, policy: Policy, { namespaces, pods }: PodsPeer): Pod | undefined {
  if (namespaces !== undefined) return undefined;
  const others = [...world.podsIn.keys()].filter((name) => name !== policy.namespace).sort();
  return others.flatMap((name) => selectableIn(world, name)).find((pod) => matches(pods, pod.labels));
}

const labelled = (pods: readonly Pod[]): readonly Labelled[] =>
  pods.map((pod) => ({ name: keyOf(pod), labels: pod.labels }));

const NAMES_SHOWN = 3;

function namesText(names: readonly string[]): string {
  const shown = names.slice(0, NAMES_SHOWN).join(", ");
  return names.length > NAMES_SHOWN ? `${shown}, ...` : shown;
}

// Why a selector matches none of a set of objects, and which of their labels is nearest to the one it requires.

export interface Labelled {
  readonly name: string;
  readonly labels: Labels;
}

export interface Mismatch {
  readonly reason: string;
  readonly fix: string;
}

const CORRECT = "correct the selector or the labels";

/** `noun` names the objects, as in "pod in namespace shop" and "namespace". */
export function mismatchOf(selector: Selector, candidates: readonly Labelled[], noun: string): Mismatch {
  const unmet = selector.requirements.find((each) => !candidates.some(({ labels }) => holds(each, labels)));
  return unmet === undefined ? neverTogether(selector, candidates, noun) : neverMet(unmet, candidates, noun);
}

const holds = (requirement: Requirement, labels: Labels): boolean =>
  matches({ requirements: [requirement] }, labels);

const textOf = (requirement: Requirement): string => selectorText({ requirements: [requirement] });

/** A requirement that none of them meets. */
function neverMet(requirement: Requirement, candidates: readonly Labelled[], noun: string): Mismatch {
  switch (requirement.operator) {
    case "In":
    case "Exists": {
      const values = requirement.operator === "In" ? requirement.values : [];
      const nearest = nearestLabel(requirement.key, values, candidates);
      const reason = `no ${noun} has the label ${textOf(requirement)}`;
      if (nearest === undefined) return { reason: `${reason}${keysText(candidates)}`, fix: CORRECT };
      const { key, value, holder } = nearest;
      const instead = requirement.operator === "In" ? `${key}: ${value || '""'}` : key;
      return {
        reason: `${reason}; the nearest is ${key}=${value} (${holder})`,
        fix: `write ${instead}, or correct the labels`,
      };
    }
    case "NotIn":
    case "DoesNotExist":
      return { reason: `every ${noun} fails the requirement ${textOf(requirement)}`, fix: CORRECT };
    default:
      return assertNever(requirement, "selector operator");
  }
}

/** Some object meets each requirement, but none meets all: the one that fails the fewest is shown. */
function neverTogether({ requirements }: Selector, candidates: readonly Labelled[], noun: string): Mismatch {
  const failures = candidates.map(({ name, labels }) => ({
    name,
    labels,
    failed: requirements.filter((each) => !holds(each, labels)),
  }));
  const best = failures.toSorted((a, b) => a.failed.length - b.failed.length)[0];
  const wanted = selectorText({ requirements });
  if (best === undefined) return { reason: `there is no ${noun}`, fix: CORRECT };
  const lacking = best.failed.map((each) => {
    const value = best.labels.get(each.key);
    return `${textOf(each)}${value === undefined ? "" : ` (it has ${each.key}=${value})`}`;
  });
  return {
    reason: `no ${noun} has all of ${wanted}; the nearest, ${best.name}, lacks ${lacking.join(" and ")}`,
    fix: CORRECT,
  };
}

interface NearLabel {
  readonly key: string;
  readonly value: string;
  /** The owner of the label. */
  readonly holder: string;
}

/**
 * The label nearest to `key` with one of the values (any, if the list is empty): a namespace's
 * own name, else the key with a value that is spelt almost alike, else a value under another key (the most similar one), else the key, else a key spelt almost alike.
 */
function nearestLabel(
  key: string,
  values: readonly string[],
  candidates: readonly Labelled[],
): NearLabel | undefined {
  const rank = (label: NearLabel): number | undefined => {
    const keyDistance = distance(key, label.key);
    const valueDistance = Math.min(FAR, ...values.map((value) => distance(value, label.value)));
    // A value that is a namespace's name was likely meant as one.
    if (valueDistance === 0 && label.key === NAMESPACE_NAME_LABEL) return -1;
    if (keyDistance === 0 && valueDistance <= MISSPELT_MAX) return valueDistance;
    if (valueDistance === 0) return FAR + keyDistance;
    if (keyDistance === 0) return 2 * FAR + valueDistance;
    return keyDistance <= MISSPELT_MAX && keyDistance < key.length ? 4 * FAR + keyDistance : undefined;
  };
  const ranked = labelsOf(candidates).flatMap((label) => {
    const place = rank(label);
    return place === undefined ? [] : [{ ...label, place }];
  });
  return ranked.toSorted((x, y) => x.place - y.place)[0];
}

/** Each label once, from the first object that has it. */
function labelsOf(candidates: readonly Labelled[]): readonly NearLabel[] {
  const labels = new Map<string, NearLabel>();
  for (const candidate of candidates)
    for (const [key, value] of candidate.labels) {
      const text = `${key}=${value}`;
      if (!labels.has(text)) labels.set(text, { key, value, holder: candidate.name });
    }
  return [...labels.values()];
}

/** The number of letters by which a misspelt word may differ. */
const MISSPELT_MAX = 2;
const FAR = 1_000;
const KEYS_SHOWN = 5;

function keysText(candidates: readonly Labelled[]): string {
  const keys = [...new Set(candidates.flatMap(({ labels }) => [...labels.keys()]))].sort();
  if (keys.length === 0) return "; there are no labels";
  const shown = keys.slice(0, KEYS_SHOWN).join(", ");
  return `; there are labels ${shown}${keys.length > KEYS_SHOWN ? ", ..." : ""}`;
}
