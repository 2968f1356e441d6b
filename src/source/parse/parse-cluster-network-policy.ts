// ClusterNetworkPolicy policy.networking.k8s.io/v1alpha2: an untrusted value becomes a ClusterPolicy. The checks are those of
// the CustomResourceDefinition (docs/cluster-policy.md names it), so that a file is refused where an API server refuses it.
//
// What cannot be read fails closed, as the API's text asks: an Accept rule matches nothing, a Deny or Pass rule (or one whose action
// cannot be read) denies everything. If it is not known which pods are meant, or at which place the rules apply, the policy applies
// to all of them, before all others; then what it would accept is left to other policies, and what it would pass is denied.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { parseDomainName } from "../../base/domain-name.ts";
import { parseCidr } from "../../base/ip.ts";
import {
  ACTIONS,
  type ClusterPeer,
  type ClusterPolicy,
  type ClusterRule,
  TIERS,
} from "../../model/cluster-network-policy.ts";
import { MODE_KEY } from "../../model/enforcement-mode.ts";
import type { PortMatch } from "../../model/network-policy.ts";
import { PROTOCOLS, type Protocol } from "../../model/protocol.ts";
import { EVERYTHING, type Selector } from "../../model/selector.ts";
import { objectName, parseMetadata, portNumberOf } from "./common-fields.ts";
import {
  at,
  child,
  type Field,
  type FieldPath,
  type Fields,
  fieldsOf,
  itemsOf,
  kindOf,
  listText,
  note,
  pathText,
  quote,
  stringOf,
} from "./fields.ts";
import { parseSelector } from "./parse-selector.ts";

const POLICY_FIELDS = ["apiVersion", "kind", "metadata", "spec", "status"];
const POLICY_FIELDS_SHOWN = 4;
const SPEC_FIELDS = ["tier", "priority", "subject", "ingress", "egress"];
const SUBJECT_FIELDS = ["namespaces", "pods"];
const PODS_FIELDS = ["namespaceSelector", "podSelector"];
const PEERS_FIELD = { ingress: "from", egress: "to" } as const;
const PEER_FIELDS = {
  ingress: ["namespaces", "pods"],
  egress: ["namespaces", "pods", "nodes", "networks", "domainNames"],
} as const;
const PORT_FIELDS = ["number", "range"];
const RANGE_FIELDS = ["start", "end"];
const PROTOCOL_FIELDS: ReadonlyMap<string, Protocol> = new Map(
  PROTOCOLS.map((name) => [name.toLowerCase(), name]),
);
const NAMED_PORT = "destinationNamedPort";
const PRIORITY_MAX = 1_000;
/** Of rules in a direction, of peers and protocols of a rule, and of networks of a peer. */
const ITEMS_MAX = 25;
const RULE_NAME_MAX = 100;
const CIDR_LENGTH_MAX = 43;
const PORT_MAX = 65_535;

const ANYTHING = { peers: "anyone", ports: "all" } as const;
const DENY_ALL: ClusterRule = { action: "Deny", ...ANYTHING };
const MATCH_NOTHING: ClusterRule = { action: "Accept", peers: [], ports: [] };

export interface ParsedClusterPolicy {
  /** Undefined where it cannot be read. */
  readonly name: string | undefined;
  readonly policy: ClusterPolicy;
}

/** `unnamed` is the name of a policy whose own cannot be read. */
export function parseClusterPolicy(field: Field, unnamed = "?"): ParsedClusterPolicy {
  const fields: Fields =
    fieldsOf({ ...field, nullIsMissing: false }, POLICY_FIELDS, POLICY_FIELDS_SHOWN) ?? new Map();
  const { name, annotations } = parseMetadata(field, fields, { strict: true, nameCheck: objectName });
  const specField = fields.get("spec");
  if (specField === undefined)
    note(child(field, "spec"), "is missing; spec.tier, spec.priority and spec.subject are required");
  const spec = specField && fieldsOf(specField, SPEC_FIELDS);
  const required = (key: string): Field | undefined => {
    const found = spec?.get(key);
    if (specField && spec && found === undefined) note(child(specField, key), `is missing; ${NEEDED[key]}`);
    return found;
  };
  const tier = enumOf(required("tier"), TIERS, "a tier");
  const priority = priorityOf(required("priority"));
  const subject = subjectOf(required("subject"));
  const rules = (direction: Direction): readonly ClusterRule[] => {
    const list = spec?.get(direction);
    if (spec === undefined) return [DENY_ALL];
    if (list !== undefined) return parseRules(list, direction);
    // An unknown field may be the list, misspelt.
    const isLost =
      specField !== undefined && [...specField.issues.errorsRightBelow(specField.path)].some(isNoField);
    return isLost ? [DENY_ALL] : [];
  };
  const own = { ingress: rules("ingress"), egress: rules("egress") };
  const { unreadable, omitted, isPlaced } = reasons(field, own);
  const mode = at(annotations, MODE_KEY, "the policy is enforced");
  // Beside NetworkPolicies in force an audited Deny would need two verdicts on each packet.
  if (mode !== undefined)
    note(mode, "a ClusterNetworkPolicy has no mode of its own; only the whole node can be in audit mode");
  return {
    name,
    policy: {
      name: name ?? unnamed,
      tier: isPlaced && tier !== undefined ? tier : "Admin",
      priority: isPlaced && priority !== undefined ? priority : 0,
      subject: subject ?? { namespaces: EVERYTHING, pods: EVERYTHING },
      rules: isPlaced ? own : { ingress: closed(own.ingress), egress: closed(own.egress) },
      ...(unreadable === undefined ? {} : { unreadable }),
      ...(omitted === undefined ? {} : { omitted }),
    },
  };
}

