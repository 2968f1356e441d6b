// One rule of a NetworkPolicy: its peers (ValidateNetworkPolicyPeer, ValidateIPBlock) and its ports.
//
// A rule, peer or port that cannot be read matches nothing, and the others count: leaving it out can only deny more. An
// exception of a block is the other way round, so a block goes with any exception that cannot be read.

import type { Direction } from "../../base/direction.ts";
import { type Cidr, cidrCovers } from "../../base/ip.ts";
import type { Peer, PortMatch, Rule } from "../../model/network-policy.ts";
import { EVERYTHING } from "../../model/selector.ts";
import { cidrAt } from "./addresses.ts";
import { child, type Field, type FieldPath, fieldsOf, itemsOf, note, warn } from "./fields.ts";
import { parseSelector } from "./parse-selector.ts";
import { parsePort } from "./ports.ts";

const PEERS_FIELD = { ingress: "from", egress: "to" } as const;
const PEER_FIELDS = ["podSelector", "namespaceSelector", "ipBlock"];
const BLOCK_FIELDS = ["cidr", "except"];

/** What is done about an error in a rule, by the path from the rule. */
export function ruleEffect([list, element]: FieldPath): string {
  if (typeof element !== "number") return "the rule allows nothing";
  return list === "ports" ? "the port is left out" : "the peer is left out";
}

const NOTHING = { kind: "nothing" } as const;

/** The rules of spec.ingress or spec.egress, each at its place: one that cannot be read allows nothing. */
export function parseRules(field: Field | undefined, direction: Direction): readonly Rule[] {
  const rules = field && itemsOf(field);
  return rules?.map((rule) => parseRule(rule, direction)) ?? [];
}

/** NetworkPolicyIngressRule: "if this field is empty or missing, this rule matches all sources" (and all ports). */
function parseRule(field: Field, direction: Direction): Rule {
  const peersField = PEERS_FIELD[direction];
  const fields = fieldsOf(field, [peersField, "ports"]);
  const peersList = fields?.get(peersField);
  const portsList = fields?.get("ports");
  const peers = peersList && itemsOf(peersList)?.map(peerAt);
  const ports = portsList && itemsOf(portsList)?.map(portAt);
  // With `from` or `ports` misspelt or of another type the rule is not one for "everyone": it is one for nobody.
  if (fields === undefined || field.issues.errorsRightBelow(field.path).size > 0)
    return { peers: [NOTHING], ports: "all" };
  return {
    peers: peers === undefined || peers.length === 0 ? "anyone" : peers,
    ports: ports === undefined || ports.length === 0 ? "all" : ports,
  };
}

function peerAt(field: Field): Peer {
  const peer = parsePeer(field);
  return peer === undefined || field.issues.hasErrorIn(field.path) ? NOTHING : peer;
}

function portAt(field: Field): PortMatch {
  const port = parsePort(field);
  return port === undefined || field.issues.hasErrorIn(field.path) ? NOTHING : port;
}

/** Undefined where it cannot be read, which issues tell. */
function parsePeer(field: Field): Peer | undefined {
  const fields = fieldsOf(field, PEER_FIELDS);
  if (fields === undefined) return undefined;
  const podSelector = fields.get("podSelector");
  const namespaceSelector = fields.get("namespaceSelector");
  const ipBlock = fields.get("ipBlock");
  if (fields.size === 0 && !field.issues.hasErrorIn(field.path)) {
    note(
      field,
      "is empty; expected podSelector, namespaceSelector or ipBlock ({} in one of the selectors is everything)",
    );
  } else if (ipBlock !== undefined && fields.size > 1) {
    note(field, "ipBlock excludes podSelector and namespaceSelector; make them elements of their own");
  }
  const pods = podSelector && parseSelector(podSelector);
  const namespaces = namespaceSelector && parseSelector(namespaceSelector);
  if (ipBlock !== undefined) return parseBlock(ipBlock);
  return { kind: "pods", namespaces, pods: pods ?? EVERYTHING };
}

function parseBlock(field: Field): Peer | undefined {
  const fields = fieldsOf(field, BLOCK_FIELDS);
  const cidrField = fields?.get("cidr");
  if (fields !== undefined && cidrField === undefined)
    note(child(field, "cidr"), "is missing; expected a CIDR such as 10.0.0.0/24");
  const cidr = cidrField && cidrAt(cidrField);
  const exceptField = fields?.get("except");
  const except = (exceptField && itemsOf(exceptField)) ?? [];
  const cuts = except.flatMap((item) => exceptAt(item, cidr) ?? []);
  if (cidr === undefined) return undefined;
  return cuts.some((cut) => cidrCovers(cut, cidr)) ? NOTHING : { kind: "block", cidr, except: cuts };
}

/**
 * An exception lies inside its block, and is smaller. Of older API servers it need only begin inside it (cidr 10.0.0.0/24,
 * except 10.0.0.0/16 or 10.0.0.0/24): then it leaves nothing of the block.
 */
function exceptAt(field: Field, cidr: Cidr | undefined): Cidr | undefined {
  const cut = cidrAt(field);
  if (cut === undefined || cidr === undefined) return cut;
  if (cidrCovers(cut, cidr)) {
    const reason = `${cut.text} holds all of the block's cidr ${cidr.text}, so the block matches nothing`;
    warn(field, reason, { code: "except-whole-block", fix: "take the exception out, or the whole block" });
  } else if (!cidrCovers(cidr, cut)) {
    note(field, `${cut.text} must lie inside the block's cidr ${cidr.text}`);
  }
  return cut;
}
