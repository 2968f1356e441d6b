// Service v1: its addresses, its ports, and the pods that it selects.

import { type Address, type Family, parseAddress } from "../../base/ip.ts";
import type { Labels } from "../../model/selector.ts";
import type { EndpointSlice, Service, ServicePort, SliceEndpoint } from "../../model/service.ts";
import {
  addressAt,
  labelsOf,
  type MetadataRules,
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
} from "./fields.ts";

const SERVICE_METADATA: MetadataRules = { strict: false, nameCheck: objectName };

const HEADLESS = "None";

/**
 * kube-proxy does not even list Services with one of these (pkg/proxy/apis/well_known_labels.go): it rewrites nothing
 * for them.
 */
export const OTHER_PROXY_LABELS = [
  "service.kubernetes.io/service-proxy-name",
  "service.kubernetes.io/headless",
];

/** Undefined where the name or namespace cannot be read. Of everything else, what can be read counts. */
export function parseService(field: Field): Service | undefined {
  const fields = fieldsOf(field) ?? new Map();
  const { name, namespace, labels } = parseMetadata(field, fields, SERVICE_METADATA);
  const spec = mapAt(fields, "spec", "the Service is treated as having no address");
  const status = mapAt(fields, "status", "it is treated as having no load balancer");
  const type = textAt(spec, "type");
  const clusterIps = clusterIpsOf(spec);
  const externalIps = addressList(at(spec, "externalIPs", IGNORED));
  const loadBalancerIps = loadBalancerIpsOf(status);
  const ports = portsOf(spec);
  const selector = selectorOf(spec);
  const onlyLocal = textAt(spec, "internalTrafficPolicy") === "Local";
  const onlyLocalOutside = textAt(spec, "externalTrafficPolicy") === "Local";
  if (name === undefined || namespace === undefined) return undefined;
  // Skipped by kube-proxy (the first two by ShouldSkipService of k8s.io/kubernetes/pkg/proxy/util). An address that is
  // not rewritten is judged as itself: else a Service could lend any externalIP the verdict of its own pods.
  const skipped =
    type === "ExternalName" ||
    clusterIps === HEADLESS ||
    OTHER_PROXY_LABELS.some((label) => labels.has(label));
  return {
    namespace,
    name,
    clusterIps: skipped ? [] : clusterIps,
    externalIps: skipped ? [] : distinct(externalIps),
    loadBalancerIps: skipped ? [] : distinct(loadBalancerIps),
    ports,
    selector,
    onlyLocal,
    ...(onlyLocalOutside && { onlyLocalOutside }),
  };
}

const IGNORED = "the address is treated as no Service's";

function textAt(fields: Fields, key: string): string | undefined {
  const field = at(fields, key, "it is treated as missing");
  return field && stringOf(field);
}

/** spec.clusterIPs, or clusterIP where that is missing. The API server makes clusterIP the first of clusterIPs. */
function clusterIpsOf(spec: Fields): readonly Address[] | typeof HEADLESS {
  const list = at(spec, "clusterIPs", IGNORED);
  const single = at(spec, "clusterIP", IGNORED);
  const items = (list && itemsOf(list)) ?? (single && single.value !== "" ? [single] : []);
  if (items.some(({ value }) => value === HEADLESS)) return HEADLESS;
  return distinct(items.flatMap((item) => addressAt({ ...item, effect: IGNORED }) ?? []));
}

const addressList = (field: Field | undefined): Address[] =>
  ((field && itemsOf(field)) ?? []).flatMap((item) => addressAt(item) ?? []);

/** Of a load balancer that leaves the packets' destination unchanged; where it does not (ipMode Proxy), kube-proxy does. */
function loadBalancerIpsOf(status: Fields): Address[] {
  const ingress = at(mapAt(status, "loadBalancer", IGNORED), "ingress", IGNORED);
  return ((ingress && itemsOf(ingress)) ?? []).flatMap((item) => {
    const fields = fieldsOf(item) ?? new Map<string, Field>();
    const ip = fields.get("ip");
    if (ip === undefined || ip.value === "" || fields.get("ipMode")?.value === "Proxy") return [];
    return addressAt(ip) ?? [];
  });
}

const distinct = (addresses: readonly Address[]): Address[] => [
  ...new Map(addresses.map((address) => [address.text, address])).values(),
];

