// Why a selector matches none of a set of objects, and which of their labels is nearest to the one it requires.

import { assertNever } from "../../base/assert.ts";
import { distance } from "../../base/nearest-word.ts";
import { NAMESPACE_NAME_LABEL } from "../../model/cluster.ts";
import { type Labels, matches, type Requirement, type Selector, selectorText } from "../../model/selector.ts";

export interface Labelled {
  readonly name: string;
  readonly labels: Labels;
}

export interface Mismatch {
  readonly reason: string;
  readonly fix: string;
}

const CORRECT = "correct the selector or the labels";

/** `noun` is what the things are called, as in "pod in namespace shop" and "namespace". */
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

/** Each requirement is met by one, but all by none: the one that fails the fewest is shown. */
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
  /** Whose label it is. */
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
    // A value that is a namespace's name was meant as one.
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

/** Each label once, of the first that has it. */
function labelsOf(candidates: readonly Labelled[]): readonly NearLabel[] {
  const labels = new Map<string, NearLabel>();
  for (const candidate of candidates)
    for (const [key, value] of candidate.labels) {
      const text = `${key}=${value}`;
      if (!labels.has(text)) labels.set(text, { key, value, holder: candidate.name });
    }
  return [...labels.values()];
}

/** Letters that may differ in a word that was meant to be another one. */
const MISSPELT_MAX = 2;
const FAR = 1_000;
const KEYS_SHOWN = 5;

function keysText(candidates: readonly Labelled[]): string {
  const keys = [...new Set(candidates.flatMap(({ labels }) => [...labels.keys()]))].sort();
  if (keys.length === 0) return "; there are no labels";
  const shown = keys.slice(0, KEYS_SHOWN).join(", ");
  return `; there are labels ${shown}${keys.length > KEYS_SHOWN ? ", ..." : ""}`;
}
