// The cluster of a conformance case: namespaces, pods, nodes and addresses outside, read from untrusted values.

import { parseDomainName } from "../../base/domain-name.ts";
import { type Address, type Family, parseAddress } from "../../base/ip.ts";
import {
  type Cluster,
  type ClusterNode,
  type ContainerPort,
  EMPTY_CLUSTER,
  keyOf,
  NAMESPACE_NAME_LABEL,
  type Namespace,
  type Pod,
} from "../../model/cluster.ts";
import { PROTOCOLS } from "../../model/protocol.ts";
import type { Labels } from "../../model/selector.ts";
import {
  labelsOf,
  namespaceName,
  objectName,
  portNameOf,
  portNumberOf,
  protocolOf,
} from "../parse/common-fields.ts";
import {
  booleanOf,
  checkedStringOf,
  child,
  type Field,
  type Fields,
  fieldsOf,
  itemsOf,
  note,
  quote,
  stringOf,
} from "../parse/fields.ts";
import type { Resolvable } from "./case-types.ts";

/** The cluster before the first step; it has no policies yet. */
export interface Setting {
  readonly families: readonly Family[];
  readonly cluster: Cluster;
  readonly places: ReadonlyMap<string, readonly Address[]>;
  readonly dns: readonly Resolvable[];
}

const FAMILIES: ReadonlyMap<string, readonly Family[]> = new Map([
  ["IPv4", [4]],
  ["IPv6", [6]],
  ["dual", [4, 6]],
]);

const CLUSTER_FIELDS = ["ipFamily", "namespaces", "nodes", "pods", "externals", "dns"];
const POD_FIELDS = ["namespace", "name", "labels", "ips", "ports", "listen", "hostNetwork", "node"];

/** Reads `cluster`. What cannot be read is left out, with an issue. */
export function parseSetting(field: Field): Setting {
  const fields = fieldsOf(field, CLUSTER_FIELDS);
  const families = familiesOf(required(field, fields, "ipFamily"));
  const namespaces = new Map<string, Namespace>();
  for (const item of listOf(required(field, fields, "namespaces"))) {
    const namespace = parseNamespaceEntry(item, fieldsOf(item, ["name", "labels"]));
    if (namespace !== undefined) addOnce(namespaces, namespace.name, namespace, item);
  }
  const pods = new Map<string, Pod>();
  for (const item of listOf(required(field, fields, "pods"))) {
    const pod = parsePodEntry(item, families);
    if (pod === undefined) continue;
    const conflict = podConflict(namespaces, pods, pod);
    if (conflict === undefined) pods.set(keyOf(pod), pod);
    else note(item, conflict);
  }
  const places = new Map<string, readonly Address[]>();
  const nodes = new Map<string, ClusterNode>();
  for (const node of addPlaces(places, fields?.get("nodes"), "node:")) nodes.set(node.name, node);
  addPlaces(places, fields?.get("externals"), "ext:");
  const dns = parseDns(fields?.get("dns"));
  return { families, cluster: { ...EMPTY_CLUSTER, namespaces, pods, nodes }, places, dns };
}

/** By address. */
function parseDns(field: Field | undefined): readonly Resolvable[] {
  const found = listOf(field).flatMap((item) => {
    const fields = fieldsOf(item, ["name", "ips"]);
    const nameField = required(item, fields, "name");
    const text = nameField && stringOf(nameField);
    const addresses = addressesOf(required(item, fields, "ips"), [4, 6]);
    if (nameField === undefined || text === undefined) return [];
    const parsed = parseDomainName(text);
    if (!parsed.ok || parsed.value.startsWith("*")) {
      note(nameField, `${quote(text)} is not a domain name`);
      return [];
    }
    return addresses.map((address) => ({ name: parsed.value, address }));
  });
  return [...Map.groupBy(found, ({ address }) => address.text).values()].flatMap(([first, ...others]) =>
    first === undefined
      ? []
      : [{ address: first.address, names: [first, ...others].map(({ name }) => name) }],
  );
}

/** The field under `key`; undefined, with an issue, where it is missing. */
export function required(parent: Field, fields: Fields | undefined, key: string): Field | undefined {
  const field = fields?.get(key);
  if (fields !== undefined && field === undefined) note(child(parent, key), "is missing");
  return field;
}

/** Why the pod cannot be added to these, or undefined. Pods on the host's network share its addresses, others share none. */
export function podConflict(
  namespaces: Cluster["namespaces"],
  pods: Cluster["pods"],
  pod: Pod,
): string | undefined {
  if (pods.has(keyOf(pod))) return `pod ${keyOf(pod)} is there already`;
  if (!namespaces.has(pod.namespace)) return `namespace ${pod.namespace} of pod ${pod.name} is not there`;
  if (pod.hostNetwork) return undefined;
  const own = new Set(pod.ips.map((address) => address.text));
  for (const other of pods.values()) {
    const shared = other.hostNetwork ? undefined : other.ips.find((address) => own.has(address.text));
    if (shared !== undefined)
      return `${shared.text} of pod ${keyOf(pod)} is an address of pod ${keyOf(other)}`;
  }
  return undefined;
}

export const listOf = (field: Field | undefined): readonly Field[] => (field && itemsOf(field)) ?? [];