function portsOf(spec: Fields): readonly ServicePort[] {
  const list = at(spec, "ports", "the Service is treated as having no ports");
  const seen = new Set<string>();
  return ((list && itemsOf(list)) ?? []).flatMap((item) => {
    const port = portOf({ ...item, effect: "the port is ignored" });
    if (port === undefined) return [];
    const key = `${port.protocol}/${port.port}`;
    if (seen.has(key)) note(child(item, "port"), `${key} is declared twice; the first one is used`);
    else seen.add(key);
    return [port];
  });
}

function portOf(field: Field): ServicePort | undefined {
  const fields = fieldsOf(field);
  if (fields === undefined) return undefined;
  const number = fields.get("port");
  if (number === undefined) note(child(field, "port"), "is missing");
  const port = number && portNumberOf(number);
  const protocol = protocolOf(fields.get("protocol"));
  const name = sliceNameOf(fields.get("name"));
  const target = targetOf(fields.get("targetPort"));
  if (port === undefined || protocol === undefined || name === undefined || target === undefined)
    return undefined;
  return { name, protocol, port, target: target === SAME ? port : target };
}

/** Of a port of a Service or slice: "" where it is missing. */
export function sliceNameOf(field: Field | undefined): string | undefined {
  return field === undefined ? "" : stringOf(field);
}

const SAME = Symbol("the port itself");

/** A number, or a name on each of the pods; zero and nothing mean the port itself. */
function targetOf(field: Field | undefined): number | string | typeof SAME | undefined {
  if (field === undefined || field.value === 0 || field.value === "") return SAME;
  if (typeof field.value === "string") return portNameOf(field);
  return portNumberOf(field, "a number from 1 to 65535 or a port's name");
}

/** An empty one selects nothing, as a missing one does. */
function selectorOf(spec: Fields): Service["selector"] {
  const field = at(spec, "selector", "the Service is treated as selecting no pods");
  const labels = field && labelsOf(field);
  return labels === undefined || labels.size === 0 ? undefined : labels;
}

// EndpointSlice of discovery.k8s.io/v1: addresses and ports behind a Service, and which of them take connections.

const SLICE_METADATA: MetadataRules = { strict: false, nameCheck: objectName };

const SERVICE_LABEL = "kubernetes.io/service-name";
const FAMILIES: ReadonlyMap<string, Family> = new Map([
  ["IPv4", 4],
  ["IPv6", 6],
]);
/** Names instead of addresses, which kube-proxy ignores. */
const FQDN = "FQDN";

/** Undefined where the name, the namespace or the family cannot be read. Of everything else, what can be read counts. */
export function parseSlice(field: Field): EndpointSlice | undefined {
  const fields = fieldsOf(field) ?? new Map();
  const { name, namespace, labels } = parseMetadata(field, fields, SLICE_METADATA);
  const typeField = fields.get("addressType");
  if (typeField === undefined) note(child(field, "addressType"), "is missing; expected IPv4, IPv6 or FQDN");
  const type = typeField && stringOf(typeField);
  const family = FAMILIES.get(type ?? "");
  if (typeField !== undefined && type !== undefined && type !== FQDN && family === undefined)
    note(typeField, `${quote(type)} is not a type of addresses; expected IPv4, IPv6 or FQDN`);
  const ports = listAt(fields, "ports", "the slice is treated as having no ports").flatMap(slicePortOf);
  const list = family && listAt(fields, "endpoints", "the slice is treated as having no endpoints");
  const endpoints = family && list?.flatMap((item) => endpointOf(item, family));
  if (name === undefined || namespace === undefined || (family === undefined && type !== FQDN))
    return undefined;
  return {
    namespace,
    name,
    service: serviceOf(labels),
    family: family ?? 4,
    ports,
    endpoints: endpoints ?? [],
  };
}

/** A slice of another proxy is none of kube-proxy's, which does not list it either. */
const serviceOf = (labels: Labels): string | undefined =>
  OTHER_PROXY_LABELS.some((label) => labels.has(label)) ? undefined : labels.get(SERVICE_LABEL);

