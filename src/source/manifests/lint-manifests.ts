// Reads manifests for linting: besides their content, the position of each policy's fields in the text, and which
// warnings its author has silenced.

import { resolve } from "node:path";
import { codeOf } from "../../base/errors.ts";
import { keyOf, type Pod } from "../../model/cluster.ts";
import type { Problem, WarningCode } from "../../model/problem.ts";
import { Issues, isMap, valueAt, visible } from "../parse/fields.ts";
import type { FieldPath, ParsedObject, Place } from "../parse/parse-document.ts";
import { parsePod } from "../parse/parse-pod.ts";
import { assemble, type ManifestsReading } from "./assemble-cluster.ts";
import { type Silence, silenceOf } from "./lint-ignores.ts";
import { type FileText, listManifests, systemReason, textOfFile } from "./manifest-files.ts";
import {
  type DocumentReading,
  type FileReading,
  failedReading,
  readAll,
  readText,
} from "./manifest-reading.ts";

/** The text of one policy. Paths are from the policy's own root. */
export interface PolicyText {
  /** The position of the field, or of the nearest thing around it that is there. */
  readonly where: (path: FieldPath) => Place;
  /** Whether there is something at the path, null included. */
  readonly writes: (path: FieldPath) => boolean;
  /** Codes of warnings that a comment or an annotation silences. */
  readonly ignored: ReadonlySet<WarningCode>;
}

export interface LintReading {
  /** Without the warnings that are silenced. */
  readonly reading: ManifestsReading;
  /** The names of the files, as problems have them. */
  readonly files: readonly string[];
  /** How many NetworkPolicies there are, those that cannot be read included. */
  readonly policies: number;
  /** By `namespace/name`, of those that are there once. */
  readonly texts: ReadonlyMap<string, PolicyText>;
  /** Pods that workloads would make. */
  readonly templates: readonly Pod[];
}

/** A path to a file or directory, or a text that was read already (or why it could not be), with a name for it. */
export type LintInput = string | { readonly name: string; readonly content: FileText };

/** The content of one file, silenced warnings left out. */
interface Outcome {
  readonly reading: FileReading;
  /** By the object of a policy. */
  readonly texts: ReadonlyMap<ParsedObject, PolicyText>;
  readonly templates: readonly Pod[];
}

/** Reads each file once, however often it is named. Never throws: what cannot be read is a Problem. */
export async function readForLint(inputs: readonly LintInput[]): Promise<LintReading> {
  const problems: Problem[] = [];
  const outcomes = new Map<string, Outcome>();
  for (const input of inputs) {
    if (typeof input !== "string") {
      outcomes.set(input.name, outcomeOf(input.name, input.content));
      continue;
    }
    const files = await manifestsAt(input, problems);
    for (const file of files) {
      const key = resolve(file);
      if (!outcomes.has(key)) outcomes.set(key, outcomeOf(file, await textOfFile(file)));
    }
  }
  return together([...outcomes.values()], problems);
}

async function manifestsAt(path: string, problems: Problem[]): Promise<readonly string[]> {
  try {
    return await listManifests(path);
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    const reason = `cannot be read: ${systemReason(error)}`;
    problems.push({ severity: "error", file: visible(path), reason });
    return [];
  }
}

function together(outcomes: readonly Outcome[], problems: readonly Problem[]): LintReading {
  const reading = assemble(
    outcomes.map((outcome) => outcome.reading),
    problems,
  );
  const texts = new Map<string, PolicyText>();
  let policies = 0;
  for (const outcome of outcomes) {
    for (const object of outcome.reading.objects) {
      if (object.kind !== "NetworkPolicy" && object.kind !== "ClusterNetworkPolicy") continue;
      policies += 1;
      const text = outcome.texts.get(object);
      if (object.kind === "ClusterNetworkPolicy") {
        const { name } = object.value;
        if (text && reading.cluster.clusterPolicies?.get(name) === object.value) texts.set(name, text);
        continue;
      }
      // The cluster holds another value where a policy is there twice.
      const key = object.value && keyOf(object.value);
      if (text && key !== undefined && reading.cluster.policies.get(key) === object.value)
        texts.set(key, text);
    }
  }
  return {
    reading,
    files: outcomes.map((outcome) => outcome.reading.file),
    policies,
    texts,
    templates: outcomes.flatMap((outcome) => outcome.templates),
  };
}

function outcomeOf(file: string, content: FileText): Outcome {
  if (!content.ok) return { reading: failedReading(file, content.reason), texts: new Map(), templates: [] };
  const documents: DocumentReading[] = [];
  const whole = readAll(readText(file, content.text, (document) => documents.push(document)));
  const silence = silenceOf(whole, documents, content.text);
  const texts = new Map<ParsedObject, PolicyText>();
  const objects = documents.flatMap((document) =>
    document.objects.map((object) => {
      const { line } = object.place;
      const audible = {
        ...object,
        problems: silence.filter(object.problems, line),
        ignored: silence.at(line),
      };
      if (object.kind === "NetworkPolicy" || object.kind === "ClusterNetworkPolicy")
        texts.set(audible, textOf(object, document, silence));
      return audible;
    }),
  );
  const problems = whole.problems.flatMap((problem) => silence.filter([problem], problem.line));
  const templates = documents.flatMap((document) => templatePods(document.value));
  return { reading: { ...whole, objects, problems: [...problems, ...silence.problems] }, texts, templates };
}

function textOf(object: ParsedObject, document: DocumentReading, silence: Silence): PolicyText {
  const root = (path: FieldPath): FieldPath => [...object.path, ...path];
  return {
    where: (path) => document.where(root(path)),
    writes: (path) => valueAt(document.value, root(path)) !== undefined,
    ignored: silence.at(object.place.line),
  };
}

// Pods that a manifest does not list but describes: the templates of Deployments, Jobs and whatever else makes pods.

/**
 * One pod, without addresses, for each pod template in a document or in the elements of its list. Any kind counts that
 * keeps its template where the API's own workloads do. Mistakes in it are not a policy's and are not reported.
 */
export function templatePods(document: unknown): readonly Pod[] {
  const items = valueAt(document, ["items"]);
  return (Array.isArray(items) ? items : [document]).flatMap((object: unknown) => podOf(object) ?? []);
}

function podOf(object: unknown): Pod | undefined {
  const jobs = valueAt(object, ["spec", "jobTemplate"]);
  const template = valueAt(jobs ?? object, ["spec", "template"]);
  const podSpec = valueAt(template, ["spec"]);
  if (!isMap(podSpec) || !Array.isArray(podSpec["containers"])) return undefined;
  const value = {
    metadata: {
      name: valueAt(object, ["metadata", "name"]),
      namespace: valueAt(object, ["metadata", "namespace"]),
      labels: valueAt(template, ["metadata", "labels"]),
    },
    spec: podSpec,
  };
  return parsePod({ value, path: [], issues: new Issues(), nullIsMissing: true });
}
