// Pod v1: the few fields that policies, endpoints and the datapath need. The hundreds of others are ignored.

import { type Address, type Cidr, type Parsed, parseAddress, parseCidr } from "../../base/ip.ts";
import { parseHardware } from "../../base/mac-address.ts";
import type { Attachment, ContainerPort, Pod } from "../../model/cluster.ts";
import {
  addressAt,
  linkName,
  type MetadataRules,
  netnsName,
  objectName,
  parseMetadata,
  plainMetadata,
  portNameOf,
  portNumberOf,
  protocolOf,
  withoutIssues,
} from "./common-fields.ts";
import {
  at,
  booleanOf,
  checkedStringOf,
  child,
  type Field,
  type Fields,
  fieldsOf,
  isMap,
  itemsOf,
  mapAt,
  note,
  quote,
  stringOf,
  warn,
} from "./fields.ts";

const POD_METADATA: MetadataRules = {
  strict: false,
  nameCheck: objectName,
  labelEffects: {
    all: "the pod is treated as having no labels",
    one: "the pod is treated as not having this label",
  },
};

const NOTHING: Fields = new Map();

/**
 * Of a static pod the API server shows a copy with a uid of its own; this annotation has the uid that the node and its runtime
 * use. Anyone who may create pods can set it on one that names a node: the kubelet does not run such a pod, and a uid
 * only ever counts together with the namespace and name.
 */
const MIRROR = "kubernetes.io/config.mirror";

/** Kubelets write hashes and UUIDs. */
const UID_LENGTH_MAX = 128;

/** The uid that the value of the annotation names. */
export const mirroredUid = (value: unknown): string | undefined =>
  typeof value === "string" && value.length <= UID_LENGTH_MAX ? value : undefined;

/** Undefined where the name or namespace cannot be read. Of everything else, what can be read counts. */
export function parsePod(field: Field): Pod | undefined {
  const fields = fieldsOf(field) ?? NOTHING;
  const metadata = parseMetadata(field, fields, POD_METADATA);
  const spec = mapAt(fields, "spec", "the spec is ignored");
  const status = mapAt(fields, "status", "the pod is treated as having no address");
  const nodeName = at(spec, "nodeName", "the pod is treated as having no node");
  const hostNetwork = at(spec, "hostNetwork", "the pod is treated as not on the host's network");
  const phase = at(status, "phase", "the pod is treated as running");
  const node = nodeName && stringOf(nodeName);
  const ips = addressesOf(status);
  const more = portsOf(spec, "initContainers");
  const ports = more.length === 0 ? portsOf(spec, "containers") : [...portsOf(spec, "containers"), ...more];
  const { attachment, sources, macs } = annotationsOf(metadata.annotations);
  const mirrored = mirroredUid(metadata.annotations.get(MIRROR)?.value);
  const phaseText = phase && stringOf(phase);
  const onHost = (hostNetwork && booleanOf(hostNetwork)) ?? false;
  const { name, namespace, labels } = metadata;
  if (name === undefined || namespace === undefined) return undefined;
  return {
    namespace,
    name,
    labels,
    ips,
    hostNetwork: onHost,
    // A deletionTimestamp does not finish a pod: it keeps its addresses until its phase is a final one.
    finished: phaseText === "Succeeded" || phaseText === "Failed",
    ports,
    ...(metadata.deleting ? { deleting: true } : {}),
    ...(node ? { node } : {}),
    ...(mirrored === undefined ? {} : { uid: mirrored }),
    ...(attachment ? { attachment } : {}),
    ...(sources ? { sources } : {}),
    ...(macs ? { macs } : {}),
  };
}

/**
 * Equal to parsePod() for a pod without issues and annotations, as nearly all are; undefined for whatever else. See plainMetadata().
 */
