// The tables that `weir maps` knows: what people call them, and which of the kernel's maps hold them.

export interface TableInfo {
  readonly name: TableName;
  /** Names of the maps as the C source has them; both families where there are two. */
  readonly maps: readonly string[];
  readonly holds: string;
}

export const TABLE_NAMES = [
  "cidrs",
  "addresses",
  "endpoints",
  "policy",
  "ports",
  "rows",
  "conntrack",
  "counters",
  "fragments",
  "recent-peers",
  "recent-flows",
  "scratch",
  "node",
] as const;

export type TableName = (typeof TABLE_NAMES)[number];

const HOLDS: Readonly<Record<TableName, readonly [maps: readonly string[], holds: string]>> = {
  cidrs: [["cidrs_v4", "cidrs_v6"], "prefixes of IP blocks and of their exceptions, each with its identity"],
  addresses: [
    ["addresses_v4", "addresses_v6"],
    "addresses of pods, each with its identity; asked before cidrs",
  ],
  endpoints: [["endpoints"], "this node's pods by interface, each with its policy for either direction"],
  policy: [["policy"], "for each policy the row of every identity"],
  ports: [["ports"], "the class of every port of every protocol"],
  rows: [["rows"], "the classes of ports that a row allows"],
  conntrack: [["conntrack_v4", "conntrack_v6"], "flows that were allowed, so that their replies pass"],
  counters: [["counters"], "packets and bytes of each endpoint by direction and reason"],
  fragments: [["fragments"], "the ports of fragmented packets, from their first fragments"],
  "recent-peers": [
    ["recent_peers_v4", "recent_peers_v6"],
    "what each CPU found lately in addresses and cidrs, good for one generation",
  ],
  "recent-flows": [
    ["recent_flows_v4", "recent_flows_v6"],
    "flows that each CPU has refreshed in conntrack, good for one tick",
  ],
  scratch: [["scratch"], "each CPU's room for the packet at hand"],
  node: [["node"], "the generation in force and the timeouts of flows"],
};

export const TABLES: readonly TableInfo[] = TABLE_NAMES.map((name) => {
  const [maps, holds] = HOLDS[name];
  return { name, maps, holds };
});

export const isTableName = (text: string): text is TableName =>
  (TABLE_NAMES as readonly string[]).includes(text);