const isNoField = (key: string | number): boolean => !SPEC_FIELDS.includes(String(key));

const NEEDED: Readonly<Record<string, string>> = {
  tier: `expected ${listText(TIERS, "or")}`,
  priority: `expected a number from 0 to ${PRIORITY_MAX}; the lowest is evaluated first`,
  subject: "expected namespaces or pods ({} in a selector is everything)",
};

/** Rules of a policy whose place is not known. */
const closed = (rules: readonly ClusterRule[]): readonly ClusterRule[] =>
  rules.map((rule) =>
    rule.action === "Accept"
      ? { ...MATCH_NOTHING, ...(rule.name !== undefined && { name: rule.name }) }
      : { ...rule, action: "Deny" },
  );

/** What of the policy cannot be read, and whether its subject, tier and priority can. */
function reasons(
  { path, issues }: Field,
  rules: ClusterPolicy["rules"],
): { readonly unreadable?: string; readonly omitted?: string; readonly isPlaced: boolean } {
  const errors = [...issues].filter(({ severity }) => severity === "error");
  const below = errors.filter(({ path: at }) => !isIgnored(at.slice(path.length)));
  const [first] = below;
  if (first === undefined) return { isPlaced: true };
  const inRule = (at: FieldPath): ClusterRule | undefined => {
    const [map, direction, index] = at.slice(path.length);
    const list = DIRECTIONS.find((each) => each === direction);
    return map === "spec" && list !== undefined && typeof index === "number" ? rules[list][index] : undefined;
  };
  const more = below.length > 1 ? ` (and ${below.length - 1} more)` : "";
  const reason = `${pathText(first.path)}: ${first.reason}${more}`;
  const isPlaced = below.every(({ path: at }) => {
    const [map, key] = at.slice(path.length);
    return map === "spec" && (key === "ingress" || key === "egress");
  });
  const isOmitted = below.every(({ path: at }) => inRule(at)?.action === "Accept");
  return isOmitted ? { omitted: reason, isPlaced } : { unreadable: reason, isPlaced };
}

/** Errors in these cost the policy nothing. */
const isIgnored = ([map, key]: FieldPath): boolean =>
  map === "metadata" && (key === "labels" || key === "annotations");

function subjectOf(field: Field | undefined): ClusterPolicy["subject"] | undefined {
  const fields = field && fieldsOf(field, SUBJECT_FIELDS);
  if (field === undefined || fields === undefined) return undefined;
  oneFieldOf(field, fields, SUBJECT_FIELDS);
  const namespaces = fields.get("namespaces");
  const pods = fields.get("pods");
  const subject =
    pods === undefined
      ? namespaces && { namespaces: parseSelector(namespaces), pods: EVERYTHING }
      : parsePods(pods);
  if (subject?.namespaces === undefined || field.issues.hasErrorIn(field.path)) return undefined;
  return { namespaces: subject.namespaces, pods: subject.pods };
}

function parsePods(field: Field): { readonly namespaces: Selector; readonly pods: Selector } | undefined {
  const fields = fieldsOf(field, PODS_FIELDS);
  const podSelector = fields?.get("podSelector");
  const namespaceSelector = fields?.get("namespaceSelector");
  if (fields !== undefined && podSelector === undefined)
    note(child(field, "podSelector"), "is missing; write {} to select every pod");
  const pods = podSelector && parseSelector(podSelector);
  const namespaces = namespaceSelector === undefined ? EVERYTHING : parseSelector(namespaceSelector);
  return pods && namespaces && { namespaces, pods };
}

