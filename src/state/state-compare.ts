// The differences between actual and desired state, entry by entry: for commands, and for the log of a repair.

import { bitsIn, type FilterWords, sameWords, unionOf } from "../base/address-filter.ts";
import {
  type Endpoint,
  identityIn,
  isAudited,
  NODE_SCOPE,
  policyNumber,
  type Span,
  type State,
  usesNames,
} from "./desired-state.ts";
import { type Held, portChanges } from "./state-diff.ts";

/** The tables whose content only the control plane decides. */
export const DESIRED_TABLES = [
  "cidrs",
  "addresses",
  "services",
  "domains",
  "endpoints",
  "sources",
  "policy",
  "ports",
  "rows",
  "node",
] as const;

export type DesiredTable = (typeof DESIRED_TABLES)[number];

/** One entry of a table. `wanted` and `held` are texts such as "identity 3"; each is absent if the entry is absent on that side. */
export interface Difference {
  readonly table: DesiredTable;
  /** The entry's key, as dumps show it; for `ports` the places on the port line. */
  readonly key: string;
  readonly wanted?: string;
  readonly held?: string;
  /** Only for `ports`. */
  readonly span?: Span;
  /** Only for `policy`: the number of the policy, and the identity of the row; without an identity the whole policy is missing. */
  readonly policy?: number;
  readonly identity?: number;
}

/** All differences, table by table, in the order of the entries. Empty if actual and desired state are equal. */
export function differences({ state, unsettled }: Held, want: State): Difference[] {
  return [
    ...ofMaps("cidrs", want.cidrs, state.cidrs, { text: identityText, unsettled: unsettled.cidrs }),
    ...ofMaps("addresses", want.addresses, state.addresses, {
      text: identityText,
      unsettled: unsettled.addresses,
    }),
    ...ofClosed(want.closed, state.closed),
    ...ofMaps("services", want.services, state.services, {
      text: identityText,
      unsettled: unsettled.services,
    }),
    ...ofMaps("domains", want.names, state.names, {
      text: (policy) => `policy ${policy}`,
      unsettled: new Set([...unsettled.names, ...unsettled.domains]),
    }),
    ...ofMaps("endpoints", want.endpoints, state.endpoints, {
      text: endpointText,
      unsettled: unsettled.endpoints,
    }),
    ...ofMaps("sources", prefixesIn(want), prefixesIn(state), {
      text: String,
      unsettled: new Set(unsettled.sources.map(({ ifindex, cidr }) => prefixKey(ifindex, cidr))),
    }),
    ...ofMaps("node", portsIn(want), portsIn(state), {
      text: String,
      unsettled: new Set(unsettled.tunnelPorts ? ["tunnel ports"] : []),
    }),
    ...ofPolicies(want, state, unsettled.policies),
    ...ofPorts(want, state, unsettled.ports),
    ...ofMaps("rows", want.rows, state.rows, { text: classesText, unsettled: new Set() }),
  ];
}

/** As one entry: which addresses the bits are of is not known. */
function ofClosed(want: FilterWords, have: FilterWords): Difference[] {
  if (sameWords(want, have)) return [];
  const key = "of Services whose ports are not known";
  const common = bitsIn(want) + bitsIn(have) - bitsIn(unionOf(want, have));
  return [
    differenceOf(
      { table: "addresses", key },
      `${bitsIn(want)} bits`,
      `${bitsIn(have)} bits, ${common} of them right`,
    ),
  ];
}

const prefixKey = (scope: number, cidr: string): string =>
  `${scope === NODE_SCOPE ? "nodes" : `interface ${scope}`} ${cidr}`;

/** Prefixes of scopes that belong to no endpoint; the sources of endpoints are compared with the endpoints. */
const prefixesIn = ({ scopes }: State): Map<string, string> =>
  new Map(
    [...scopes].flatMap(([scope, prefixes]) => prefixes.map((cidr) => [prefixKey(scope, cidr), "listed"])),
  );

const portsIn = ({ tunnelPorts }: State): Map<string, string> =>
  new Map([["tunnel ports", tunnelPorts.join(",") || "none"]]);

/** What the node's settings should be and are, by name. */
export type Settings = Readonly<Record<string, number>>;

export const settingsDifferences = (held: Settings, want: Settings): Difference[] =>
  ofMaps("node", new Map(Object.entries(want)), new Map(Object.entries(held)), {
    text: String,
    unsettled: new Set(),
  });

/** The number of differences of each table: "cidrs 1, policy 3". */
export function differencesText(found: readonly Difference[]): string {
  const counts = DESIRED_TABLES.map(
    (table) => [table, found.filter((each) => each.table === table).length] as const,
  );
  return counts
    .filter(([, count]) => count > 0)
    .map(([table, count]) => `${table} ${count}`)
    .join(", ");
}

