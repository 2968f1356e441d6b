// Suggested policies as manifests: YAML with the evidence as comments, or a List in JSON.

import { type Document, isMap, isScalar, isSeq, visit, Document as YamlDocument } from "yaml";
import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { flowText } from "../events/observed-flows.ts";
import type { Peer, Policy, PortMatch, Rule } from "../model/network-policy.ts";
import type { Selector } from "../model/selector.ts";
import { countText, printable } from "../observe/text-output.ts";
import { type Evidence, type SuggestedPolicy, workloadKey } from "../policy/suggest/suggest-policies.ts";

/** As a program reads it. */
export const suggestionsList = (policies: readonly SuggestedPolicy[]): object => ({
  apiVersion: "v1",
  kind: "List",
  items: policies.map(({ policy }) => policyManifest(policy)),
});

export const suggestionsYaml = (policies: readonly SuggestedPolicy[]): string =>
  policies.map((each) => documentOf(each).toString({ lineWidth: 0 })).join("---\n");

function documentOf(suggested: SuggestedPolicy): Document {
  const document = new YamlDocument(policyManifest(suggested.policy), { aliasDuplicateObjects: false });
  if (document.contents !== null) document.contents.commentBefore = ` ${printable(headText(suggested))}`;
  for (const direction of DIRECTIONS) {
    const rules = document.getIn(["spec", direction]);
    if (!isSeq(rules)) continue;
    for (const [index, rule] of rules.items.entries())
      if (isMap(rule))
        rule.commentBefore = ` ${printable(evidenceText(suggested.evidence[direction][index]))}`;
  }
  visit(document, {
    Scalar(_, scalar) {
      if (isScalar(scalar) && typeof scalar.value === "string" && !isPlainText(scalar.value))
        scalar.type = "QUOTE_DOUBLE";
    },
  });
  return document;
}

/** Words that YAML 1.1, which API servers read, takes for something else than a text. */
const NOT_TEXTS: ReadonlySet<string> = new Set(["y", "n", "yes", "no", "on", "off", "true", "false", "null"]);

/** Whether every YAML parser reads the text as a text without quotes. */
const isPlainText = (text: string): boolean =>
  /^[A-Za-z][A-Za-z0-9./_-]*$/.test(text) && !NOT_TEXTS.has(text.toLowerCase());

function headText({ workload, observed, silent }: SuggestedPolicy): string {
  const { pods } = workload;
  const seen = observed === pods.length ? "observed" : `${observed} of them observed`;
  const rest = silent.map((direction) => `; no ${direction} was seen`).join("");
  return `${workloadKey(workload)}: ${countText(pods.length, "pod")}, ${seen}${rest}`;
}

/** "12 flows from 2026-11-30T00:00:00Z to 2026-11-30T00:10:00Z, such as shop/web-1 to shop/db-0 TCP/5432". */
function evidenceText(evidence: Evidence | undefined): string {
  if (evidence === undefined) return "DNS, which was not seen";
  const { flows, first, last, example } = evidence;
  const when = flows === 1 ? `at ${second(first)}` : `from ${second(first)} to ${second(last)}`;
  return `${countText(flows, "flow")} ${when}, such as ${flowText(example)}`;
}

const second = (time: string): string => `${time.slice(0, "2026-11-30T00:00:00".length)}Z`;

const TYPES: { readonly [direction in Direction]: string } = { ingress: "Ingress", egress: "Egress" };
const PEERS: { readonly [direction in Direction]: string } = { ingress: "from", egress: "to" };

function policyManifest({ namespace, name, subject, isolates, rules, mode }: Policy): object {
  const directions = DIRECTIONS.filter((direction) => isolates[direction]);
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace, ...(mode === undefined ? {} : { annotations: { "weir.dev/mode": mode } }) },
    spec: {
      podSelector: selectorManifest(subject),
      policyTypes: directions.map((direction) => TYPES[direction]),
      ...Object.fromEntries(
        directions
          .filter((direction) => rules[direction].length > 0)
          .map((direction) => [direction, rules[direction].map((rule) => ruleManifest(direction, rule))]),
      ),
    },
  };
}

function selectorManifest({ requirements }: Selector): object {
  const labels = requirements.flatMap((each) =>
    each.operator === "In" && each.values.length === 1 ? [[each.key, each.values[0]] as const] : [],
  );
  const expressions = requirements.filter((each) => each.operator !== "In" || each.values.length !== 1);
  return {
    ...(labels.length === 0 ? {} : { matchLabels: Object.fromEntries(labels) }),
    ...(expressions.length === 0 ? {} : { matchExpressions: expressions }),
  };
}

const ruleManifest = (direction: Direction, { peers, ports }: Rule): object => ({
  ...(peers === "anyone" ? {} : { [PEERS[direction]]: peers.flatMap(peerManifest) }),
  ...(ports === "all" ? {} : { ports: ports.flatMap(portManifest) }),
});

function peerManifest(peer: Peer): object[] {
  if (peer.kind === "block") return [{ ipBlock: { cidr: peer.cidr.text } }];
  if (peer.kind === "nothing") return [];
  const { namespaces, pods } = peer;
  return [
    {
      ...(namespaces === undefined ? {} : { namespaceSelector: selectorManifest(namespaces) }),
      podSelector: selectorManifest(pods),
    },
  ];
}

function portManifest(port: PortMatch): object[] {
  if (port.kind === "nothing") return [];
  const { protocol } = port;
  if (port.kind === "name") return [{ protocol, port: port.name }];
  const { first, last } = port;
  return [{ protocol, port: first, ...(last === first ? {} : { endPort: last }) }];
}
