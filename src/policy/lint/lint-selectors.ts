// Selectors that match none of the pods and namespaces that are given, or none ever.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { isSelectable, keyOf, NAMESPACE_NAME_LABEL, type Pod } from "../../model/cluster.ts";
import type { Policy } from "../../model/network-policy.ts";
import { matches, type Selector } from "../../model/selector.ts";
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
import { type Labelled, mismatchOf } from "./nearest.ts";
import { contradiction } from "./rule-coverage.ts";

export function selectorFindings(world: World, policy: Policy): readonly Finding[] {
  const subject: Path = ["spec", "podSelector"];
  return [
    ...(impossible(policy, policy.subject, subject) ?? subjectFinding(world, policy, subject)),
    ...DIRECTIONS.flatMap((direction) => peerFindings(world, policy, direction)),
  ];
}

/** A finding where the selector contradicts itself, else undefined. */
function impossible(policy: Policy, selector: Selector, path: Path): readonly Finding[] | undefined {
  // Of values that no label can have the parser has told.
  if (neverMatches(selector)) return [];
  const key = contradiction(selector);
  if (key === undefined) return undefined;
  const reason = `no labels can meet it: its requirements of the label ${key} contradict each other`;
  const fix = "take one of them out; requirements of a selector must all hold";
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
    return found(path, outOfReach(out), "policies have no hold on such pods: select others");
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
  /** The namespaces that count. */
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
