// Checks that the BPF object has the layout and the limits that this build expects.

import type { BpfObject } from "bpf-ts";
import { CLOSED_FILTER_BITS } from "../base/address-filter.ts";
import { assert } from "../base/assert.ts";
import { OperationError } from "../base/errors.ts";
import {
  ENDPOINT_ADDRESSES,
  ENDPOINT_HARDWARE,
  CLOSED_FILTER_BITS as LAYOUT_CLOSED_FILTER_BITS,
  LAYOUT_DIGEST,
  IDENTITY_FRONTEND as LAYOUT_IDENTITY_FRONTEND,
  NODE_SCOPE as LAYOUT_NODE_SCOPE,
  POLICY_AUDIT as LAYOUT_POLICY_AUDIT,
  POLICY_NAMES as LAYOUT_POLICY_NAMES,
  PORT_LINE_OTHER as LAYOUT_PORT_LINE_OTHER,
  ROW_ALL as LAYOUT_ROW_ALL,
  ROW_NONE as LAYOUT_ROW_NONE,
  ROW_NOTHING as LAYOUT_ROW_NOTHING,
  TENANTS as LAYOUT_TENANTS,
  MAPS,
  ROW_WORDS,
  TUNNEL_PORTS,
  VERSIONS,
} from "../gen/layout.ts";
import { DENIED_COUNTERS } from "../state/denied-prefixes.ts";
import {
  HARDWARE_MAX,
  IDENTITY_FRONTEND,
  LIMITS,
  NODE_SCOPE,
  NUMBERS,
  OWN_ADDRESSES_MAX,
  POLICY_AUDIT,
  POLICY_NAMES,
  PORT_LINE_OTHER,
  ROW_ALL,
  ROW_NONE,
  ROW_NOTHING,
  TENANTS,
  TUNNEL_PORTS_MAX,
} from "../state/desired-state.ts";
import { digestOf, type Layout, layoutOf } from "./btf-layout.ts";

/** The object's layout. Throws an OperationError (code "LAYOUT") unless the object's layout is the one that src/gen/layout.ts describes. */
export function checkLayout(object: Pick<BpfObject, "btf">, path: string): Layout {
  const facts = { operation: "check the layout of", object: path, code: "LAYOUT" };
  if (object.btf === undefined)
    throw new OperationError("the object was built without BTF (clang -g)", facts);
  const layout = layoutOf(object.btf);
  const found = digestOf(layout);
  if (found === LAYOUT_DIGEST) return layout;
  throw new OperationError(
    `its digest is ${found}, but this program was built for ${LAYOUT_DIGEST}; rebuild both with: npm run build`,
    facts,
  );
}

// Compares the sizes and fixed numbers that the desired state assumes with the object's layout.

/** Throws if bpf/layout.h or bpf/maps.h and src/state/desired-state.ts disagree: a bug, found at every start. */
export function checkLimits(): void {
  const facts: readonly (readonly [what: string, state: number, layout: number])[] = [
    ["endpoints (0 is unknown)", NUMBERS.endpoints, MAPS.counters.maxEntries - 1],
    ["IPv4 sources, old and new", 2 * LIMITS.sources, MAPS.sources_v4.maxEntries],
    ["IPv6 sources, old and new", 2 * LIMITS.sources, MAPS.sources_v6.maxEntries],
    ["IPv4 addresses, old and new", 2 * LIMITS.addresses, MAPS.addresses_v4.maxEntries],
    ["IPv6 addresses, old and new", 2 * LIMITS.addresses, MAPS.addresses_v6.maxEntries],
    ["IPv4 prefixes, old and new", 2 * LIMITS.cidrs, MAPS.cidrs_v4.maxEntries],
    ["IPv6 prefixes, old and new", 2 * LIMITS.cidrs, MAPS.cidrs_v6.maxEntries],
    ["policies (0 is none)", NUMBERS.policies, MAPS.policy.maxEntries - 1],
    ["IPv4 services, old and new", 2 * LIMITS.services, MAPS.services_v4.maxEntries],
    ["IPv6 services, old and new", 2 * LIMITS.services, MAPS.services_v6.maxEntries],
    ["rows (0 to 2 are fixed)", NUMBERS.rows, MAPS.rows.maxEntries - 3],
    ["classes (0 is other)", NUMBERS.classes, ROW_WORDS * 64 - 1],
    ["counters of denied prefixes", DENIED_COUNTERS, MAPS.denied_counts.maxEntries],
    ["own addresses", OWN_ADDRESSES_MAX, ENDPOINT_ADDRESSES],
    ["MAC addresses", HARDWARE_MAX, ENDPOINT_HARDWARE],
    ["tunnel ports", TUNNEL_PORTS_MAX, TUNNEL_PORTS],
    ["the scope of nodes", NODE_SCOPE, LAYOUT_NODE_SCOPE],
    ["places of the port line", PORT_LINE_OTHER, LAYOUT_PORT_LINE_OTHER],
    ["ports", PORT_LINE_OTHER + 1, MAPS.ports.maxEntries],
    ["the bit of audit", POLICY_AUDIT, LAYOUT_POLICY_AUDIT],
    ["the bit of names", POLICY_NAMES, LAYOUT_POLICY_NAMES],
    ["domain names, old and new", 2 * LIMITS.domains, MAPS.domain_names.maxEntries],
    ["domain names for policies, old and new", 2 * LIMITS.names, MAPS.name_policies.maxEntries],
    ["the row of nothing", ROW_NOTHING, LAYOUT_ROW_NOTHING],
    ["the row of all", ROW_ALL, LAYOUT_ROW_ALL],
    ["the row of none", ROW_NONE, LAYOUT_ROW_NONE],
    ["the mark of frontends", IDENTITY_FRONTEND, LAYOUT_IDENTITY_FRONTEND],
    ["tenants of the flow table", TENANTS, LAYOUT_TENANTS],
    ["bits of closed addresses", CLOSED_FILTER_BITS, LAYOUT_CLOSED_FILTER_BITS],
    ["versions of a value", 2, VERSIONS],
  ];
  for (const [what, state, layout] of facts)
    assert(state === layout, `${what}: state has ${state}, the layout ${layout}`);
}
