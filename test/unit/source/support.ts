// What the tests of src/source share: texts in, objects and problem lines out.

import type { ClusterPeer, ClusterRule } from "../../../src/model/cluster-network-policy.ts";
import type { Peer, Policy, PortMatch, Rule } from "../../../src/model/network-policy.ts";
import { type Problem, problemText } from "../../../src/model/problem.ts";
import { selectorText } from "../../../src/model/selector.ts";
import { type FileReading, readAll, readText } from "../../../src/source/manifests/manifest-reading.ts";
import type { ParsedObject } from "../../../src/source/parse/parse-document.ts";

/** The parsed text, as if it were a file of this name. */
export const readingOf = (text: string, file = "x.yaml"): FileReading => readAll(readText(file, text));

export const problemsIn = (reading: FileReading): readonly Problem[] => [
  ...reading.objects.flatMap((object) => object.problems),
  ...reading.problems,
];

export const linesOf = (problems: readonly Problem[]): readonly string[] => problems.map(problemText);

/** The objects of the text, each with its name and value, and every problem's line. */
export function outcomeOf(text: string) {
  const reading = readingOf(text);
  const values = reading.objects.map((object): [string, ParsedObject["value"]] => [
    object.identity,
    object.value,
  ]);
  return { values: new Map(values), lines: linesOf(problemsIn(reading)) };
}

/** A policy "shop/web" with this spec, in flow style. */
export const policyYaml = (spec: string, metadata = "{ name: web, namespace: shop }"): string =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: ${metadata}\nspec: ${spec}\n`;

/** The only policy of a text that must read without any problem. */
export function cleanPolicy(text: string): Policy {
  const reading = readingOf(text);
  const lines = linesOf(problemsIn(reading));
  const [object] = reading.objects;
  if (lines.length > 0) throw new Error(lines.join("\n"));
  if (object?.kind !== "NetworkPolicy" || object.value === undefined)
    throw new Error("there is no policy in it");
  return object.value;
}

/** A rule as one line: "from PEER | PEER on PORT, PORT". */
export function ruleText(rule: Rule | ClusterRule): string {
  const peers = rule.peers === "anyone" ? "anyone" : rule.peers.map(peerText).join(" | ") || "nothing";
  const ports = rule.ports === "all" ? "all" : rule.ports.map(portText).join(", ") || "nothing";
  return `${peers} on ${ports}`;
}

function peerText(peer: Peer | ClusterPeer): string {
  if (peer.kind === "nothing") return "nothing";
  if (peer.kind === "domain") return peer.name;
  if (peer.kind === "nodes") return `nodes {${selectorText(peer.nodes)}}`;
  if (peer.kind === "block")
    return [peer.cidr.text, ...peer.except.map((cidr) => `not ${cidr.text}`)].join(" ");
  const namespaces = peer.namespaces === undefined ? "own" : `{${selectorText(peer.namespaces)}}`;
  return `ns ${namespaces} pods {${selectorText(peer.pods)}}`;
}

function portText(port: PortMatch): string {
  if (port.kind === "nothing") return "nothing";
  return `${port.protocol} ${port.kind === "name" ? port.name : `${port.first}-${port.last}`}`;
}
