// rtnetlink's objects, and their constants under the kernel's names (include/uapi/linux/rtnetlink.h and others).

/** A network device. */
export type NetLink = {
  readonly ifindex: number;
  readonly name: string;
  /** "veth", "bridge", ...; absent for hardware and the loopback device. */
  readonly kind?: string;
  /** A {@link LinkType}, or another ARPHRD number. */
  readonly type: number;
  /** Of {@link LinkFlag}. */
  readonly flags: number;
  /** The hardware address, as "02:00:00:00:00:01". */
  readonly address?: string;
  /** Index of the bridge, bond or VRF that it is a port of. */
  readonly master?: number;
  /** Index of the other end of a veth, or of the device below, in that one's own namespace. */
  readonly peer?: number;
  /** The id of that namespace; absent if it is the link's own, -1 if it has no id here. */
  readonly peerNetns?: number;
  /** UDP ports that a tunnel device (VXLAN, Geneve, bare UDP, FOU or GUE) listens at or sends to. */
  readonly udpPorts?: readonly number[];
};

/** An address of a device. */
export type NetAddress = {
  readonly ifindex: number;
  readonly family: 4 | 6;
  /** The device's own, on point-to-point links too. */
  readonly address: string;
  /** Of the prefix on the link. */
  readonly length: number;
  readonly scope: number;
  /** IFA_F_*. */
  readonly flags: number;
};

/** One way that a route has. */
export type NetHop = { readonly ifindex: number; readonly gateway?: string };

/** A route of any table. */
export type NetRoute = {
  readonly family: 4 | 6;
  readonly destination: string;
  readonly length: number;
  /** A {@link RouteTable}, or another number. */
  readonly table: number;
  /** The metric: of two routes to one prefix in a table the lower one counts. */
  readonly priority: number;
  readonly tos: number;
  /** A {@link RouteType}. */
  readonly type: number;
  /** A {@link RouteProtocol}, or another number: who made it. */
  readonly protocol: number;
  readonly scope: number;
  /** Several where it is a multipath route; none for "unreachable" and the like. */
  readonly hops: readonly NetHop[];
};

/** An entry of the neighbour tables (family 4 or 6), or of a bridge's forwarding table. */
export type NetNeighbour = {
  /** The device; of a forwarding entry the port. */
  readonly ifindex: number;
  readonly family: 4 | 6 | "bridge";
  /** The neighbour's IP address; absent in forwarding entries. */
  readonly address?: string;
  /** Its hardware address; absent while it is being resolved. */
  readonly hardware?: string;
  /** Of {@link NeighbourState}. */
  readonly state: number;
  /** NTF_*. */
  readonly flags: number;
  /** The bridge. */
  readonly master?: number;
  readonly vlan?: number;
};

/** Each dumped table, with what it holds. */
export type NetTables = {
  readonly links: NetLink;
  readonly addresses: NetAddress;
  readonly routes: NetRoute;
  readonly neighbours: NetNeighbour;
  readonly forwarding: NetNeighbour;
};
export type NetTable = keyof NetTables;

type Change = {
  /** Whether this is no more; else it is new, or other than before. */
  readonly gone: boolean;
  /** The id of the namespace where it happened; absent for this one. */
  readonly netns?: number;
};

/** "overrun": the socket's buffer overflowed. Tables must be dumped again. */
export type NetEvent =
  | ({ readonly kind: "link"; readonly link: NetLink } & Change)
  | ({ readonly kind: "address"; readonly address: NetAddress } & Change)
  | ({ readonly kind: "route"; readonly route: NetRoute } & Change)
  | ({ readonly kind: "neighbour"; readonly neighbour: NetNeighbour } & Change)
  /** A namespace has got an id here, or lost it: the id may then be given to another one. */
  | ({ readonly kind: "id"; readonly id: number } & Change)
  | { readonly kind: "overrun" };

export const LinkType = { ETHER: 1, LOOPBACK: 772 } as const;

export const LinkFlag = { UP: 0x1, LOOPBACK: 0x8, POINTOPOINT: 0x10, RUNNING: 0x40 } as const;

export const RouteType = {
  UNICAST: 1,
  LOCAL: 2,
  BROADCAST: 3,
  ANYCAST: 4,
  MULTICAST: 5,
  BLACKHOLE: 6,
  UNREACHABLE: 7,
  PROHIBIT: 8,
  THROW: 9,
} as const;

export const RouteTable = { DEFAULT: 253, MAIN: 254, LOCAL: 255 } as const;

export const RouteProtocol = { REDIRECT: 1, KERNEL: 2, BOOT: 3, STATIC: 4, RA: 9, DHCP: 16 } as const;

export const NeighbourState = {
  INCOMPLETE: 0x01,
  REACHABLE: 0x02,
  STALE: 0x04,
  DELAY: 0x08,
  PROBE: 0x10,
  FAILED: 0x20,
  NOARP: 0x40,
  PERMANENT: 0x80,
} as const;