/** Equal to parseSlice() for a slice of addresses without issues; undefined for whatever else. See plainMetadata(). */
export function plainSlice(value: unknown): EndpointSlice | undefined {
  if (!isMap(value) || typeof value["addressType"] !== "string") return undefined;
  const family = FAMILIES.get(value["addressType"]);
  const metadata = plainMetadata(value["metadata"], objectName);
  const { ports: givenPorts, endpoints: list } = value;
  if (family === undefined || metadata === undefined || !Array.isArray(list)) return undefined;
  const ports = withoutIssues(givenPorts, (field) => itemsOf(field)?.flatMap(slicePortOf));
  if (ports === undefined) return undefined;
  const endpoints: SliceEndpoint[] = [];
  for (const item of list as unknown[]) {
    const endpoint = plainEndpoint(item, family);
    if (endpoint === undefined) return undefined;
    endpoints.push(endpoint);
  }
  const { namespace, name, labels } = metadata;
  return { namespace, name, service: serviceOf(labels), family, ports, endpoints };
}

function plainEndpoint(value: unknown, family: Family): SliceEndpoint | undefined {
  if (!isMap(value)) return undefined;
  const { addresses, conditions = NOTHING, nodeName: node } = value;
  const text: unknown = Array.isArray(addresses) ? addresses[0] : undefined;
  const parsed = typeof text === "string" ? parseAddress(text) : undefined;
  if (parsed?.ok !== true || parsed.value.family !== family || !isMap(conditions)) return undefined;
  const { ready = true, serving = true, terminating = false } = conditions;
  if (typeof ready !== "boolean" || typeof serving !== "boolean" || typeof terminating !== "boolean")
    return undefined;
  if (node !== undefined && typeof node !== "string") return undefined;
  const address = parsed.value;
  return node ? { address, ready, serving, terminating, node } : { address, ready, serving, terminating };
}

const NOTHING = {};

function listAt(fields: Fields, key: string, effect: string): readonly Field[] {
  const field = at(fields, key, effect);
  return (field && itemsOf(field)) ?? [];
}

/** One without a number means all ports, which kube-proxy skips. */
function slicePortOf(plain: Field): EndpointSlice["ports"] {
  const field = { ...plain, effect: "the port is ignored" };
  const fields = fieldsOf(field);
  const number = fields?.get("port");
  const port = number && portNumberOf(number);
  const protocol = protocolOf(fields?.get("protocol"));
  const name = sliceNameOf(fields?.get("name"));
  return port === undefined || protocol === undefined || name === undefined ? [] : [{ name, protocol, port }];
}

function endpointOf(plain: Field, family: Family): SliceEndpoint[] {
  const field = { ...plain, effect: "the endpoint is ignored" };
  const fields = fieldsOf(field) ?? new Map<string, Field>();
  const list = fields.get("addresses");
  if (list === undefined) note(child(field, "addresses"), "is missing");
  const first = list && itemsOf(list)?.[0];
  if (list !== undefined && Array.isArray(list.value) && first === undefined)
    note(list, "is empty; expected an address");
  const text = first && stringOf(first);
  const parsed = text === undefined ? undefined : parseAddress(text);
  if (first === undefined || text === undefined || parsed === undefined) return [];
  if (!parsed.ok || parsed.value.family !== family) {
    note(first, `${quote(text)} is not an IPv${family} address${parsed.ok ? "" : `: ${parsed.reason}`}`);
    return [];
  }
  const nodeField = fields.get("nodeName");
  const node = nodeField && stringOf(nodeField);
  const { ready, serving, terminating } = conditionsOf(fields);
  // Written out in one piece, an object takes no more memory than its fields.
  return [
    node
      ? { address: parsed.value, ready, serving, terminating, node }
      : { address: parsed.value, ready, serving, terminating },
  ];
}

/** Missing ones mean ready, serving and not terminating, as they do to kube-proxy (endpointSliceCache). */
function conditionsOf(fields: Fields): Pick<SliceEndpoint, "ready" | "serving" | "terminating"> {
  const conditions = mapAt(fields, "conditions", "the endpoint is treated as ready");
  const condition = (key: string, missing: boolean): boolean => {
    const field = at(conditions, key, `it is treated as ${missing}`);
    return (field && booleanOf(field)) ?? missing;
  };
  return {
    ready: condition("ready", true),
    serving: condition("serving", true),
    terminating: condition("terminating", false),
  };
}
