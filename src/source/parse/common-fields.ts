// Fields that several kinds have: metadata, labels, ports, addresses, and the syntax of names.

import type { Address, Cidr, Parsed } from "../../base/ip.ts";
import { parseLegacyAddress, parseLegacyCidr, type Read } from "../../base/legacy-ip.ts";
import type { Protocol } from "../../model/cluster.ts";
import type { PortMatch } from "../../model/network-policy.ts";
import { PROTOCOLS, PROTOCOLS_TEXT } from "../../model/protocol.ts";
import type { Labels } from "../../model/selector.ts";
import {
  checkedStringOf,
  child,
  type Field,
  type Fields,
  fieldsOf,
  Issues,
  isMap,
  kindOf,
  note,
  quote,
  stringOf,
  valueAt,
  warn,
} from "./fields.ts";

/** ObjectMeta of meta/v1. The first ones are what people write. */
const METADATA_FIELDS = [
  "name",
  "namespace",
  "labels",
  "annotations",
  "generateName",
  "selfLink",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "ownerReferences",
  "finalizers",
  "managedFields",
];
const METADATA_FIELDS_SHOWN = 4;

export interface Metadata {
  /** Undefined where it cannot be read. */
  readonly name: string | undefined;
  /** Undefined where it cannot be read; "default" where it is missing. */
  readonly namespace: string | undefined;
  readonly labels: Labels;
  readonly annotations: Fields;
  /** Whether deletionTimestamp is set. */
  readonly deleting: boolean;
}

/** Which metadata an object must have. */
export interface MetadataRules {
  readonly nameCheck: Check;
  /** Whether unknown fields are issues. */
  readonly strict: boolean;
  readonly labelEffects?: LabelEffects;
}

/** Reads `metadata` of an object. Null counts as missing in it (`labels: null`), but not for the name and namespace. */
export function parseMetadata(object: Field, fields: Fields, rules: MetadataRules): Metadata {
  const given = fields.get("metadata");
  if (given === undefined) note(child(object, "metadata"), "is missing; metadata.name is required");
  const metadata: Field = { ...(given ?? child(object, "metadata", {})), nullIsMissing: false };
  const map = fieldsOf(metadata, rules.strict ? METADATA_FIELDS : undefined, METADATA_FIELDS_SHOWN);
  const name = map?.get("name");
  const labels = unlessNull(map?.get("labels"));
  const annotations = unlessNull(map?.get("annotations"));
  if (given !== undefined && map !== undefined && name === undefined)
    note(child(metadata, "name"), "is missing");
  return {
    name: name && checkedStringOf(name, rules.nameCheck),
    namespace: map && namespaceOf(metadata, map),
    labels: (labels && labelsOf(labels, rules.labelEffects)) ?? new Map(),
    deleting: typeof map?.get("deletionTimestamp")?.value === "string",
    annotations: (annotations && fieldsOf({ ...annotations, nullIsMissing: true })) ?? new Map(),
  };
}

/** A missing or empty namespace means "default", as it does to kubectl without a context of its own. */
function namespaceOf(metadata: Field, map: Fields): string | undefined {
  const field = map.get("namespace");
  if (field !== undefined && field.value !== "") return checkedStringOf(field, namespaceName);
  return metadata.issues.hasErrorIn([...metadata.path, "namespace"]) ? undefined : "default";
}

const unlessNull = (field: Field | undefined): Field | undefined =>
  field?.value === null ? undefined : field;

/** Metadata in which nothing is unusual. */
export interface PlainMetadata {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Labels;
  readonly deleting: boolean;
}

/**
 * Equal to parseMetadata() where that has no issues, without annotations; undefined for whatever else. A large cluster has hundreds
 * of thousands of objects, nearly all of them without issues, and a field with its path takes many times as long as its value.
 */
export function plainMetadata(value: unknown, nameCheck: Check): PlainMetadata | undefined {
  if (!isMap(value)) return undefined;
  const { name, namespace, labels, annotations, deletionTimestamp } = value;
  if (typeof name !== "string" || nameCheck(name) !== undefined) return undefined;
  if (typeof namespace !== "string" || namespaceName(namespace) !== undefined) return undefined;
  if (annotations !== undefined && !isEmpty(annotations)) return undefined;
  const read = labels === undefined ? NO_LABELS : withoutIssues(labels, labelsOf);
  if (read === undefined) return undefined;
  return { name, namespace, labels: read, deleting: typeof deletionTimestamp === "string" };
}

const NO_LABELS: Labels = new Map();

const isEmpty = (value: unknown): boolean => isMap(value) && Object.keys(value).length === 0;

