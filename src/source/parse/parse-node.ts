// Node v1: its labels, its addresses, and those that its pods get.

import { type Address, type Cidr, parseAddress, parseCidr } from "../../base/ip.ts";
import type { ClusterNode } from "../../model/cluster.ts";
import { type MetadataRules, objectName, parseMetadata } from "./common-fields.ts";
import { at, type Field, type Fields, fieldsOf, itemsOf, mapAt, note, quote, stringOf } from "./fields.ts";

const NODE_METADATA: MetadataRules = {
  strict: false,
  nameCheck: objectName,
  labelEffects: { all: "no selector with labels matches the node", one: "the node is treated as without it" },
};

/** Other types (Hostname, InternalDNS, ExternalDNS) are names. */
const ADDRESS_TYPES: readonly unknown[] = ["InternalIP", "ExternalIP"];

const NO_ADDRESS = "the address is treated as no node's";
const NO_RANGE = "the range is treated as no node's";

/** Undefined where the name cannot be read. Of everything else, what can be read counts. */
export function parseNode(field: Field): ClusterNode | undefined {
  const fields = fieldsOf(field) ?? new Map<string, Field>();
  const { name, labels } = parseMetadata(field, fields, NODE_METADATA);
  const addresses = addressesOf(mapAt(fields, "status", "the node is treated as having no address"));
  const podCidrs = rangesOf(mapAt(fields, "spec", "the node's pods may have any address"));
  return name === undefined ? undefined : { name, labels, addresses, podCidrs };
}

function addressesOf(status: Fields): readonly Address[] {
  const list = at(status, "addresses", "the node is treated as having no address");
  const found = ((list && itemsOf(list)) ?? []).flatMap((item) => {
    const entry = fieldsOf({ ...item, effect: NO_ADDRESS });
    const address = entry?.get("address");
    if (address === undefined || !ADDRESS_TYPES.includes(entry?.get("type")?.value)) return [];
    return readAt({ ...address, effect: NO_ADDRESS }, parseAddress, "an address");
  });
  return [...new Map(found.map((address) => [address.text, address])).values()];
}

/** spec.podCIDRs, or podCIDR where that is missing. The API server makes podCIDR the first of podCIDRs. */
function rangesOf(spec: Fields): readonly Cidr[] {
  const list = at(spec, "podCIDRs", NO_RANGE);
  const single = at(spec, "podCIDR", NO_RANGE);
  const items = (list && itemsOf(list)) ?? (single && single.value !== "" ? [single] : []);
  return items.flatMap((item) => readAt({ ...item, effect: NO_RANGE }, parseCidr, "a CIDR"));
}

function readAt<T>(
  field: Field,
  parse: (text: string) => { ok: true; value: T } | { ok: false; reason: string },
  what: string,
): T[] {
  const text = stringOf(field);
  if (text === undefined) return [];
  const parsed = parse(text);
  if (parsed.ok) return [parsed.value];
  note(field, `${quote(text)} is not ${what}: ${parsed.reason}`);
  return [];
}
