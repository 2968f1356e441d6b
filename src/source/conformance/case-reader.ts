// A conformance case (format np-conformance/1) from the text of a file, YAML or JSON, to plain data or Problems.

import type { Family } from "../../base/ip.ts";
import type { Problem } from "../../model/problem.ts";
import { readYaml } from "../manifests/yaml-reader.ts";
import {
  child,
  type Field,
  type FieldPath,
  type Fields,
  fieldsOf,
  type Issue,
  Issues,
  note,
  type Place,
  pathText,
  quote,
  stringOf,
} from "../parse/fields.ts";
import { applyAction, type Situation } from "./case-actions.ts";
import { familiesOf, listOf, parseSetting, required, type Setting } from "./case-cluster.ts";
import { parseExpected } from "./case-expectations.ts";
import type { Case, Step } from "./case-types.ts";

const FORMAT = "np-conformance/1";
const CASE_FIELDS = ["format", "id", "name", "source", "tags", "features", "notes", "cluster", "steps"];
const SOURCE_FIELDS = ["project", "commit", "file", "licence", "truth"];
const SOURCE_REQUIRED = ["project", "licence", "truth"];
const STEP_FIELDS = ["name", "actions", "probe", "expected"];
const PROBE_FIELDS = ["mode", "all", "port", "protocol", "ports", "ipFamily", "withinSeconds"];
const EFFECT = "the case is not run";

export interface ReadCase {
  /** Undefined where there is any error: half a case would prove less than it states. */
  readonly case: Case | undefined;
  readonly problems: readonly Problem[];
}

/** Reads the text of one file; `file` is its name in Problems. JSON is read as the YAML that it is. */
export function readCase(text: string, file: string): ReadCase {
  const [document, another] = readYaml(text);
  if (document === undefined) return refused({ file, reason: "is empty; expected a case" });
  if (!document.ok) {
    const problems = document.errors.map(({ place, reason }) => refusal({ file, ...place, reason }));
    return { case: undefined, problems };
  }
  if (another !== undefined)
    return refused({ file, reason: "holds more than one document; expected one case" });
  const issues = new Issues(document.flaws);
  const parsed = parseCase({ value: document.value, path: [], issues, nullIsMissing: false });
  const problems = [...issues].map((issue) => problemOf(issue, file, document.where));
  return { case: problems.some(({ severity }) => severity === "error") ? undefined : parsed, problems };
}

type Refusal = Pick<Problem, "file" | "line" | "column" | "reason">;

const refusal = (facts: Refusal): Problem => ({ severity: "error", ...facts, effect: EFFECT });

const refused = (facts: Refusal): ReadCase => ({ case: undefined, problems: [refusal(facts)] });

function problemOf(issue: Issue, file: string, where: (path: FieldPath) => Place): Problem {
  const { severity, reason } = issue;
  const path = pathText(issue.path);
  return {
    severity,
    file,
    ...(issue.place ?? where(issue.path)),
    ...(path === "" ? {} : { path }),
    reason,
    ...(severity === "error" ? { effect: EFFECT } : {}),
  };
}

/** Undefined, with issues, where what every case has is missing; else only the issues show whether the rest is valid. */
function parseCase(field: Field): Case | undefined {
  const fields = fieldsOf(field, CASE_FIELDS);
  const format = required(field, fields, "format");
  if (format !== undefined && format.value !== FORMAT) note(format, `expected ${FORMAT}`);
  checkSource(required(field, fields, "source"));
  const id = textOf(required(field, fields, "id"));
  const name = textOf(required(field, fields, "name"));
  const features = textsOf(required(field, fields, "features"));
  const cluster = required(field, fields, "cluster");
  const steps = required(field, fields, "steps");
  if (fields === undefined || cluster === undefined || steps === undefined) return undefined;
  const setting = parseSetting(cluster);
  return {
    id,
    name,
    tags: textsOf(fields.get("tags")),
    features,
    notes: textsOf(fields.get("notes")),
    families: setting.families,
    places: setting.places,
    dns: setting.dns,
    steps: parseSteps(steps, setting),
  };
}

function checkSource(field: Field | undefined): void {
  const fields = field && fieldsOf(field, SOURCE_FIELDS);
  for (const key of SOURCE_REQUIRED) if (field !== undefined) required(field, fields, key);
  for (const item of fields?.values() ?? []) stringOf(item);
}

const textOf = (field: Field | undefined): string => (field && stringOf(field)) ?? "";

const textsOf = (field: Field | undefined): readonly string[] => listOf(field).map(textOf);

function parseSteps(field: Field, setting: Setting): readonly Step[] {
  const items = listOf(field);
  if (items.length === 0) note(field, "has no step");
  let situation: Situation = { cluster: setting.cluster, manifests: new Map() };
  return items.map((item, index) => {
    const fields = fieldsOf(item, STEP_FIELDS);
    for (const action of listOf(required(item, fields, "actions"))) {
      situation = applyAction(situation, action, setting.families);
    }
    const families = probedFamilies(item, fields, setting.families);
    const expected = required(item, fields, "expected");
    const name = textOf(fields?.get("name"));
    const { places, dns } = setting;
    const endpoints = { cluster: situation.cluster, places, dns, families };
    return {
      title: `step ${index + 1}${name === "" ? "" : ` (${name})`}`,
      ...situation,
      cells: expected === undefined ? [] : parseExpected(expected, endpoints),
    };
  });
}

/** Of `probe` only ipFamily matters here: it can narrow a step of a dual-stack case down to one family. */
function probedFamilies(
  step: Field,
  fields: Fields | undefined,
  families: readonly Family[],
): readonly Family[] {
  const probe = required(step, fields, "probe");
  const probeFields = probe && fieldsOf(probe, PROBE_FIELDS);
  if (probe !== undefined) required(probe, probeFields, "mode");
  const family = probeFields?.get("ipFamily");
  if (family === undefined) return families;
  const probed = familiesOf(family).filter((each) => families.includes(each));
  if (probed.length === 0)
    note(child(probe ?? step, "ipFamily"), `${quote(String(family.value))} is not of the cluster's ipFamily`);
  return probed;
}