export function plainPod(value: unknown): Pod | undefined {
  if (!isMap(value) || !isMap(value["spec"]) || !isMap(value["status"])) return undefined;
  const metadata = plainMetadata(value["metadata"], objectName);
  const { nodeName: node, hostNetwork, containers, initContainers } = value["spec"];
  const { phase, podIP, podIPs } = value["status"];
  if (metadata === undefined || !isTextOrNone(node) || !isTextOrNone(phase)) return undefined;
  if (hostNetwork !== undefined && typeof hostNetwork !== "boolean") return undefined;
  const ips = plainAddresses(podIP, podIPs);
  const ports = plainPortsOf(containers, "containers");
  const more = plainPortsOf(initContainers, "initContainers");
  if (ips === undefined || ports === undefined || more === undefined) return undefined;
  const { namespace, name, labels, deleting } = metadata;
  return {
    namespace,
    name,
    labels,
    ips,
    hostNetwork: hostNetwork ?? false,
    finished: phase === "Succeeded" || phase === "Failed",
    ports: more.length === 0 ? ports : [...ports, ...more],
    ...(deleting ? { deleting: true } : {}),
    ...(node ? { node } : {}),
  };
}

const isTextOrNone = (value: unknown): value is string | undefined =>
  value === undefined || typeof value === "string";

function plainAddresses(single: unknown, list: unknown): readonly Address[] | undefined {
  if (list === undefined && single === undefined) return NO_ADDRESSES;
  if (!Array.isArray(list) || list.length === 0) return undefined;
  const addresses: Address[] = [];
  for (const item of list as unknown[]) {
    const ip = isMap(item) ? item["ip"] : undefined;
    const parsed = typeof ip === "string" ? parseAddress(ip) : undefined;
    if (parsed?.ok !== true || addresses.some(({ text }) => text === parsed.value.text)) return undefined;
    addresses.push(parsed.value);
  }
  return single === addresses[0]?.text ? addresses : undefined;
}

const NO_ADDRESSES: readonly Address[] = [];

const plainPortsOf = (
  value: unknown,
  key: "containers" | "initContainers",
): readonly ContainerPort[] | undefined =>
  value === undefined
    ? NO_PORTS
    : withoutIssues(value, (field) => portsIn({ ...field, effect: PORTS_UNKNOWN }, key));

/** status.podIPs, or podIP where that is missing. The API server makes podIP the first of podIPs. */
function addressesOf(status: Fields): readonly Address[] {
  const listField = at(status, "podIPs", "the pod is treated as having no address");
  const singleField = at(status, "podIP", "the address is ignored");
  const single = singleField === undefined || singleField.value === "" ? undefined : addressAt(singleField);
  if (listField === undefined) return single ? [single] : [];
  const addresses = new Map<string, Address>();
  for (const item of itemsOf(listField) ?? []) {
    const entry = { ...item, effect: "the address is ignored" };
    const fields = fieldsOf(entry);
    const ip = fields?.get("ip");
    if (fields !== undefined && ip === undefined) note(child(entry, "ip"), "is missing");
    const address = ip && addressAt(ip);
    if (address) addresses.set(address.text, address);
  }
  if (singleField && single && !addresses.has(single.text))
    note(singleField, `${single.text} is not in status.podIPs`);
  return [...addresses.values()];
}

/** The declared ports of containers, and of init containers that run on (restartPolicy Always makes one a sidecar). */
function portsOf(spec: Fields, key: "containers" | "initContainers"): readonly ContainerPort[] {
  const list = at(spec, key, PORTS_UNKNOWN);
  return list === undefined ? NO_PORTS : portsIn(list, key);
}

const PORTS_UNKNOWN = "their ports' names are unknown";

function portsIn(list: Field, key: "containers" | "initContainers"): readonly ContainerPort[] {
  const { value, issues } = list;
  const known = Array.isArray(value) ? plainPorts[key].get(value) : undefined;
  if (known !== undefined) return known;
  const ports = (itemsOf(list) ?? []).flatMap((container) => {
    const fields = fieldsOf(container) ?? NOTHING;
    if (key === "initContainers" && fields.get("restartPolicy")?.value !== "Always") return [];
    const ports = fields.get("ports");
    return ((ports && itemsOf(ports)) ?? []).flatMap((port) => portOf(port) ?? []);
  });
  if (issues.size === 0 && Array.isArray(value)) plainPorts[key].set(value, ports);
  return ports;
}

const NO_PORTS: readonly ContainerPort[] = [];

/** Of values without issues: those of pods that come one after the other are mostly the same object. */
const plainPorts = {
  containers: new WeakMap<object, readonly ContainerPort[]>(),
  initContainers: new WeakMap<object, readonly ContainerPort[]>(),
};