/** maxProperties and minProperties are 1. */
function oneFieldOf(field: Field, fields: Fields, known: readonly string[]): void {
  if (fields.size === 0 && !field.issues.hasErrorIn(field.path))
    note(field, `is empty; expected ${listText(known, "or")}`);
  else if (fields.size > 1) note(field, `has ${listText([...fields.keys()], "and")}; expected one of them`);
}

function enumOf<T extends string>(
  field: Field | undefined,
  values: readonly T[],
  noun: string,
): T | undefined {
  const text = field && stringOf(field);
  const value = values.find((each) => each === text);
  if (field !== undefined && text !== undefined && value === undefined)
    note(field, `${quote(text)} is not ${noun}; expected ${listText(values, "or")}`);
  return value;
}

function priorityOf(field: Field | undefined): number | undefined {
  if (field === undefined) return undefined;
  const { value } = field;
  const expected = `a number from 0 to ${PRIORITY_MAX}`;
  if (typeof value !== "number") note(field, `must be ${expected}, not ${kindOf(value)}`);
  else if (!Number.isInteger(value) || value < 0 || value > PRIORITY_MAX)
    note(field, `${value} is not ${expected}`);
  else return value;
  return undefined;
}

function limited(field: Field, items: readonly Field[] | undefined): readonly Field[] | undefined {
  if (items !== undefined && items.length > ITEMS_MAX)
    note(field, `has ${items.length} elements; at most ${ITEMS_MAX} are allowed`);
  return items;
}

/** The elements of a list that must not be empty. */
function someOf(field: Field, expected: string): readonly Field[] | undefined {
  const items = limited(field, itemsOf(field));
  if (items?.length === 0) note(field, `is empty; expected ${expected}`);
  return items;
}

function parseRules(field: Field, direction: Direction): readonly ClusterRule[] {
  const rules = limited(field, itemsOf(field))?.map((rule) => parseRule(rule, direction));
  return rules === undefined || field.issues.hasErrorAt(field.path) ? [DENY_ALL] : rules;
}

/** One that cannot be read matches nothing if it is known to accept; else it denies everything. */
function parseRule(field: Field, direction: Direction): ClusterRule {
  const peersField = PEERS_FIELD[direction];
  const fields = fieldsOf(field, ["name", "action", peersField, "protocols"]);
  const required = (key: string, expected: string): Field | undefined => {
    const found = fields?.get(key);
    if (fields && found === undefined) note(child(field, key), `is missing; expected ${expected}`);
    return found;
  };
  const action = enumOf(required("action", listText(ACTIONS, "or")), ACTIONS, "an action");
  const name = nameOf(fields?.get("name"));
  const peersList = required(peersField, "a list of peers");
  const protocols = fields?.get("protocols");
  const peers = (peersList && someOf(peersList, "peers"))?.flatMap((peer) => parsePeer(peer, direction));
  const ports =
    protocols === undefined ? "all" : (someOf(protocols, "protocols") ?? []).flatMap(parseProtocol);
  const named = name === undefined ? {} : { name };
  if (
    action !== undefined &&
    peersList !== undefined &&
    peers?.some(({ kind }) => kind === "domain") === true
  )
    checkDomains(peersList, { action, ports });
  if (action !== undefined && peers !== undefined && !field.issues.hasErrorIn(field.path))
    return { ...named, action, peers, ports };
  return { ...(action === "Accept" ? MATCH_NOTHING : DENY_ALL), ...named };
}

function nameOf(field: Field | undefined): string | undefined {
  const text = field && stringOf(field);
  if (field !== undefined && text !== undefined && text.length > RULE_NAME_MAX)
    note(field, `has ${text.length} characters; at most ${RULE_NAME_MAX} are allowed`);
  return text === "" ? undefined : text;
}

/** Several for a list of networks. */
function parsePeer(field: Field, direction: Direction): readonly ClusterPeer[] {
  const known = PEER_FIELDS[direction];
  const fields = fieldsOf(field, known);
  if (fields === undefined) return [];
  oneFieldOf(field, fields, known);
  const [namespaces, pods, nodes, networks, domainNames] = PEER_FIELDS.egress.map((key) => fields.get(key));
  if (namespaces !== undefined) {
    const selector = parseSelector(namespaces);
    return selector === undefined ? [] : [{ kind: "pods", namespaces: selector, pods: EVERYTHING }];
  }
  if (pods !== undefined) {
    const both = parsePods(pods);
    return both === undefined ? [] : [{ kind: "pods", ...both }];
  }
  if (nodes !== undefined) {
    const selector = parseSelector(nodes);
    return selector === undefined ? [] : [{ kind: "nodes", nodes: selector }];
  }
  if (domainNames !== undefined) return (someOf(domainNames, "domain names") ?? []).flatMap(parseDomain);
  return networks === undefined ? [] : (someOf(networks, "CIDRs") ?? []).flatMap(parseNetwork);
}

