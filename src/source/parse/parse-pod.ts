// Pod v1: the few fields that policies, endpoints and the datapath need. The hundreds of others are not looked at.

import type { Address } from "../../base/ip.ts";
import type { ContainerPort, Pod } from "../../model/cluster.ts";
import { addressAt } from "./addresses.ts";
import { annotationsOf } from "./annotations.ts";
import { type MetadataRules, parseMetadata } from "./common-fields.ts";
import {
  at,
  booleanOf,
  child,
  type Field,
  type Fields,
  fieldsOf,
  itemsOf,
  mapAt,
  note,
  stringOf,
} from "./fields.ts";
import { portNameOf, portNumberOf, protocolOf } from "./ports.ts";
import { objectName } from "./syntax.ts";

const POD_METADATA: MetadataRules = {
  strict: false,
  nameCheck: objectName,
  labelEffects: { all: "the pod counts as having no labels", one: "the pod counts as not having this label" },
};

const NOTHING: Fields = new Map();

/**
 * Of a static pod the API server shows a copy with a uid of its own; this annotation, which only nodes may set, has the one
 * that the node itself goes by, and that runtimes are told.
 */
const MIRROR = "kubernetes.io/config.mirror";

/** Undefined where the name or namespace cannot be read. Of everything else, what can be read counts. */
export function parsePod(field: Field): Pod | undefined {
  const fields = fieldsOf(field) ?? NOTHING;
  const metadata = parseMetadata(field, fields, POD_METADATA);
  const spec = mapAt(fields, "spec", "nothing of the spec counts");
  const status = mapAt(fields, "status", "the pod counts as having no address");
  const nodeName = at(spec, "nodeName", "the pod counts as having no node");
  const hostNetwork = at(spec, "hostNetwork", "the pod counts as not on the host's network");
  const phase = at(status, "phase", "the pod counts as running");
  const node = nodeName && stringOf(nodeName);
  const ips = addressesOf(status);
  const ports = [...portsOf(spec, "containers"), ...portsOf(spec, "initContainers")];
  const { attachment, sources, macs } = annotationsOf(metadata.annotations);
  const mirrored = metadata.annotations.get(MIRROR)?.value;
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
    // A deletionTimestamp does not finish a pod: it keeps its addresses until its phase says otherwise.
    finished: phaseText === "Succeeded" || phaseText === "Failed",
    ports,
    ...(metadata.deleting ? { deleting: true } : {}),
    ...(node ? { node } : {}),
    ...(typeof mirrored === "string" ? { uid: mirrored } : {}),
    ...(attachment ? { attachment } : {}),
    ...(sources ? { sources } : {}),
    ...(macs ? { macs } : {}),
  };
}

/** status.podIPs, or podIP where that is missing. The API server makes podIP the first of podIPs. */
function addressesOf(status: Fields): readonly Address[] {
  const listField = at(status, "podIPs", "the pod counts as having no address");
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
  const list = at(spec, key, "their ports' names are unknown");
  const containers = (list && itemsOf(list)) ?? [];
  return containers.flatMap((container) => {
    const fields = fieldsOf(container) ?? NOTHING;
    if (key === "initContainers" && fields.get("restartPolicy")?.value !== "Always") return [];
    const ports = fields.get("ports");
    return ((ports && itemsOf(ports)) ?? []).flatMap((port) => portOf(port) ?? []);
  });
}

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
