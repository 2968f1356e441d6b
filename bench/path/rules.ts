// What people would use in Weir's place, as texts for nft(8), ipset(8) and iptables-restore(8): each isolates both pods as Weir does here.

/** Policies select the server's pod; each allows one prefix to the flows' port. The last one is the client's. */
export interface RuleWorld {
  readonly client: { readonly address: string; readonly link: string };
  readonly server: { readonly address: string; readonly link: string };
  readonly port: number;
  readonly policies: number;
}

export const TABLE = "weirpath";

/** Prefixes of the other policies: no packet comes from them. At most 16,384 (100.64.0.0/10 in /24s). */
export const PREFIXES_MAX = 16_384;
export const otherPrefixes = (policies: number): readonly string[] =>
  Array.from({ length: policies - 1 }, (_, at) => `100.${64 + (at >> 8)}.${at & 255}.0/24`);

const prefixesOf = ({ client, policies }: RuleWorld): readonly string[] => [
  ...otherPrefixes(policies),
  `${client.address}/32`,
];

/** Conntrack, and "established accept" alone. */
export const conntrackText = (): string => `
table inet ${TABLE} {
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
  }
}`;

/** Verdict maps by the pods' addresses, one interval set for each pod and direction. */
export function nftSetsText(world: RuleWorld): string {
  const { client, server, port } = world;
  const element = (address: string) => ["tcp", "udp"].map((protocol) => `${address} . ${protocol} . ${port}`);
  const set = (name: string, addresses: readonly string[]) => `
  set ${name} {
    type ipv4_addr . inet_proto . inet_service; flags interval
    elements = { ${addresses.flatMap(element).join(", ")} }
  }`;
  return `
table inet ${TABLE} {${set("server_peers", prefixesOf(world))}${set("client_peers", [server.address])}
  chain from_client { ip daddr . meta l4proto . th dport @client_peers return; drop; }
  chain to_server { ip saddr . meta l4proto . th dport @server_peers accept; drop; }
  chain deny { drop; }
  map senders { type ipv4_addr : verdict; elements = { ${client.address} : jump from_client, ${server.address} : jump deny } }
  map receivers { type ipv4_addr : verdict; elements = { ${server.address} : jump to_server, ${client.address} : jump deny } }
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    ip saddr vmap @senders
    ip daddr vmap @receivers
  }
}`;
}

/** One rule for each policy, one after another. */
export function nftLinearText(world: RuleWorld): string {
  const { client, server, port } = world;
  const rules = prefixesOf(world).map(
    (prefix) => `    ip saddr ${prefix} meta l4proto { tcp, udp } th dport ${port} accept`,
  );
  return `
table inet ${TABLE} {
  chain to_server {
${rules.join("\n")}
    drop
  }
  chain from_client { ip daddr ${server.address} meta l4proto { tcp, udp } th dport ${port} return; drop; }
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    ip saddr ${client.address} jump from_client
    ip daddr ${server.address} jump to_server
    ip saddr ${server.address} drop
    ip daddr ${client.address} drop
  }
}`;
}

const setName = (index: number): string => `${TABLE}-${index}`;

/** A set for each policy's peers, as for a selector. */
export const ipsetText = (world: RuleWorld): string =>
  [
    ...prefixesOf(world).flatMap((prefix, index) => [
      `create ${setName(index)} hash:net family inet`,
      `add ${setName(index)} ${prefix}`,
    ]),
    `create ${TABLE}-out hash:net family inet`,
    `add ${TABLE}-out ${world.server.address}`,
    "",
  ].join("\n");

/** As Calico's Felix writes it: chains for each workload, found by its interface, and for each policy; marks for what one has accepted. */
export function iptablesText(world: RuleWorld): string {
  const { client, server, port } = world;
  const indices = prefixesOf(world).map((_, index) => index);
  const accepted = "0x10000/0x10000";
  const policy = (chain: string, set: string, side: "src" | "dst") => [
    ...["tcp", "udp"].map(
      (protocol) =>
        `-A ${chain} -p ${protocol} -m set --match-set ${set} ${side} -m ${protocol} --dport ${port} -j MARK --set-xmark ${accepted}`,
    ),
  ];
  const workload = (chain: string, policies: readonly string[]) => [
    `-A ${chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
    `-A ${chain} -m conntrack --ctstate INVALID -j DROP`,
    `-A ${chain} -j MARK --set-xmark 0x0/0x10000`,
    ...policies.flatMap((name) => [
      `-A ${chain} -m mark --mark 0x0/0x20000 -j ${name}`,
      `-A ${chain} -m mark --mark ${accepted} -j RETURN`,
    ]),
    `-A ${chain} -j DROP`,
  ];
  const chains = [
    "wp-forward",
    "wp-tw-server",
    "wp-fw-client",
    "wp-none",
    "wp-po-client",
    ...indices.map((index) => `wp-pi-${index}`),
  ];
  return [
    "*filter",
    ...chains.map((chain) => `:${chain} - [0:0]`),
    "-A FORWARD -j wp-forward",
    `-A wp-forward -i ${client.link} -j wp-fw-client`,
    `-A wp-forward -i ${server.link} -j wp-none`,
    `-A wp-forward -o ${server.link} -j wp-tw-server`,
    `-A wp-forward -o ${client.link} -j wp-none`,
    `-A wp-forward -m mark --mark ${accepted} -j ACCEPT`,
    ...workload("wp-fw-client", ["wp-po-client"]),
    ...workload(
      "wp-tw-server",
      indices.map((index) => `wp-pi-${index}`),
    ),
    ...workload("wp-none", []),
    ...policy("wp-po-client", `${TABLE}-out`, "dst"),
    ...indices.flatMap((index) => policy(`wp-pi-${index}`, setName(index), "src")),
    "COMMIT",
    "",
  ].join("\n");
}
