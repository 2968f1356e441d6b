// Rules of policies as data, and as `kubectl describe networkpolicy` writes them.

import { assertNever } from "../../base/assert.ts";
import type { Direction } from "../../base/direction.ts";
import type { Peer, PortMatch, Rule } from "../../model/network-policy.ts";
import { type Selector, selectorText } from "../../model/selector.ts";

/** Selectors are texts, in kubectl's notation; "" matches everything. */
export type PeerReport =
  | { readonly podSelector?: string; readonly namespaceSelector?: string }
  | { readonly cidr: string; readonly except: readonly string[] }
  /** It cannot be read, or matches nothing whatever there is. */
  | { readonly nothing: true };

export interface RuleReport {
  readonly peers: "anyone" | readonly PeerReport[];
  /** As in "80/TCP", "8000-8080/TCP", "http/TCP", "<any>/UDP", "<nothing>". */
  readonly ports: "all" | readonly string[];
}

export const ruleReport = ({ peers, ports }: Rule): RuleReport => ({
  peers: peers === "anyone" ? peers : peers.map(peerReport),
  ports: ports === "all" ? ports : ports.map(portText),
});

function peerReport(peer: Peer): PeerReport {
  switch (peer.kind) {
    case "block":
      return { cidr: peer.cidr.text, except: peer.except.map(({ text }) => text) };
    case "pods": {
      const podSelector = selectorText(peer.pods);
      if (peer.namespaces === undefined) return { podSelector };
      const namespaceSelector = selectorText(peer.namespaces);
      // Every pod is what a missing podSelector means too.
      return podSelector === "" ? { namespaceSelector } : { namespaceSelector, podSelector };
    }
    case "nothing":
      return { nothing: true };
    default:
      return assertNever(peer, "kind of peer");
  }
}

const NOTHING = "<nothing>";

function portText(match: PortMatch): string {
  if (match.kind === "nothing") return NOTHING;
  if (match.kind === "name") return `${match.name}/${match.protocol}`;
  const { first, last, protocol } = match;
  if (first === 0 && last === 65_535) return `<any>/${protocol}`;
  return first === last ? `${first}/${protocol}` : `${first}-${last}/${protocol}`;
}

const WORDS = {
  ingress: { peer: "From", end: "source" },
  egress: { peer: "To", end: "destination" },
} as const;

/** The lines of a policy's rules of one direction, each behind `indent`. */
export function rulesLines(rules: readonly RuleReport[], direction: Direction, indent: string): string[] {
  if (rules.length === 0)
    return [`${indent}<none> (Selected pods are isolated for ${direction} connectivity)`];
  return rules.flatMap((rule, index) => [
    ...(index === 0 ? [] : [`${indent}----------`]),
    ...ruleLines(rule, direction).map((line) => indent + line),
  ]);
}

function ruleLines({ peers, ports }: RuleReport, direction: Direction): string[] {
  const { peer: word, end } = WORDS[direction];
  return [
    ...(ports === "all"
      ? ["To Port: <any> (traffic allowed to all ports)"]
      : ports.map((port) => `To Port: ${port}`)),
    ...(peers === "anyone"
      ? [`${word}: <any> (traffic not restricted by ${end})`]
      : peers.flatMap((peer) => [`${word}:`, ...peerLines(peer).map((line) => `  ${line}`)])),
  ];
}

function peerLines(peer: PeerReport): string[] {
  if ("nothing" in peer) return [NOTHING];
  if ("cidr" in peer)
    return ["IPBlock:", `  CIDR: ${peer.cidr}`, `  Except: ${peer.except.join(", ")}`.trimEnd()];
  const line = (name: string, selector: string | undefined): string[] =>
    selector === undefined ? [] : [`${name}: ${selector || "<none>"}`];
  return [...line("NamespaceSelector", peer.namespaceSelector), ...line("PodSelector", peer.podSelector)];
}

/** `spec.podSelector` as a line of its own says it. */
export const subjectText = (subject: Selector): string =>
  selectorText(subject) || "<none> (Allowing the specific traffic to all pods in this namespace)";

/** "Name:         value", with the value where kubectl has it. */
export const factLine = (name: string, value: string): string =>
  `${`${name}:`.padEnd(14)}${value || "<none>"}`;
