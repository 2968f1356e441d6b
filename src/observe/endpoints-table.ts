// `weir get endpoints`: the node's pods, what isolates them and whether that is enforced.

import { countText, left, right, someOf, spare, type Table } from "./text-output.ts";

/** One direction of an endpoint. Only the agent has `isolatedBy`; the kernel also has the policy's number. */
export interface EndpointSide {
  readonly isolatedBy?: readonly string[];
  readonly clusterPolicies?: readonly string[];
  readonly policy: number;
  /** Everything is denied, by no policy. */
  readonly closed?: boolean;
  readonly audit?: boolean;
}

export interface Counts {
  readonly packets: number | bigint;
  readonly bytes: number | bigint;
}

/** Sum of an endpoint's counters in one direction. */
export interface Traffic {
  readonly allowed: Counts;
  readonly dropped: Counts;
}

/**
 * An endpoint as reported by the agent (an EndpointView fits), or read from the kernel alone: without a pod.
 */
export interface EndpointRow {
  readonly namespace?: string;
  readonly name?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
  readonly state: string;
  readonly until?: string;
  readonly retained?: { readonly since: string; readonly why: string };
  readonly sealed?: string;
  readonly rivals?: readonly string[];
  readonly id?: number;
  readonly interface?: string;
  readonly ifindex?: number;
  readonly hooks?: { readonly ingress?: string; readonly egress?: string };
  readonly ingress: EndpointSide;
  readonly egress: EndpointSide;
  readonly traffic?: { readonly ingress: Traffic; readonly egress: Traffic };
}

const POLICIES_SHOWN_MAX = 5;

const COLUMNS = [
  ...["NAMESPACE", "POD"].map(left),
  spare("INTERFACE", 2),
  spare("ID", 3),
  spare("ADDRESSES", 1),
  ...["INGRESS", "EGRESS", "STATE"].map(left),
];
const WIDE_COLUMNS = [
  ...["IFINDEX", "HOOKS"].map(left),
  ...["IN-ALLOWED", "IN-DROPPED", "OUT-ALLOWED", "OUT-DROPPED"].map(right),
];

/** `wide` adds the interface's index and the packets that passed and that were dropped, to the pod (IN) and from it (OUT). */
export function endpointsTable(rows: readonly EndpointRow[], wide: boolean): Table {
  return {
    columns: wide ? [...COLUMNS, ...WIDE_COLUMNS] : COLUMNS,
    rows: rows.map((row) => (wide ? [...cells(row), ...wideCells(row)] : cells(row))),
  };
}

const cells = (row: EndpointRow): string[] => [
  row.namespace ?? "",
  [row.name ?? "", ...(row.rivals ?? [])].join(","),
  row.interface ?? "",
  row.id?.toString() ?? "",
  row.addresses.join(","),
  sideText(row, row.ingress),
  sideText(row, row.egress),
  stateText(row),
];

/** "enforced", "OFF until 2026-01-01T00:00:00Z", or "retained since 2026-01-01T00:00:00Z: its object was deleted". */
function stateText({ state, retained, sealed, until }: EndpointRow): string {
  const timeText = (time: string): string => time.replace(/\.\d+Z$/, "Z");
  if (state === "off" && until !== undefined) return `OFF until ${timeText(until)}`;
  if (retained !== undefined) return `${state} since ${timeText(retained.since)}: ${retained.why}`;
  return sealed === undefined ? state : `${state}: ${sealed}`;
}

const wideCells = ({ ifindex, hooks, traffic }: EndpointRow): string[] => [
  ifindex?.toString() ?? "",
  hooksText(hooks),
  ...[
    traffic?.ingress.allowed,
    traffic?.ingress.dropped,
    traffic?.egress.allowed,
    traffic?.egress.dropped,
  ].map((counts) => counts?.packets.toString() ?? ""),
];

/** One word if both directions have the same hook, else "tcx/xdp": to the pod, from the pod. */
function hooksText({ ingress = "", egress = "" }: NonNullable<EndpointRow["hooks"]> = {}): string {
  return ingress === egress ? ingress : `${ingress}/${egress}`;
}

/**
 * "open", or what isolates the pod, after "audit:" if that only reports; policies of its own namespace (in
 * NetworkPolicy: all) by their bare names.
 */
function sideText({ namespace }: EndpointRow, side: EndpointSide): string {
  const { isolatedBy, clusterPolicies = [], policy, closed, audit } = side;
  const mode = audit === true ? "audit:" : "";
  if (closed === true) return `${mode}all denied`;
  if (isolatedBy === undefined) return policy === 0 ? "open" : `${mode}policy ${policy}`;
  const tiers = clusterPolicies.map((name) => `cluster:${name}`);
  if (isolatedBy.length === 0 && tiers.length === 0) return "open";
  const own = `${namespace}/`;
  const names = isolatedBy.map((name) => (name.startsWith(own) ? name.slice(own.length) : name));
  // The pod is open but for what cluster policies deny.
  if (names.length === 0) names.push("open");
  return mode + someOf([...names, ...tiers], POLICIES_SHOWN_MAX, ",");
}

/** `namespace/pod` of each, one line each: what `--pod` takes. */
export const endpointNames = (rows: readonly EndpointRow[]): string =>
  rows
    .map(({ namespace, name, ifindex }) => (name === undefined ? `${ifindex}\n` : `${namespace}/${name}\n`))
    .join("");

/** "3 endpoints, 2 isolated for ingress, 1 for egress". */
export function isolationText(rows: readonly EndpointRow[]): string {
  const isolated = (direction: "ingress" | "egress"): number =>
    rows.filter(({ [direction]: { isolatedBy, closed, policy } }) =>
      isolatedBy === undefined ? policy !== 0 : isolatedBy.length > 0 || closed === true,
    ).length;
  return `${countText(rows.length, "endpoint")}, ${isolated("ingress")} isolated for ingress, ${isolated("egress")} for egress`;
}
