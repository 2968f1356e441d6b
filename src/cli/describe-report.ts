// An endpoint described: the pod, where its packets cross the node, and what its policies allow.

import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { isSubject, keyOf, type Pod } from "../model/cluster.ts";
import type { HooksView, SideView } from "../observe/api-views.ts";
import { printable } from "../observe/text-output.ts";
import { policiesOn } from "../policy/subjects.ts";
import { type PodState, stateOf } from "./describe/policy.ts";
import { factLine, type RuleReport, ruleReport, rulesLines } from "./describe/rules.ts";
import type { Situation } from "./query-cluster.ts";

export interface SideReport {
  /** Everything is denied, by no policy. */
  readonly closed?: true;
  /** The policies that isolate the pod, each with its rules; none where it is not isolated. */
  readonly policies: readonly {
    readonly policy: string;
    readonly at?: string;
    readonly unreadable?: string;
    readonly rules: readonly RuleReport[];
  }[];
}

export interface EndpointReport {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
  /** As in "http: 8080/TCP". */
  readonly ports: readonly string[];
  /** Why policies cannot select it. */
  readonly exempt?: "host network" | "finished";
  /** The agent's view; missing with manifests. */
  readonly state?: PodState;
  /** Since when, and why, only the interface is left of the pod. */
  readonly retained?: { readonly since: string; readonly why: string };
  readonly interface?: string;
  readonly ifindex?: number;
  readonly id?: number;
  readonly hooks?: HooksView;
  readonly ingress: SideReport;
  readonly egress: SideReport;
}

export function endpointReport(pod: Pod, situation: Situation): EndpointReport {
  const endpoint = situation.live?.endpoints.find((each) => keyOf(each) === keyOf(pod));
  const { interface: link, ifindex, id, hooks, retained } = endpoint ?? {};
  return {
    namespace: pod.namespace,
    name: pod.name,
    labels: Object.fromEntries(pod.labels),
    addresses: pod.ips.map(({ text }) => text),
    ports: pod.ports.map(
      ({ name, port, protocol }) => `${name === undefined ? "" : `${name}: `}${port}/${protocol}`,
    ),
    ...(isSubject(pod)
      ? {}
      : { exempt: pod.hostNetwork ? ("host network" as const) : ("finished" as const) }),
    ...(situation.live === undefined ? {} : { state: stateOf(pod, situation.live.endpoints) }),
    ...(retained === undefined ? {} : { retained }),
    ...(link === undefined ? {} : { interface: link }),
    ...(ifindex === undefined ? {} : { ifindex }),
    ...(id === undefined ? {} : { id }),
    ...(hooks === undefined ? {} : { hooks }),
    ingress: { ...closedOf(endpoint?.ingress), ...sideReport(pod, "ingress", situation) },
    egress: { ...closedOf(endpoint?.egress), ...sideReport(pod, "egress", situation) },
  };
}

const closedOf = (side: SideView | undefined): Pick<SideReport, "closed"> =>
  side?.closed === true ? { closed: true } : {};

function sideReport(pod: Pod, direction: Direction, { after: cluster, where }: Situation): SideReport {
  const policies = policiesOn(cluster, pod, direction).map((policy) => {
    const at = where(keyOf(policy), []);
    return {
      policy: keyOf(policy),
      ...(at === undefined ? {} : { at }),
      ...(policy.unreadable === undefined ? {} : { unreadable: policy.unreadable }),
      rules: policy.rules[direction].map(ruleReport),
    };
  });
  return { policies };
}

export function endpointText(report: EndpointReport): string {
  const labels = Object.entries(report.labels).map(([key, value]) => `${key}=${value}`);
  const { interface: link, ifindex, id, hooks, state, retained, exempt } = report;
  const lines = [
    factLine("Name", report.name),
    factLine("Namespace", report.namespace),
    factLine("Labels", labels.sort().join(",")),
    factLine("Addresses", report.addresses.join(", ")),
    factLine("Ports", report.ports.join(", ")),
    ...(exempt === undefined ? [] : [factLine("Exempt", `${exempt}: policies do not select it`)]),
    ...(state === undefined ? [] : [factLine("State", stateText(state, retained))]),
    ...(link === undefined ? [] : [factLine("Interface", `${link} (index ${ifindex ?? "unknown"})`)]),
    ...(hooks === undefined ? [] : [factLine("Hooks", `ingress ${hooks.ingress}, egress ${hooks.egress}`)]),
    ...(id === undefined ? [] : [factLine("Endpoint", String(id))]),
    ...DIRECTIONS.flatMap((direction) => sideLines(report[direction], direction)),
  ];
  return lines.map((line) => `${printable(line)}\n`).join("");
}

const stateText = (state: PodState, retained: EndpointReport["retained"]): string =>
  retained === undefined ? state : `${state} since ${retained.since}: ${retained.why}`;

function sideLines({ closed, policies }: SideReport, direction: Direction): string[] {
  const title = direction === "ingress" ? "Ingress" : "Egress";
  if (closed === true) return [factLine(title, "isolated: everything is denied")];
  if (policies.length === 0) return [factLine(title, "not isolated")];
  return [
    factLine(title, `isolated by ${policies.map(({ policy }) => policy).join(", ")}`),
    ...policies.flatMap(({ policy, at, unreadable, rules }) => [
      `  ${policy}${at === undefined ? "" : ` (${at})`}:`,
      ...(unreadable === undefined
        ? rulesLines(rules, direction, "    ")
        : [`    <none> (unreadable: ${unreadable})`]),
    ]),
  ];
}
