// A policy described: what it says, and what it selects.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { isSelectable, keyOf, type Pod } from "../../model/cluster.ts";
import type { Policy } from "../../model/network-policy.ts";
import { matches, selectorText } from "../../model/selector.ts";
import type { EndpointState } from "../../observe/api-views.ts";
import { left, tableText } from "../../observe/table.ts";
import { printable } from "../../observe/text-output.ts";
import type { Situation } from "../query-cluster.ts";
import { factLine, type RuleReport, ruleReport, rulesLines, subjectText } from "./rules.ts";

export interface SelectedPod {
  readonly name: string;
  readonly addresses: readonly string[];
  /** The agent's view; missing with manifests. */
  readonly state?: PodState;
}

export type PodState = EndpointState | "not on this node";

export interface PolicyReport {
  readonly namespace: string;
  readonly name: string;
  /** `FILE:LINE`, where it was read from a file. */
  readonly at?: string;
  /** In kubectl's notation; "" selects every pod. */
  readonly selector: string;
  readonly types: readonly Direction[];
  readonly ingress: readonly RuleReport[];
  readonly egress: readonly RuleReport[];
  /** Why it isolates its pods and allows nothing. */
  readonly unreadable?: string;
  /** What of its rules cannot be read, and so allows nothing. */
  readonly omitted?: string;
  readonly pods: readonly SelectedPod[];
}

export function policyReport(policy: Policy, { after: cluster, live, where }: Situation): PolicyReport {
  const { namespace, name, subject, isolates, rules, unreadable, omitted } = policy;
  const at = where(keyOf(policy), []);
  const pods = [...cluster.pods.values()]
    .filter((pod) => pod.namespace === namespace && isSelectable(pod) && matches(subject, pod.labels))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    namespace,
    name,
    ...(at === undefined ? {} : { at }),
    selector: selectorText(subject),
    types: DIRECTIONS.filter((direction) => isolates[direction]),
    ingress: rules.ingress.map(ruleReport),
    egress: rules.egress.map(ruleReport),
    ...(unreadable === undefined ? {} : { unreadable }),
    ...(omitted === undefined ? {} : { omitted }),
    pods: pods.map((pod) => ({
      name: keyOf(pod),
      addresses: pod.ips.map(({ text }) => text),
      ...(live === undefined ? {} : { state: stateOf(pod, live.endpoints) }),
    })),
  };
}

export const stateOf = (pod: Pod, endpoints: NonNullable<Situation["live"]>["endpoints"]): PodState =>
  endpoints.find((each) => keyOf(each) === keyOf(pod))?.state ?? "not on this node";

export function policyText(report: PolicyReport, policy: Policy): string {
  const lines = [
    factLine("Name", report.name),
    factLine("Namespace", report.namespace),
    ...(report.at === undefined ? [] : [factLine("Read from", report.at)]),
    ...(report.unreadable === undefined
      ? []
      : [factLine("Unreadable", `${report.unreadable}; it isolates its pods and allows nothing`)]),
    ...(report.omitted === undefined
      ? []
      : [factLine("Left out", `${report.omitted}; it allows nothing, all else counts`)]),
    "Spec:",
    `  PodSelector:     ${subjectText(policy.subject)}`,
    ...DIRECTIONS.flatMap((direction) => directionLines(report, direction)),
    `  Policy Types: ${report.types.map(titleOf).join(", ")}`,
    ...(report.pods.length === 0 ? ["Pods:         <none>"] : ["Pods:"]),
  ];
  return `${lines.map((line) => `${printable(line)}\n`).join("")}${podsText(report.pods)}`;
}

const titleOf = (direction: Direction): string => (direction === "ingress" ? "Ingress" : "Egress");

function directionLines(report: PolicyReport, direction: Direction): string[] {
  if (!report.types.includes(direction)) return [`  Not affecting ${direction} traffic`];
  // What could be read of the rules does not count.
  const rules =
    report.unreadable === undefined
      ? rulesLines(report[direction], direction, "    ")
      : ["    <none> (the policy cannot be read)"];
  return [`  Allowing ${direction} traffic:`, ...rules];
}

function podsText(pods: readonly SelectedPod[]): string {
  if (pods.length === 0) return "";
  const isLive = pods.some(({ state }) => state !== undefined);
  const table = {
    columns: ["  NAME", "ADDRESSES", ...(isLive ? ["STATE"] : [])].map(left),
    rows: pods.map(({ name, addresses, state }) => [
      `  ${name}`,
      addresses.join(","),
      ...(state === undefined ? [] : [state]),
    ]),
  };
  return tableText(table);
}
