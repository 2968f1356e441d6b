// One rule of a NetworkPolicy: its peers (ValidateNetworkPolicyPeer, ValidateIPBlock) and its ports.

import type { Direction } from "../../base/direction.ts";
import { type Cidr, cidrCovers, parseCidr } from "../../base/ip.ts";
import type { Peer, Rule } from "../../model/policy.ts";
import { EVERYTHING } from "../../model/selector.ts";
import { child, type Field, fieldsOf, hasErrorIn, itemsOf, note, stringOf } from "./fields.ts";
import { parsePort } from "./ports.ts";
import { parseSelector } from "./selector.ts";
import { quote } from "./text.ts";

const PEERS_FIELD = { ingress: "from", egress: "to" } as const;
const PEER_FIELDS = ["podSelector", "namespaceSelector", "ipBlock"];
const BLOCK_FIELDS = ["cidr", "except"];

/** The rules of spec.ingress or spec.egress. A rule, peer or port that cannot be read is missing: issues tell. */
export function parseRules(field: Field | undefined, direction: Direction): readonly Rule[] {
  const rules = field && itemsOf(field)?.map((item) => parseRule(item, direction));
  return rules?.filter((rule) => rule !== undefined) ?? [];
}

/** NetworkPolicyIngressRule: "if this field is empty or missing, this rule matches all sources" (and all ports). */
function parseRule(field: Field, direction: Direction): Rule | undefined {
  const peersField = PEERS_FIELD[direction];
  const fields = fieldsOf(field, [peersField, "ports"]);
  if (fields === undefined) return undefined;
  const peersList = fields.get(peersField);
  const portsList = fields.get("ports");
  const peers = peersList && itemsOf(peersList);
  const ports = portsList && itemsOf(portsList);
  const readPeers = peers?.map(parsePeer).filter((peer) => peer !== undefined) ?? [];
  const readPorts = ports?.map(parsePort).filter((port) => port !== undefined) ?? [];
  // Emptiness is that of the list in the manifest; one whose elements cannot be read must not mean "everyone".
  return {
    peers: isAbsentOrEmpty(peersList) ? "anyone" : readPeers,
    ports: isAbsentOrEmpty(portsList) ? "all" : readPorts,
  };
}

const isAbsentOrEmpty = (list: Field | undefined): boolean =>
  list === undefined || (Array.isArray(list.value) && list.value.length === 0);

function parsePeer(field: Field): Peer | undefined {
  const fields = fieldsOf(field, PEER_FIELDS);
  if (fields === undefined) return undefined;
  const podSelector = fields.get("podSelector");
  const namespaceSelector = fields.get("namespaceSelector");
  const ipBlock = fields.get("ipBlock");
  if (fields.size === 0 && !hasErrorIn(field.issues, field.path)) {
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
  if (podSelector !== undefined && pods === undefined) return undefined;
  if (namespaceSelector !== undefined && namespaces === undefined) return undefined;
  return fields.size === 0 ? undefined : { kind: "pods", namespaces, pods: pods ?? EVERYTHING };
}

function parseBlock(field: Field): Peer | undefined {
  const fields = fieldsOf(field, BLOCK_FIELDS);
  if (fields === undefined) return undefined;
  const cidrField = fields.get("cidr");
  if (cidrField === undefined)
    note(child(field, "cidr"), "is missing; expected a prefix such as 10.0.0.0/24");
  const cidr = cidrField && cidrAt(cidrField);
  const exceptField = fields.get("except");
  const except = exceptField && itemsOf(exceptField)?.map((item) => exceptAt(item, cidr));
  if (cidr === undefined || (exceptField !== undefined && except === undefined)) return undefined;
  return { kind: "block", cidr, except: except?.filter((prefix) => prefix !== undefined) ?? [] };
}

/** An exception must lie strictly inside its block: same family, longer prefix. */
function exceptAt(field: Field, cidr: Cidr | undefined): Cidr | undefined {
  const prefix = cidrAt(field);
  if (prefix === undefined || cidr === undefined) return prefix;
  if (cidrCovers(cidr, prefix) && prefix.length > cidr.length) return prefix;
  note(field, `${prefix.text} must lie inside the block's cidr ${cidr.text} and be smaller`);
  return undefined;
}

function cidrAt(field: Field): Cidr | undefined {
  const text = stringOf(field);
  if (text === undefined) return undefined;
  const parsed = parseCidr(text);
  if (parsed.ok) return parsed.value;
  note(field, `${quote(text)} is no prefix: ${parsed.reason}`);
  return undefined;
}
