// A verdict as a readable sentence.

import { assertNever } from "../base/assert.ts";
import type { Direction } from "../base/direction.ts";
import { EXCEEDS_TEXT, keyOf } from "../model/cluster.ts";
import { clusterPolicyText } from "../model/cluster-network-policy.ts";
import type { TierDecision } from "./cluster-policy-oracle.ts";
import {
  type Allowance,
  type Isolation,
  type Party,
  type Probe,
  permits,
  type SideVerdict,
  type Verdict,
} from "./oracle.ts";

/** The source's end first, in the order in which the packet passes them. */
const IN_ORDER: readonly Direction[] = ["egress", "ingress"];

/**
 * One line: "denied: " and every end that denies, or "allowed: " and the reason of each end, as in
 * "denied: ingress of alpha/nginx-1 is isolated by alpha/alpha-deny, nothing allows TCP/80 from beta/client".
 */
export const verdictText = (verdict: Verdict): string =>
  `${verdict.allowed ? "allowed" : "denied"}: ${reasonsText(verdict)}`;

/** The same without the word "allowed" or "denied". */
export function reasonsText(verdict: Verdict): string {
  const told = IN_ORDER.filter((direction) => verdict.allowed || !permits(verdict[direction]));
  const reasons = new Set(
    told.map((direction) => sideVerdictText(verdict[direction], direction, verdict.probe)),
  );
  return [...reasons].join("; ");
}

/** The reason of one end, without the word "allowed" or "denied". */
export function sideVerdictText(verdict: SideVerdict, direction: Direction, probe: Probe): string {
  const subject = direction === "ingress" ? probe.to : probe.from;
  const traffic = `${trafficText(probe)} ${direction === "ingress" ? "from" : "to"} ${partyText(
    direction === "ingress" ? probe.from : probe.to,
  )}`;
  const end = `${direction} of ${partyText(subject)}`;
  switch (verdict.kind) {
    case "not-applicable":
      return `${end} is not subject to policies${whyNotText(subject)}`;
    case "loopback":
      return `${partyText(subject)} always reaches itself`;
    case "not-isolated":
      return `${end} is not isolated`;
    case "allowed":
      return `${end}: ${traffic} is allowed by ${verdict.by.map((each) => allowanceText(each, direction)).join(", ")}`;
    case "accepted":
      return `${end}: ${traffic} is accepted by ${decisionText(verdict.by, direction)}`;
    case "audit":
      if (verdict.by !== undefined)
        return `${end}: ${traffic} is denied by ${decisionText(verdict.by, direction)} (audit), and passes`;
      return `${end} is isolated${isolationsText(verdict)}${sealedText(subject)} (audit), nothing allows ${traffic}, which passes`;
    case "denied":
      if (verdict.by !== undefined)
        return `${end}: ${traffic} is denied by ${decisionText(verdict.by, direction)}`;
      return `${end} is isolated${isolationsText(verdict)}${sealedText(subject)}, nothing allows ${traffic}`;
    default:
      return assertNever(verdict, "kind of verdict");
  }
}

const AMBIGUITY_TEXTS = {
  "link-local": "the link-local address may be that of a peer that it names",
  unspecified: "a peer that it names may send without an address",
  multicast: "peers that it names may receive what is sent to the multicast address",
  labels:
    "the peer may have the labels and port names that it names: they exceed its namespace's share of the agent's memory",
} as const;

/** As in "deny-metadata (Admin, priority 10) egress[0] \"imds\"". */
export function decisionText(by: TierDecision, direction: Direction): string {
  const name = by.ruleName === undefined ? "" : ` ${JSON.stringify(by.ruleName)}`;
  const why = by.unreadable === undefined ? "" : ` (which cannot be read: ${by.unreadable})`;
  const domain = by.domain === undefined ? "" : `, by the name ${by.domain}`;
  const link = by.byAmbiguity === undefined ? "" : `, as ${AMBIGUITY_TEXTS[by.byAmbiguity]}`;
  return `${clusterPolicyText({ ...by, name: by.policy })} ${direction}[${by.rule}]${name}${domain}${link}${why}`;
}

/** The way through the manifest, as in "alpha/web ingress[0].from[1].ports[0]". */
function allowanceText({ policy, rule, peer, port }: Allowance, direction: Direction): string {
  const peerText = peer === undefined ? "" : `.${direction === "ingress" ? "from" : "to"}[${peer}]`;
  return `${policy} ${direction}[${rule}]${peerText}${port === undefined ? "" : `.ports[${port}]`}`;
}

/** By no policy if the pod's object is gone, and with it everything that could allow something. */
const isolationsText = ({ isolatedBy }: { readonly isolatedBy: readonly Isolation[] }): string =>
  isolatedBy.length === 0 ? "" : ` by ${isolatedBy.map(isolationText).join(", ")}`;

/** Why nothing is allowed to or from one of the pods, whatever policies say. */
const sealedText = (party: Party): string =>
  party.kind === "pod" && [party.pod, ...(party.rivals ?? [])].some(({ exceeds }) => exceeds === true)
    ? ` (${EXCEEDS_TEXT})`
    : "";

const isolationText = ({ policy, unreadable }: Isolation): string =>
  unreadable === undefined ? policy : `${policy} (which cannot be read: ${unreadable})`;

const trafficText = ({ protocol, port }: Probe): string =>
  protocol === "ICMP" ? "ICMP" : `${protocol}/${port}`;

const partyText = (party: Party): string =>
  party.kind === "pod" ? [party.pod, ...(party.rivals ?? [])].map(keyOf).join(" or ") : party.address.text;

function whyNotText(party: Party): string {
  if (party.kind === "address") return "";
  return party.pod.hostNetwork ? " (a host-network pod)" : " (a finished pod)";
}