/** What `parse` makes of a value; undefined where it has issues. */
export function withoutIssues<T>(value: unknown, parse: (field: Field) => T | undefined): T | undefined {
  const issues = new Issues();
  const read = parse({ value, path: [], issues, nullIsMissing: true });
  return issues.size === 0 ? read : undefined;
}

// A map of labels, as metadata.labels and matchLabels have it.

/** What is done where the labels as a whole, or one of them, cannot be read. */
export interface LabelEffects {
  readonly all: string;
  readonly one: string;
}

/** One that is not valid is left out, with an issue; undefined where the value is not a map. */
export function labelsOf(field: Field, effects?: LabelEffects): Labels | undefined {
  const known = isMap(field.value) ? plainLabels.get(field.value) : undefined;
  if (known !== undefined) return known;
  const labels = new Map<string, string>();
  // A label without a value is an issue and not an empty one, which the API server makes of it.
  const map = fieldsOf({ ...field, nullIsMissing: false, ...(effects && { effect: effects.all }) });
  for (const key of map?.keys() ?? []) {
    const text = valueAt(field.value, [key]);
    if (typeof text === "string" && labelKey(key) === undefined && labelValue(text) === undefined) {
      labels.set(key, text);
      continue;
    }
    const plain = map?.get(key) ?? child(field, key);
    const item = effects ? { ...plain, effect: effects.one } : plain;
    const expected = labelKey(key);
    if (expected !== undefined) note(item, `${quote(key)} is not ${expected}`);
    const value = checkedStringOf(item, labelValue);
    if (expected === undefined && value !== undefined) labels.set(key, value);
  }
  if (map === undefined) return undefined;
  if (field.issues.size === 0) plainLabels.set(field.value as object, labels);
  return labels;
}

/** Of values without issues: those of pods that come one after the other are mostly the same object. */
const plainLabels = new WeakMap<object, Labels>();

// Ports, as NetworkPolicyPort and ContainerPort have them.

const PORT_FIELDS = ["protocol", "port", "endPort"];
const PORT_MAX = 65_535;

/** ValidateNetworkPolicyPort: undefined where anything in it is wrong. */
export function parsePort(field: Field): PortMatch | undefined {
  const fields = fieldsOf(field, PORT_FIELDS);
  if (fields === undefined) return undefined;
  const protocol = protocolOf(fields.get("protocol"));
  const port = fields.get("port");
  const endPort = fields.get("endPort");
  if (port === undefined) {
    if (endPort !== undefined) note(child(field, "port"), "is missing; endPort needs it");
    return protocol && endPort === undefined
      ? { kind: "range", protocol, first: 0, last: PORT_MAX }
      : undefined;
  }
  if (typeof port.value === "string") return namedPort(port, endPort, protocol);
  const first = portNumberOf(port, "a number from 1 to 65535 or a port's name");
  const last = endPort === undefined ? first : portNumberOf(endPort, "a number from 1 to 65535");
  if (first === undefined || last === undefined) return undefined;
  if (endPort !== undefined && last < first) {
    note(endPort, `${last} is less than port ${first}`);
    return undefined;
  }
  return protocol && { kind: "range", protocol, first, last };
}

function namedPort(
  port: Field,
  endPort: Field | undefined,
  protocol: Protocol | undefined,
): PortMatch | undefined {
  if (endPort !== undefined) note(endPort, "needs a port that is a number, not a name");
  const name = portNameOf(port);
  return name === undefined || endPort !== undefined || protocol === undefined
    ? undefined
    : { kind: "name", protocol, name };
}

/** TCP where it is missing. */
export function protocolOf(field: Field | undefined): Protocol | undefined {
  if (field === undefined) return "TCP";
  const text = stringOf(field);
  const protocol = PROTOCOLS.find((known) => known === text);
  if (text !== undefined && protocol === undefined) {
    note(field, `${quote(text)} is not a protocol; expected ${PROTOCOLS_TEXT}`);
  }
  return protocol;
}

export function portNumberOf(field: Field, expected = "a number from 1 to 65535"): number | undefined {
  const { value } = field;
  if (typeof value !== "number") {
    note(field, `must be ${expected}, not ${kindOf(value)}`);
  } else if (Number.isNaN(value)) {
    // What resolvePlain() (manifests/yaml-reader.ts) makes of 0123, 1_000 and the like.
    note(field, `must be ${expected}, in plain decimal notation`);
  } else if (!Number.isInteger(value) || value < 1 || value > PORT_MAX) {
    note(field, `${value} is not ${expected}`);
  } else {
    return value;
  }
  return undefined;
}