function parseDomain(field: Field): readonly ClusterPeer[] {
  const text = stringOf(field);
  if (text === undefined) return [];
  const parsed = parseDomainName(text);
  if (parsed.ok) return [{ kind: "domain", name: parsed.value }];
  note(field, `${quote(text)} is not a domain name: ${parsed.reason}`);
  return [];
}

/** API, domainNames: only for Accept rules; and the expression on egress rules about named ports. */
function checkDomains(field: Field, { action, ports }: Pick<ClusterRule, "action" | "ports">): void {
  if (action !== "Accept") note(field, `has domain names, which only Accept rules may have, not ${action}`);
  if (ports !== "all" && ports.some(({ kind }) => kind === "name"))
    note(field, `has domain names, which have no named ports; give the ports by number`);
}

/** isCIDR() of the API server's expressions: no leading zeros, no IPv4-mapped IPv6; host bits are allowed. */
function parseNetwork(field: Field): readonly ClusterPeer[] {
  const text = stringOf(field);
  if (text === undefined) return [];
  const parsed = parseCidr(text);
  if (parsed.ok && text.length <= CIDR_LENGTH_MAX) return [{ kind: "block", cidr: parsed.value, except: [] }];
  note(field, `${quote(text)} is not a valid CIDR: ${parsed.ok ? "it is too long" : parsed.reason}`);
  return [];
}

/** One element of `protocols`; a port's name is one for any protocol. */
function parseProtocol(field: Field): readonly PortMatch[] {
  const known = [...PROTOCOL_FIELDS.keys(), NAMED_PORT];
  const fields = fieldsOf(field, known);
  if (fields === undefined) return [];
  oneFieldOf(field, fields, known);
  const named = fields.get(NAMED_PORT);
  if (named !== undefined) {
    const name = stringOf(named);
    if (name === "") note(named, "is empty; expected the name of a container port");
    return name === undefined ? [] : PROTOCOLS.map((protocol) => ({ kind: "name", protocol, name }));
  }
  return [...PROTOCOL_FIELDS].flatMap(([key, protocol]) => {
    const given = fields.get(key);
    return given === undefined ? [] : parsePorts(given, protocol);
  });
}

function parsePorts(field: Field, protocol: Protocol): readonly PortMatch[] {
  const fields = fieldsOf(field, ["destinationPort"]);
  const portField = fields?.get("destinationPort");
  if (fields !== undefined && portField === undefined)
    note(child(field, "destinationPort"), "is missing; expected number or range");
  const port = portField && fieldsOf(portField, PORT_FIELDS);
  if (portField === undefined || port === undefined) return [];
  oneFieldOf(portField, port, PORT_FIELDS);
  const number = port.get("number");
  if (number !== undefined) {
    const value = portNumberOf(number);
    return value === undefined ? [] : [{ kind: "range", protocol, first: value, last: value }];
  }
  const range = port.get("range");
  const bounds = range && fieldsOf(range, RANGE_FIELDS);
  if (range === undefined || bounds === undefined) return [];
  const [first, last] = RANGE_FIELDS.map((key) => {
    const bound = bounds.get(key);
    if (bound === undefined) note(child(range, key), `is missing; expected a number from 1 to ${PORT_MAX}`);
    return bound && portNumberOf(bound);
  });
  if (first === undefined || last === undefined) return [];
  if (first >= last) note(range, `start ${first} must be less than end ${last}`);
  return [{ kind: "range", protocol, first, last }];
}

/** What is done about an error in a policy, by the path from the policy, as the end of a problem's line. */
export function clusterPolicyEffect({ rules }: ClusterPolicy, path: FieldPath): string {
  const [map, key, index] = path;
  if (isIgnored(path)) return "it is ignored";
  const direction = DIRECTIONS.find((each) => each === key);
  if (map === "spec" && direction !== undefined) {
    if (typeof index !== "number") return `all ${direction} traffic of its pods is denied at its place`;
    return rules[direction][index]?.action === "Accept"
      ? "the rule accepts nothing"
      : "the rule denies everything";
  }
  if (map === "spec" && key === "subject")
    return "it applies to all pods: what it denies or passes is denied, and it accepts nothing";
  // Without a spec there are no rules, either.
  if (rules.ingress.every(isDenyAll) && rules.egress.every(isDenyAll))
    return "everything is denied to the pods that it may select";
  return "it applies before all other policies: what it denies or passes is denied, and it accepts nothing";
}

const isDenyAll = ({ action, peers, ports }: ClusterRule): boolean =>
  action === "Deny" && peers === "anyone" && ports === "all";
