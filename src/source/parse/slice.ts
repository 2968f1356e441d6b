// EndpointSlice of discovery.k8s.io/v1: addresses and ports behind a Service, and which of them take connections.

import { type Family, parseAddress } from "../../base/ip.ts";
import type { EndpointSlice, SliceEndpoint } from "../../model/service.ts";
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
import { sliceNameOf } from "./parse-service.ts";
import { portNumberOf, protocolOf } from "./ports.ts";
import { objectName } from "./syntax.ts";
import { quote } from "./text.ts";

const SLICE_METADATA: MetadataRules = { strict: false, nameCheck: objectName };

const SERVICE_LABEL = "kubernetes.io/service-name";
const FAMILIES: ReadonlyMap<string, Family> = new Map([
  ["IPv4", 4],
  ["IPv6", 6],
]);
/** Names instead of addresses, which kube-proxy leaves alone. */
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
  const ports = listAt(fields, "ports", "the slice counts as having no ports").flatMap(portOf);
  const list = family && listAt(fields, "endpoints", "the slice counts as having no endpoints");
  const endpoints = family && list?.flatMap((item) => endpointOf(item, family));
  if (name === undefined || namespace === undefined || (family === undefined && type !== FQDN))
    return undefined;
  const service = labels.get(SERVICE_LABEL);
  return { namespace, name, service, family: family ?? 4, ports, endpoints: endpoints ?? [] };
}

function listAt(fields: Fields, key: string, effect: string): readonly Field[] {
  const field = at(fields, key, effect);
  return (field && itemsOf(field)) ?? [];
}

/** One without a number means all ports, which kube-proxy passes over. */
function portOf(plain: Field): EndpointSlice["ports"] {
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
    note(first, `${quote(text)} is no IPv${family} address${parsed.ok ? "" : `: ${parsed.reason}`}`);
    return [];
  }
  const nodeField = fields.get("nodeName");
  const node = nodeField && stringOf(nodeField);
  return [{ address: parsed.value, ...conditionsOf(fields), ...(node ? { node } : {}) }];
}

/** Missing ones mean ready, serving and not terminating, as they do to kube-proxy (endpointSliceCache). */
function conditionsOf(fields: Fields): Pick<SliceEndpoint, "ready" | "serving" | "terminating"> {
  const conditions = mapAt(fields, "conditions", "the endpoint counts as ready");
  const condition = (key: string, missing: boolean): boolean => {
    const field = at(conditions, key, `it counts as ${missing}`);
    return (field && booleanOf(field)) ?? missing;
  };
  return {
    ready: condition("ready", true),
    serving: condition("serving", true),
    terminating: condition("terminating", false),
  };
}
