// What `weir lint` has to say about a set of manifests: the parser's problems and the rules' findings, each with its place.

import { keyOf } from "../model/cluster.ts";
import type { ClusterPolicy } from "../model/cluster-network-policy.ts";
import type { Policy } from "../model/network-policy.ts";
import type { Problem } from "../model/problem.ts";
import { printable } from "../observe/text-output.ts";
import { type Finding, lintPolicies } from "../policy/lint/lint-policies.ts";
import { type LintInput, type PolicyText, readForLint } from "../source/manifests/lint-manifests.ts";
import { textOfStream } from "../source/manifests/manifest-files.ts";
import { pathText } from "../source/parse/fields.ts";

export interface Report {
  readonly files: number;
  readonly policies: number;
  /** In the order of the files, and of the lines in each. */
  readonly problems: readonly Problem[];
}

export const countOf = ({ problems }: Report, severity: Problem["severity"]): number =>
  problems.filter((problem) => problem.severity === severity).length;

const STDIN_NAME = "<stdin>";

/** Reads and lints paths as one set; "-" is the standard input. */
export async function lintManifests(
  paths: readonly string[],
  stdin: () => AsyncIterable<Uint8Array>,
): Promise<Report> {
  const inputs: LintInput[] = [];
  for (const path of new Set(paths)) {
    inputs.push(path === "-" ? { name: STDIN_NAME, content: await textOfStream(stdin()) } : path);
  }
  const read = await readForLint(inputs);
  const { cluster, problems } = read.reading;
  const textOf = (policy: Policy | ClusterPolicy) => read.texts.get(nameOf(policy));
  const findings = lintPolicies({
    cluster,
    templates: read.templates,
    writes: (policy, path) => textOf(policy)?.writes(path) ?? false,
    ignores: (policy, code) => textOf(policy)?.ignored.has(code) ?? false,
  });
  const warnings = findings.map((finding) => warningOf(finding, textOf(finding.policy)));
  const all = inOrder([...problems, ...warnings], read.files);
  return { files: read.files.length, policies: read.policies, problems: all };
}

/** `namespace/name`, of a cluster policy its name. */
const nameOf = (policy: Policy | ClusterPolicy): string => ("tier" in policy ? policy.name : keyOf(policy));

function warningOf({ code, policy, path, reason, fix }: Finding, text: PolicyText | undefined): Problem {
  const object = `${"tier" in policy ? "ClusterNetworkPolicy" : "NetworkPolicy"} ${nameOf(policy)}`;
  return { severity: "warning", code, ...text?.where(path), object, path: pathText(path), reason, fix };
}

/** By file, those first that are about none of them; then by line and column. */
function inOrder(problems: readonly Problem[], files: readonly string[]): readonly Problem[] {
  const order = new Map<string | undefined, number>(files.map((file, index) => [file, index]));
  const key = ({ file, line = 0, column = 0 }: Problem) => [order.get(file) ?? -1, line, column] as const;
  return problems.toSorted((a, b) => {
    const [x, y] = [key(a), key(b)];
    return x[0] - y[0] || x[1] - y[1] || x[2] - y[2];
  });
}

/** `FILE:LINE:COLUMN: SEVERITY: OBJECT: PATH: REASON; FIX [CODE]`, one line each, and a summary. */
export function reportText(report: Report): string {
  const lines = report.problems.map((problem) => `${printable(lineOf(problem))}\n`);
  const counts = `${countOf(report, "error")} errors, ${countOf(report, "warning")} warnings`;
  return `${lines.join("")}${counts} in ${report.files} files\n`;
}

function lineOf({ severity, file, line, column, object, path, reason, fix, effect, code }: Problem): string {
  const place = [file, line, column].filter((part) => part !== undefined).join(":");
  const head = [place, severity, object, path].filter((part) => part !== undefined && part !== "");
  const text = [...head, reason].join(": ");
  const end = code === undefined ? "" : ` [${code}]`;
  return [text, fix, effect].filter((part) => part !== undefined).join("; ") + end;
}

/** The report as data: of a problem, what is not known is not there. */
export function reportValue({ files, policies, problems }: Report): unknown {
  const allOf = (wanted: Problem["severity"]) =>
    problems.filter(({ severity }) => severity === wanted).map(plainOf);
  return { files, policies, errors: allOf("error"), warnings: allOf("warning") };
}

const plainOf = ({ severity: _, ...plain }: Problem): unknown => plain;
