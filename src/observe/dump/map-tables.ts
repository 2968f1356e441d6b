// The tables of `weir maps`: their names for people, and the kernel's maps that hold them.

export interface TableInfo extends TableFacts {
  readonly name: TableName;
}

interface TableFacts {
  /** Names of the maps as in the C source; both families if there are two. */
  readonly maps: readonly string[];
  readonly holds: string;
  /** The writer. What the programs write changes with every packet. */
  readonly by: "agent" | "programs";
  /** Fields of the JSON that identify an entry; none if the table is one entry. */
  readonly key: readonly string[];
}

export const TABLE_NAMES = [
  "cidrs",
  "addresses",
  "services",
  "endpoints",
  "sources",
  "policy",
  "domains",
  "ports",
  "rows",
  "names",
  "conntrack",
  "statistics",
  "counters",
  "fragments",
  "events",
  "known",
  "index",
  "denied",
  "uplinks",
  "node",
] as const;

export type TableName = (typeof TABLE_NAMES)[number];

const FLOW_KEY = ["protocol", "local", "localPort", "remote", "remotePort", "ifindex"];

const FACTS: Readonly<Record<TableName, TableFacts>> = {
  cidrs: {
    maps: ["cidrs_v4", "cidrs_v6"],
    holds: "prefixes of IP blocks and of their exceptions, each with its identity",
    by: "agent",
    key: ["cidr"],
  },
  addresses: {
    maps: ["addresses_v4", "addresses_v6"],
    holds: "addresses of pods and Services, each with its identity; looked up before cidrs",
    by: "agent",
    key: ["address"],
  },
  services: {
    maps: ["services_v4", "services_v6"],
    holds: "ports of Services' addresses, each with the identity of what is behind it",
    by: "agent",
    key: ["address", "port"],
  },
  endpoints: {
    maps: ["endpoints"],
    holds: "this node's pods by interface, each with its policy for either direction",
    by: "agent",
    key: ["ifindex"],
  },
  sources: {
    maps: ["sources_v4", "sources_v6"],
    holds: "prefixes that endpoints may send from, besides their own addresses",
    by: "agent",
    key: ["ifindex", "cidr"],
  },
  policy: {
    maps: ["policy"],
    holds: "row of every identity, by policy",
    by: "agent",
    key: ["policy"],
  },
  ports: {
    maps: ["ports"],
    holds: "port class of every port of every protocol",
    by: "agent",
    key: ["ports"],
  },
  domains: {
    maps: ["domain_names", "name_policies"],
    holds: "domain names of rules, each with the policy for addresses resolved from it",
    by: "agent",
    key: ["policy", "name"],
  },
  names: {
    maps: ["names"],
    holds: "addresses that pods have resolved, from answers of DNS",
    by: "programs",
    key: ["incarnation", "address", "name"],
  },
  rows: { maps: ["rows"], holds: "port classes that a row allows", by: "agent", key: ["row"] },
  conntrack: {
    maps: ["conntrack_v4", "conntrack_v6"],
    holds: "flows that were allowed: their replies pass",
    by: "programs",
    key: FLOW_KEY,
  },
  statistics: {
    maps: ["flow_statistics"],
    holds: "what became of insertions into the flow table, by family",
    by: "programs",
    key: ["family"],
  },
  counters: {
    maps: ["counters"],
    holds: "packets and bytes by endpoint, direction and reason",
    by: "programs",
    key: ["id", "direction", "reason"],
  },
  fragments: {
    maps: ["fragments"],
    holds: "the ports of fragmented packets, from their first fragments",
    by: "programs",
    key: ["source", "destination", "id", "direction", "ifindex"],
  },
  events: {
    maps: ["event_buckets"],
    holds: "events written and lost, by endpoint, direction and reason",
    by: "programs",
    key: ["id", "direction", "reason"],
  },
  known: {
    maps: ["address_filter", "closed_filter", "frontend_filter"],
    holds:
      "Bloom filters for addresses, refused ones, and those that Services have or have had: how many bits are set",
    by: "agent",
    key: ["filter"],
  },
  index: {
    maps: ["cidr_index_v4", "cidr_filter_v4"],
    holds: "index over IPv4 prefixes: /16s with an identity, and /24s that need the trie",
    by: "agent",
    key: [],
  },
  denied: {
    maps: ["denied_v4", "denied_v6", "denied_counts", "uplink"],
    holds: "source prefixes denied on the uplinks, and packets dropped by each",
    by: "programs",
    key: ["prefix"],
  },
  uplinks: {
    maps: ["uplink_counters"],
    holds: "frames on the uplinks, by verdict",
    by: "programs",
    key: ["reason"],
  },
  node: {
    maps: ["node"],
    holds: "the generation in force and the timeouts of flows",
    by: "agent",
    key: [],
  },
};

export const TABLES: readonly TableInfo[] = TABLE_NAMES.map((name) => ({ name, ...FACTS[name] }));

export const isTableName = (text: string): text is TableName =>
  (TABLE_NAMES as readonly string[]).includes(text);
