// NetworkPolicy networking.k8s.io/v1: an untrusted value becomes a Policy. What cannot be read fails closed: of a rule, peer
// or port that part alone (parse-network-policy.ts), of the pods that it selects every pod of its namespace, of all else the policy.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { type Cidr, cidrCovers } from "../../base/ip.ts";
import { isMode, MODE_KEY, MODES, type Mode } from "../../model/enforcement-mode.ts";
import type { Peer, Policy, PortMatch, Rule } from "../../model/network-policy.ts";
import { EVERYTHING } from "../../model/selector.ts";
import { cidrAt, objectName, parseMetadata, parsePort } from "./common-fields.ts";
import {
  at,
  child,
  type Field,
  type FieldPath,
  type Fields,
  fieldsOf,
  type Issues,
  isMap,
  itemsOf,
  note,
  pathText,
  quote,
  startsWith,
  stringOf,
  warn,
} from "./fields.ts";
import { parseSelector } from "./parse-selector.ts";

/** `status` was a field of some versions; it does not affect the desired state. */
const POLICY_FIELDS = ["apiVersion", "kind", "metadata", "spec", "status"];
const POLICY_FIELDS_SHOWN = 4;
const SPEC_FIELDS = ["podSelector", "policyTypes", "ingress", "egress"];
const POLICY_TYPES: ReadonlyMap<string, Direction> = new Map([
  ["Ingress", "ingress"],
  ["Egress", "egress"],
]);

const NO_RULES: Policy["rules"] = { ingress: [], egress: [] };

export interface ParsedPolicy {
  /** Undefined where they cannot be read. */
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  /** Undefined where it is not known in which namespace its pods are. */
  readonly policy: Policy | undefined;
}

export interface PolicyOptions {
  /** The name of a policy whose own cannot be read. */
  readonly unnamed?: string;
  /** Where its podSelector cannot be read: with true there is no policy, else it selects every pod of its namespace. */
  readonly subjectRequired?: boolean;
}

export function parsePolicy(
  field: Field,
  { unnamed = "?", subjectRequired = false }: PolicyOptions = {},
): ParsedPolicy {
  const fields: Fields =
    fieldsOf({ ...field, nullIsMissing: false }, POLICY_FIELDS, POLICY_FIELDS_SHOWN) ?? new Map();
  const { namespace, name, annotations } = parseMetadata(field, fields, {
    strict: true,
    nameCheck: objectName,
  });
  const specField = fields.get("spec");
  if (specField === undefined)
    note(child(field, "spec"), "is missing; spec.podSelector is required ({} is every pod)");
  const spec = specField && fieldsOf(specField, SPEC_FIELDS);
  const subjectField = spec?.get("podSelector");
  if (specField && spec && subjectField === undefined) {
    note(child(specField, "podSelector"), "is missing; write {} to select every pod of the namespace");
  }
  const subject = subjectField && parseSelector(subjectField);
  const policyTypes = spec?.get("policyTypes");
  const types = policyTypes && policyTypesOf(policyTypes);
  const rules = {
    ingress: parseRules(spec?.get("ingress"), "ingress"),
    egress: parseRules(spec?.get("egress"), "egress"),
  };
  const isolates = specField && spec ? isolatedBy(specField, spec, types) : BOTH;
  const unreadable = unreadableReason(field);
  const omitted = unreadable === undefined ? omittedReason(field) : undefined;
  // After that: a wrong mode makes no policy unreadable.
  const given = at(annotations, MODE_KEY, "the policy is enforced");
  const mode = given && modeAt(given);
  // Without metadata the namespace is not known either: "default" is for those that leave it out.
  const isPlaced = namespace !== undefined && isMap(fields.get("metadata")?.value);
  if (!isPlaced || (subjectRequired && subject === undefined)) return { namespace, name, policy: undefined };
  return {
    namespace,
    name,
    policy: {
      namespace,
      name: name ?? unnamed,
      subject: subject ?? EVERYTHING,
      isolates,
      rules: unreadable === undefined ? rules : NO_RULES,
      ...(unreadable === undefined ? {} : { unreadable }),
      ...(omitted === undefined ? {} : { omitted }),
      ...(mode && { mode }),
    },
  };
}

function modeAt(field: Field): Mode | undefined {
  const text = stringOf(field);
  if (text === undefined || isMode(text)) return text;
  note(field, `${quote(text)} is not a mode; expected ${MODES.join(" or ")}`);
  return undefined;
}

const BOTH: Policy["isolates"] = { ingress: true, egress: true };

/** Undefined where it cannot be read; empty is the same as missing. More than two are refused, as the API server does. */
function policyTypesOf(field: Field): readonly Direction[] | undefined {
  const items = itemsOf(field);
  if (items === undefined) return undefined;
  if (items.length > POLICY_TYPES.size)
    note(field, "has more than two elements; expected Ingress, Egress or both");
  return items.flatMap((item) => {
    const text = stringOf(item);
    const direction = text === undefined ? undefined : POLICY_TYPES.get(text);
    if (text !== undefined && direction === undefined) {
      note(item, `${quote(text)} is not a policy type; expected Ingress or Egress`);
    }
    return direction ?? [];
  });
}

/**
 * Which directions a policy isolates: policyTypes where it is set, else always ingress, and egress where there are
 * egress rules (SetDefaults_NetworkPolicy: an empty list is none). Where that cannot be determined, both.
 */
