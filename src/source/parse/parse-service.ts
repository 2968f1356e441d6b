// Service v1: its addresses, its ports, and the pods that it selects.

import type { Address } from "../../base/ip.ts";
import type { Service, ServicePort } from "../../model/service.ts";
import { addressAt } from "./addresses.ts";
import { type MetadataRules, parseMetadata } from "./common-fields.ts";
import { at, child, type Field, type Fields, fieldsOf, itemsOf, mapAt, note, stringOf } from "./fields.ts";
import { labelsOf } from "./labels.ts";
import { portNameOf, portNumberOf, protocolOf } from "./ports.ts";
import { objectName } from "./syntax.ts";

const SERVICE_METADATA: MetadataRules = { strict: false, nameCheck: objectName };

const HEADLESS = "None";

/** kube-proxy does not even ask for Services with one of these (pkg/proxy/apis/well_known_labels.go): it rewrites nothing for them. */
const OTHER_PROXY_LABELS = ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];

/** Undefined where the name or namespace cannot be read. Of everything else, what can be read counts. */
export function parseService(field: Field): Service | undefined {
  const fields = fieldsOf(field) ?? new Map();
  const { name, namespace, labels } = parseMetadata(field, fields, SERVICE_METADATA);
  const spec = mapAt(fields, "spec", "the Service counts as having no address");
  const status = mapAt(fields, "status", "it counts as having no load balancer");
  const type = textAt(spec, "type");
  const clusterIps = clusterIpsOf(spec);
  const external = [...addressList(at(spec, "externalIPs", IGNORED)), ...loadBalancerIps(status)];
  const ports = portsOf(spec);
  const selector = selectorOf(spec);
  const onlyLocal = textAt(spec, "internalTrafficPolicy") === "Local";
  if (name === undefined || namespace === undefined) return undefined;
  // Passed over by kube-proxy (the first two by ShouldSkipService of k8s.io/kubernetes/pkg/proxy/util). An address that is not
  // rewritten is judged as itself: else a Service could lend any externalIP the verdict of its own pods.
  const skipped =
    type === "ExternalName" ||
    clusterIps === HEADLESS ||
    OTHER_PROXY_LABELS.some((label) => labels.has(label));
  return {
    namespace,
    name,
    clusterIps: skipped ? [] : clusterIps,
    externalIps: skipped ? [] : distinct(external),
    ports,
    selector,
    onlyLocal,
  };
}

const IGNORED = "the address counts as no Service's";

function textAt(fields: Fields, key: string): string | undefined {
  const field = at(fields, key, "it counts as missing");
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

/** Of a load balancer that leaves the packets' destination alone; where it does not (ipMode Proxy), kube-proxy does. */
function loadBalancerIps(status: Fields): Address[] {
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
  const list = at(spec, "ports", "the Service counts as having no ports");
  const seen = new Set<string>();
  return ((list && itemsOf(list)) ?? []).flatMap((item) => {
    const port = portOf({ ...item, effect: "the port is ignored" });
    if (port === undefined) return [];
    const key = `${port.protocol}/${port.port}`;
    if (seen.has(key)) note(child(item, "port"), `${key} is there twice; the first one counts`);
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
  const field = at(spec, "selector", "the Service counts as selecting no pods");
  const labels = field && labelsOf(field);
  return labels === undefined || labels.size === 0 ? undefined : labels;
}