function portOf(plain: Field): ContainerPort | undefined {
  const field = { ...plain, effect: "the port is ignored" };
  const fields = fieldsOf(field);
  const number = fields?.get("containerPort");
  if (fields !== undefined && number === undefined) note(child(field, "containerPort"), "is missing");
  const nameField = fields?.get("name");
  const name = nameField && nameField.value !== "" ? portNameOf(nameField) : undefined;
  const port = number && portNumberOf(number);
  const protocol = protocolOf(fields?.get("protocol"));
  if (port === undefined || protocol === undefined) return undefined;
  if (nameField !== undefined && nameField.value !== "" && name === undefined) return undefined;
  return { port, protocol, ...(name === undefined ? {} : { name }) };
}

// Weir's own annotations of a pod: which interface it has, and which addresses it may send from.

const PREFIX = "weir.dev/";
const INTERFACE = "weir.dev/interface";
const NETNS = "weir.dev/netns";
const SOURCES = "weir.dev/allowed-sources";
const MACS = "weir.dev/allowed-macs";
const KNOWN: readonly string[] = [INTERFACE, NETNS, SOURCES, MACS];

/** An endpoint has room for eight, one of them the pod's own. */
const MACS_MAX = 7;

export interface PodAnnotations {
  readonly attachment: Attachment | undefined;
  /** Undefined where there are none, or not all of them can be read. */
  readonly sources: readonly Cidr[] | undefined;
  /** The same. */
  readonly macs: readonly string[] | undefined;
}

export function annotationsOf(annotations: Fields): PodAnnotations {
  for (const [key, field] of annotations) {
    if (!key.startsWith(PREFIX) || KNOWN.includes(key)) continue;
    warn({ ...field, effect: "it is ignored" }, "unknown annotation", {
      code: "annotation-unknown",
      fix: `expected ${KNOWN.slice(0, -1).join(", ")} or ${KNOWN.at(-1)}`,
    });
  }
  const sources = at(annotations, SOURCES, "the pod may send from its own addresses only");
  const macs = at(annotations, MACS, "the pod may send from its own MAC address only");
  return {
    attachment: attachmentOf(annotations),
    sources: sources && listAt(sources, parsedSource, "CIDR,CIDR,..."),
    macs: macs && macsAt(macs),
  };
}

function attachmentOf(annotations: Fields): Attachment | undefined {
  const effect = "the pod's interface is looked up by its addresses";
  const link = at(annotations, INTERFACE, effect);
  const netns = at(annotations, NETNS, effect);
  if (link && netns) {
    note(netns, `contradicts ${INTERFACE}; write one of them`);
    return undefined;
  }
  const linkText = link && checkedStringOf(link, linkName);
  const netnsText = netns && checkedStringOf(netns, netnsName);
  if (linkText !== undefined) return { kind: "link", name: linkText };
  if (netnsText !== undefined) return { kind: "netns", name: netnsText };
  return undefined;
}

/** All or nothing: a list that is half right is not what was meant. */
function listAt<T>(
  field: Field,
  parse: (text: string) => Parsed<T>,
  expected: string,
): readonly T[] | undefined {
  const text = stringOf(field);
  if (text === undefined) return undefined;
  const values: T[] = [];
  for (const each of text.split(",").map((part) => part.trim())) {
    const parsed = parse(each);
    if (!parsed.ok) {
      note(field, `${quote(each)}: ${parsed.reason}; write ${expected}`);
      return undefined;
    }
    values.push(parsed.value);
  }
  return values;
}

/** Anti-spoofing cannot be turned off. */
function parsedSource(text: string): Parsed<Cidr> {
  const parsed = parseCidr(text);
  if (!parsed.ok || parsed.value.length > 0) return parsed;
  return { ok: false, reason: "every address; it must be fewer" };
}

function macsAt(field: Field): readonly string[] | undefined {
  const macs = listAt(field, parseHardware, "MAC,MAC,...");
  const distinct = macs && [...new Set(macs)];
  if (distinct === undefined || distinct.length <= MACS_MAX) return distinct;
  note(field, `${distinct.length} addresses; at most ${MACS_MAX}`);
  return undefined;
}