function isolatedBy(
  specField: Field,
  spec: Fields,
  types: readonly Direction[] | undefined,
): Policy["isolates"] {
  const egress = spec.get("egress");
  if (specField.issues.hasErrorIn([...specField.path, "policyTypes"])) return BOTH;
  if (types !== undefined && types.length > 0) {
    return { ingress: types.includes("ingress"), egress: types.includes("egress") };
  }
  if (Array.isArray(egress?.value)) {
    if (egress.value.length > 0) return BOTH;
    warn(egress, "is empty and policyTypes is missing, so egress is not isolated", {
      code: "egress-empty",
      fix: "if it should be, write policyTypes: [Ingress, Egress]",
    });
  }
  return { ingress: true, egress: mayHaveEgress(specField) };
}

/** Whether spec.egress is there but unreadable, or an unknown field that may be it or policyTypes, misspelt. */
const mayHaveEgress = ({ path, issues }: Field): boolean =>
  [...issues.errorsRightBelow(path)].some(
    (key) => key === "egress" || (typeof key === "string" && !SPEC_FIELDS.includes(key)),
  );

/** Fields whose errors cost the policy nothing but these fields. */
const SEPARATE = {
  metadata: ["labels", "annotations"],
  spec: ["policyTypes", "ingress", "egress"],
} as const;

/** Why nothing of the policy can be read but, at best, its pods: its first error, and how many more there are. */
function unreadableReason({ path, issues }: Field): string | undefined {
  const inMap = (name: keyof typeof SEPARATE): readonly FieldPath[] => {
    const map = [...path, name];
    const separate: readonly (string | number)[] = SEPARATE[name];
    const wrong = [...issues.errorsRightBelow(map)].filter((key) => !separate.includes(key));
    return wrong.map((key) => [...map, key]);
  };
  const subject = [...path, "spec", "podSelector"];
  const found = [
    ...(issues.hasErrorAt(path) ? [path] : []),
    ...[...issues.errorsRightBelow(path)].map((key) => [...path, key]),
    ...inMap("metadata"),
    ...inMap("spec"),
    ...(issues.hasErrorIn(subject) ? [subject] : []),
  ];
  return found.length === 0
    ? undefined
    : reasonText(issues, (at) => found.some((each) => startsWith(at, each)));
}

/** What is left out of a policy that can be read but for that. */
function omittedReason({ path, issues }: Field): string | undefined {
  const spec = [...path, "spec"];
  return issues.hasErrorIn(spec) ? reasonText(issues, (at) => startsWith(at, spec)) : undefined;
}

function reasonText(issues: Issues, isMeant: (path: FieldPath) => boolean): string {
  const errors = [...issues].filter(({ severity }) => severity === "error");
  // Of an object with too many errors to keep all, the first one shows at least that there are errors.
  const first = errors.find((issue) => isMeant(issue.path)) ?? errors[0];
  const more = issues.errors > 1 ? ` (and ${issues.errors - 1} more)` : "";
  return first === undefined ? `${issues.errors} errors` : `${pathText(first.path)}: ${first.reason}${more}`;
}

/** What is done about an error in a policy, by the path from the policy, as the end of a problem's line. */
export function policyEffect(policy: Policy | undefined, path: FieldPath): string {
  if (policy === undefined) return "the policy is refused: it isolates no pod and allows nothing";
  const [map, field, rule, ...inRule] = path;
  if (policy.unreadable === undefined && map === "metadata" && field === "labels") return "it is ignored";
  if (policy.unreadable === undefined && map === "spec" && field === "policyTypes")
    return "the policy isolates its pods in both directions";
  if (policy.unreadable === undefined && map === "spec" && (field === "ingress" || field === "egress"))
    return rule === undefined ? `no ${field} rule of the policy is used` : ruleEffect(inRule);
  const directions = DIRECTIONS.filter((direction) => policy.isolates[direction]).join(" and ");
  const pods =
    policy.subject === EVERYTHING ? `every pod of namespace ${policy.namespace} is` : "its pods are";
  return `${pods} isolated (${directions}) and nothing is allowed by it`;
}

// One rule of a NetworkPolicy: its peers (ValidateNetworkPolicyPeer, ValidateIPBlock) and its ports.
//
// A rule, peer or port that cannot be read matches nothing, and the others count: leaving it out can only deny more. An
// exception of a block is the other way round, so a block goes with any exception that cannot be read.

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
  // With `from` or `ports` misspelt or of another type the rule does not match everyone: it matches nothing.
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

/** Undefined, with issues, where it cannot be read. */
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
 * An exception is inside its block, and is smaller. Of older API servers it need only begin inside it (cidr
 * 10.0.0.0/24, except 10.0.0.0/16 or 10.0.0.0/24): then it leaves nothing of the block.
 */
function exceptAt(field: Field, cidr: Cidr | undefined): Cidr | undefined {
  const cut = cidrAt(field);
  if (cut === undefined || cidr === undefined) return cut;
  if (cidrCovers(cut, cidr)) {
    const reason = `${cut.text} holds all of the block's cidr ${cidr.text}, so the block matches nothing`;
    warn(field, reason, { code: "except-whole-block", fix: "remove the exception, or the whole block" });
  } else if (!cidrCovers(cidr, cut)) {
    note(field, `${cut.text} must lie inside the block's cidr ${cidr.text}`);
  }
  return cut;
}
