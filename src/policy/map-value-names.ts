// Readable names for the numbers in the maps, for dumps and events. Depends on the compiled policy, not on the kernel.

import { present } from "../base/assert.ts";
import { DIRECTIONS } from "../base/direction.ts";
import { holdersText } from "../model/address-ownership.ts";
import { keyOf } from "../model/cluster.ts";
import { clusterPolicyText } from "../model/cluster-network-policy.ts";
import { exceptionsOf } from "../model/network-policy.ts";
import { serviceKey } from "../state/desired-state.ts";
import type { EndpointSides, Meaning } from "./compile.ts";
import { sidesIn } from "./enforced-policies.ts";
import { localText } from "./local-endpoints.ts";
import { placeOf, portSetText } from "./port-classes.ts";
import { allClauses, type Clause, tierPoliciesOf } from "./subjects.ts";
import type { TierClause } from "./tiers.ts";

export interface Names {
  readonly endpoints: Record<string, string>;
  readonly addresses: Record<string, string>;
  readonly services: Record<string, string>;
  readonly identities: Record<string, string[]>;
  readonly cidrs: Record<string, string[]>;
  readonly policies: Record<string, PolicyNames>;
  readonly rows: Record<string, string>;
  readonly classes: Record<string, string>;
}

export interface PolicyNames {
  /** The sides that have this policy, as "ingress of alpha/nginx". */
  readonly of: string[];
  /** The policies that it is compiled from, as `namespace/name`; those of all sides, which may differ with an equal result. */
  readonly from: string[];
}

/** Names for everything that a compile has numbered. */
export function namesOf(
  meaning: Meaning,
  policyNumber: (entry: EndpointSides) => Record<string, number>,
): Names {
  const { holders } = meaning.classified;
  const services = meaning.services();
  const clauses = sidesIn(meaning.sides).flatMap(allClauses);
  const sources = termSources(clauses);
  const termKeys = new Map([...meaning.terms].map(([number, term]) => [number, term.key]));
  const identityNames = (terms: readonly number[]) =>
    [...new Set(terms.flatMap((number) => sources.get(termKeys.get(number) ?? "") ?? []))].sort();
  return {
    endpoints: Object.fromEntries(meaning.sides.map(({ local }) => [local.ifindex, localText(local)])),
    addresses: Object.fromEntries(
      [...holders.keys()].map((text) => [text, holdersText(present(holders.get(text), "a holder"))]),
    ),
    services: Object.fromEntries(
      services.map(({ frontend: { address, protocol, port, service } }) => [
        serviceKey(address.text, placeOf(protocol, port)),
        service,
      ]),
    ),
    identities: Object.fromEntries([
      ...[...meaning.identities].map(([number, set]) => [number, identityNames(set.terms)]),
      ...serviceNames(services),
    ]),
    cidrs: Object.fromEntries(cidrNames(clauses)),
    policies: Object.fromEntries(policyNames(meaning.sides, policyNumber)),
    rows: portTexts(meaning.rows),
    classes: portTexts(meaning.classes),
  };
}

/** A Service identity represents the Services whose backends no policy distinguishes. */
function serviceNames(services: ReturnType<Meaning["services"]>): [number, string[]][] {
  const names = new Map<number, Set<string>>();
  for (const { identity, frontend } of services) {
    const known = names.get(identity) ?? new Set();
    names.set(identity, known.add(`Service ${frontend.service} ${frontend.protocol}/${frontend.port}`));
  }
  return [...names].map(([identity, texts]) => [identity, [...texts].sort()]);
}

const portTexts = (sets: Meaning["rows"]) =>
  Object.fromEntries([...sets].map(([number, set]) => [number, portSetText(set)]));

function termSources(clauses: readonly (Clause | TierClause)[]): Map<string, string[]> {
  const sources = new Map<string, string[]>();
  for (const { term, source, direction } of clauses) {
    if (term === undefined) continue;
    const { resolves } = term;
    const port =
      resolves === undefined ? "" : ` where port ${resolves.name} is ${resolves.protocol}/${resolves.port}`;
    const text = `${source}.${direction === "ingress" ? "from" : "to"}${port}`;
    const known = sources.get(term.key) ?? [];
    if (!known.includes(text)) sources.set(term.key, [...known, text]);
  }
  return sources;
}

function cidrNames(clauses: readonly (Clause | TierClause)[]): Map<string, string[]> {
  const names = new Map<string, string[]>();
  const note = (cidr: string, text: string) => {
    const known = names.get(cidr) ?? [];
    if (!known.includes(text)) names.set(cidr, [...known, text]);
  };
  for (const { peers, source, direction } of clauses) {
    if (peers === "anyone") continue;
    for (const [index, peer] of peers.entries()) {
      if (peer.kind !== "block") continue;
      const where = `${source}.${direction === "ingress" ? "from" : "to"}[${index}]`;
      note(peer.cidr.text, `${where}: in the block`);
      for (const except of exceptionsOf(peer)) note(except.text, `${where}: excepted`);
    }
  }
  return names;
}

function policyNames(
  sides: readonly EndpointSides[],
  policyNumber: (entry: EndpointSides) => Record<string, number>,
): Map<string, PolicyNames> {
  const names = new Map<string, PolicyNames>();
  for (const entry of sides) {
    for (const direction of DIRECTIONS) {
      const side = entry.sides[direction];
      const number = policyNumber(entry)[direction];
      if (side === undefined || number === undefined) continue;
      const { of, from } = names.get(String(number)) ?? { of: [], from: [] };
      names.set(String(number), {
        of: [...of, `${direction} of ${localText(entry.local)}`],
        from: [
          ...new Set([
            ...from,
            ...side.policies.map(keyOf),
            ...tierPoliciesOf(side).map(({ policy }) => clusterPolicyText(policy)),
          ]),
        ],
      });
    }
  }
  return names;
}