export function familiesOf(field: Field | undefined): readonly Family[] {
  const text = field && stringOf(field);
  const families = text === undefined ? undefined : FAMILIES.get(text);
  if (field !== undefined && text !== undefined && families === undefined) {
    note(field, `${quote(text)} is not a family; expected IPv4, IPv6 or dual`);
  }
  return families ?? [4, 6];
}

/** A namespace by the fields `name` and `labels`, which an action has too. */
export function parseNamespaceEntry(field: Field, fields: Fields | undefined): Namespace | undefined {
  const nameField = required(field, fields, "name");
  const name = nameField && checkedStringOf(nameField, namespaceName);
  const labels = parseLabels(required(field, fields, "labels"));
  if (name === undefined) return undefined;
  // The API server sets it on every namespace, so a case need not.
  return { name, labels: new Map([...labels, [NAMESPACE_NAME_LABEL, name]]) };
}

export const parseLabels = (field: Field | undefined): Labels => (field && labelsOf(field)) ?? new Map();

/** A pod of the case, in the case's own fields (not a Pod manifest). `families` are those that its addresses may have. */
export function parsePodEntry(field: Field, families: readonly Family[]): Pod | undefined {
  const fields = fieldsOf(field, POD_FIELDS);
  const namespaceField = required(field, fields, "namespace");
  const nameField = required(field, fields, "name");
  const namespace = namespaceField && checkedStringOf(namespaceField, namespaceName);
  const name = nameField && checkedStringOf(nameField, objectName);
  const labels = parseLabels(required(field, fields, "labels"));
  const ips = addressesOf(required(field, fields, "ips"), families);
  const ports = listOf(required(field, fields, "ports")).flatMap((item) => parseContainerPort(item) ?? []);
  for (const item of listOf(fields?.get("listen"))) checkListen(item);
  const hostField = fields?.get("hostNetwork");
  const hostNetwork = (hostField && booleanOf(hostField)) ?? false;
  const nodeField = fields?.get("node");
  const node = nodeField && stringOf(nodeField);
  if (namespace === undefined || name === undefined) return undefined;
  const pod = { namespace, name, labels, ips, hostNetwork, finished: false, ports };
  return node === undefined ? pod : { ...pod, node };
}

function parseContainerPort(field: Field): ContainerPort | undefined {
  const fields = fieldsOf(field, ["name", "port", "protocol"]);
  const nameField = fields?.get("name");
  const portField = required(field, fields, "port");
  const protocolField = required(field, fields, "protocol");
  const name = nameField && portNameOf(nameField);
  const port = portField && portNumberOf(portField);
  const protocol = protocolField && protocolOf(protocolField);
  if (port === undefined || protocol === undefined) return undefined;
  return name === undefined ? { port, protocol } : { name, port, protocol };
}

/** "TCP/80". */
export const PROTOCOL_AND_PORT = new RegExp(`^(${PROTOCOLS.join("|")})/([0-9]{1,5})$`);

/** Ports that are listened on and not declared matter to live probes only, so nothing is kept of them. */
function checkListen(field: Field): void {
  const text = stringOf(field);
  if (text !== undefined && !PROTOCOL_AND_PORT.test(text)) {
    note(field, `${quote(text)} is not a protocol and a port; expected one such as "TCP/8080"`);
  }
}

function addressesOf(field: Field | undefined, families: readonly Family[]): readonly Address[] {
  if (field !== undefined && Array.isArray(field.value) && field.value.length === 0)
    note(field, "is empty; expected addresses");
  return listOf(field).flatMap((item) => {
    const text = stringOf(item);
    const parsed = text === undefined ? undefined : parseAddress(text);
    if (parsed?.ok === false) note(item, `${quote(String(text))} is not a valid address: ${parsed.reason}`);
    if (parsed?.ok !== true) return [];
    if (!families.includes(parsed.value.family))
      note(item, `${parsed.value.text} is not of the cluster's ipFamily`);
    return [parsed.value];
  });
}

/** Nodes and externals. A node's name gets its prefix here, an external's has it already. Returns the nodes. */
function addPlaces(
  places: Map<string, readonly Address[]>,
  field: Field | undefined,
  prefix: "node:" | "ext:",
): readonly ClusterNode[] {
  return listOf(field).flatMap((item): ClusterNode[] => {
    const fields = fieldsOf(item, prefix === "node:" ? ["name", "labels", "ips"] : ["name", "ips"]);
    const nameField = required(item, fields, "name");
    const text = nameField && stringOf(nameField);
    const addresses = addressesOf(required(item, fields, "ips"), [4, 6]);
    const labels = prefix === "node:" ? parseLabels(required(item, fields, "labels")) : undefined;
    if (nameField === undefined || text === undefined) return [];
    if (prefix === "ext:" && !text.startsWith(prefix))
      note(nameField, `${quote(text)} must begin with "ext:"`);
    addOnce(places, prefix === "node:" ? prefix + text : text, addresses, item);
    return labels === undefined ? [] : [{ name: text, labels, addresses, podCidrs: [] }];
  });
}

function addOnce<T>(map: Map<string, T>, key: string, value: T, field: Field): void {
  if (map.has(key)) note(field, `${key} is there twice`);
  else map.set(key, value);
}