export function portNameOf(field: Field): string | undefined {
  const text = stringOf(field);
  const expected = text === undefined ? undefined : portName(text);
  if (text === undefined || expected === undefined) return text;
  const number = /^[0-9]+$/.test(text) ? "; write a number without quotes" : "";
  note(field, `${quote(text)} is not ${expected}${number}`);
  return undefined;
}

// IP addresses and CIDRs of Kubernetes objects, in every spelling that API servers store.

export const addressAt = (field: Field): Address | undefined => readAt(field, "address", parseLegacyAddress);

export const cidrAt = (field: Field): Cidr | undefined => readAt(field, "CIDR", parseLegacyCidr);

function readAt<T extends { readonly text: string }>(
  field: Field,
  noun: string,
  parse: (text: string) => Parsed<Read<T>>,
): T | undefined {
  const text = stringOf(field);
  if (text === undefined) return undefined;
  const parsed = parse(text);
  if (!parsed.ok) {
    note(field, `${quote(text)} is not a valid ${noun}: ${parsed.reason}`);
    return undefined;
  }
  const { value, legacy } = parsed.value;
  if (legacy) {
    const reason = `${quote(text)} is read as ${value.text}, as older API servers read it; today's refuse it, and others may read it differently`;
    warn(field, reason, { code: "ip-spelling", fix: `write ${value.text}` });
  }
  return value;
}

// The syntax of names, labels and ports, as the API server validates them: each check returns what was expected.

/** What the text should have been, as in "not a DNS label (...)"; undefined where nothing is wrong. */
export type Check = (text: string) => string | undefined;

const DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

const dnsLabel = new RegExp(`^${DNS_LABEL}$`);
const dnsSubdomain = new RegExp(`^${DNS_LABEL}(\\.${DNS_LABEL})*$`);
const qualified = new RegExp(`^${QUALIFIED}$`);

const isDnsLabel = (text: string): boolean => text.length <= 63 && dnsLabel.test(text);
const isDnsSubdomain = (text: string): boolean => text.length <= 253 && dnsSubdomain.test(text);
const isQualified = (text: string): boolean => text.length <= 63 && qualified.test(text);

/** IsDNS1123Label of apimachinery: names of namespaces. */
export const namespaceName: Check = (text) =>
  isDnsLabel(text)
    ? undefined
    : "a namespace's name (a-z, 0-9 and -, a letter or digit first and last, up to 63 characters)";

/** IsDNS1123Subdomain: names of pods and policies. */
export const objectName: Check = (text) =>
  isDnsSubdomain(text)
    ? undefined
    : "an object's name (a-z, 0-9, - and ., a letter or digit first and last, up to 253 characters)";

/** IsLabelKey: an optional DNS subdomain and a slash, then a name. */
export const labelKey: Check = (text) => {
  const parts = text.split("/");
  const name = parts.pop() ?? "";
  if (parts.length <= 1 && parts.every(isDnsSubdomain) && isQualified(name)) return undefined;
  return "a label's key (letters, digits, -, _ and ., a letter or digit first and last, up to 63 characters, after an optional DNS name and /)";
};

/** IsLabelValue: like a key's name, or empty. */
export const labelValue: Check = (text) =>
  text === "" || isQualified(text)
    ? undefined
    : "a label's value (letters, digits, -, _ and ., a letter or digit first and last, up to 63 characters)";

/** IsValidPortName (IANA_SVC_NAME of RFC 6335, section 5.1, in lower case). */
export const portName: Check = (text) => {
  const valid = text.length <= 15 && dnsLabel.test(text) && /[a-z]/.test(text) && !text.includes("--");
  return valid
    ? undefined
    : "a port's name (a-z, 0-9 and single -, at least one letter, up to 15 characters)";
};

/** dev_valid_name() of the kernel, IFNAMSIZ being 16 with the closing zero; ASCII only, and no "/". */
export const linkName: Check = (text) =>
  /^[\x21-\x7e]{1,15}$/.test(text) && !/[/:]/.test(text) && text !== "." && text !== ".."
    ? undefined
    : "the name of a link (up to 15 characters, without spaces, / and :)";

/** A file's name under /run/netns, so it must not lead anywhere else. */
export const netnsName: Check = (text) =>
  /^[\x21-\x7e]{1,255}$/.test(text) && !text.includes("/") && text !== "." && text !== ".."
    ? undefined
    : "the name of a network namespace (as `ip netns list` shows it, without spaces and /)";

/** `version` or `group/version`. */
export function isApiVersion(text: string): boolean {
  const parts = text.split("/");
  const version = parts.pop() ?? "";
  return parts.length <= 1 && parts.every(isDnsSubdomain) && isDnsLabel(version);
}

/** A kind in Kubernetes' camel case. */
export const isKind = (text: string): boolean => /^[A-Z][A-Za-z0-9]{0,62}$/.test(text);