const identityText = (value: number): string =>
  value === identityIn(value) ? `identity ${value}` : `identity ${identityIn(value)} of a frontend`;

const classesText = (classes: readonly number[]): string => `classes ${classes.join(",") || "none"}`;

const policyText = (policy: number): string =>
  `policy ${policyNumber(policy)}${usesNames(policy) ? " by names" : ""}${isAudited(policy) ? " (audit)" : ""}`;

function endpointText({ id, incarnation, addresses, sources, policy, link, tenant }: Endpoint): string {
  const bridge = link?.bridge === undefined ? "" : `, bridge ${link.bridge}`;
  const netns = link?.netns === undefined ? "" : `, netns ${link.netns}`;
  const hardware =
    link === undefined || link.hardware.length === 0 ? "" : `, hardware ${link.hardware.join(",")}`;
  const more = `${sources.length === 0 ? "" : `, sources ${sources.join(",")}`}${hardware}${bridge}${netns}${tenant === undefined ? "" : `, tenant ${tenant}`}`;
  const own = addresses.join(",") || "none";
  return `id ${id}, incarnation ${incarnation}, ingress ${policyText(policy.ingress)}, egress ${policyText(policy.egress)}, addresses ${own}${more}`;
}

interface Reader<K, V> {
  readonly text: (value: V) => string;
  readonly unsettled: ReadonlySet<K>;
}

function ofMaps<K extends string | number, V>(
  table: DesiredTable,
  want: ReadonlyMap<K, V>,
  have: ReadonlyMap<K, V>,
  { text, unsettled }: Reader<K, V>,
): Difference[] {
  const textIn = (map: ReadonlyMap<K, V>, key: K): string | undefined => {
    const value = map.get(key);
    return value === undefined ? undefined : text(value);
  };
  const found: Difference[] = [];
  for (const key of new Set([...want.keys(), ...have.keys(), ...unsettled])) {
    const [wanted, held] = [textIn(want, key), textIn(have, key)];
    if (wanted !== held) found.push(differenceOf({ table, key: String(key) }, wanted, held));
    else if (unsettled.has(key))
      found.push(differenceOf({ table, key: String(key) }, wanted, unsettledText(held)));
  }
  return found;
}

/** A wrong inactive version becomes active with the next update, unless it is repaired before. */
const unsettledText = (held: string | undefined): string =>
  `${held ?? "nothing"}, and something else in the version out of force`;

const differenceOf = (
  of: Omit<Difference, "wanted" | "held">,
  wanted: string | undefined,
  held: string | undefined,
): Difference => ({
  ...of,
  ...(wanted === undefined ? {} : { wanted }),
  ...(held === undefined ? {} : { held }),
});

function ofPolicies(want: State, have: State, unreadable: ReadonlySet<number>): Difference[] {
  const found: Difference[] = [];
  for (const policy of new Set([...want.policies.keys(), ...have.policies.keys()])) {
    const [wanted, held] = [want.policies.get(policy), have.policies.get(policy)];
    if (wanted === undefined || held === undefined || unreadable.has(policy)) {
      const text = (cells: ReadonlyMap<number, number> | undefined): string | undefined =>
        cells === undefined ? undefined : `rows of ${cells.size} identities`;
      const heldText = unreadable.has(policy) ? "rows that cannot be read: they are not pinned" : text(held);
      found.push(differenceOf({ table: "policy", key: String(policy), policy }, text(wanted), heldText));
      continue;
    }
    for (const identity of new Set([...wanted.keys(), ...held.keys()])) {
      const [row, heldRow] = [wanted.get(identity), held.get(identity)];
      if (row === heldRow) continue;
      const text = (number: number | undefined): string | undefined =>
        number === undefined ? undefined : `row ${number}`;
      found.push(
        differenceOf(
          { table: "policy", key: `${policy}, identity ${identity}`, policy, identity },
          text(row),
          text(heldRow),
        ),
      );
    }
  }
  return found;
}

function ofPorts(want: State, have: State, unsettled: boolean): Difference[] {
  const found = portChanges(have.ports, want.ports, false).map(
    ({ first, last, live, next }): Difference => ({
      table: "ports",
      key: `${first}-${last}`,
      span: { first, last },
      wanted: `class ${next}`,
      held: `class ${live}`,
    }),
  );
  if (found.length > 0 || !unsettled) return found;
  return [{ table: "ports", key: "all", held: "another class in the version out of force" }];
}
