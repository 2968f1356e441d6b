// What the node's tables show of the network around its pods.

import { RouteTable, RouteType } from "bpf-ts";
import { expect, test } from "vitest";
import { surroundingsIn, surroundingsReader } from "../../../src/node/node-surroundings.ts";
import { link, route, tables } from "./tables.ts";

const own = (text: string, type: number = RouteType.LOCAL) =>
  route(text, 1, { table: RouteTable.LOCAL, type });

const LINKS = [
  link(2, "eth0"),
  link(3, "cni0", { kind: "bridge" }),
  link(4, "flannel.1", { kind: "vxlan", udpPorts: [8472] }),
  link(5, "tun0", { kind: "ipip", udpPorts: [5555, 5556] }),
  link(6, "gtp0", { kind: "gtp" }),
  link(7, "veth1", { kind: "veth" }),
];

const textsOf = (prefixes: readonly { readonly text: string }[] = []) => prefixes.map(({ text }) => text);

test("the node's own addresses and broadcasts are nodes', and so are its tunnels' remote ends", () => {
  const { nodeAddresses } = surroundingsIn(
    tables(LINKS, {
      local: [
        own("192.0.2.1/32"),
        own("192.0.2.255/32", RouteType.BROADCAST),
        own("2001:db8::1/128"),
        own("10.9.0.0/16"),
      ],
      routes: [
        route("10.244.1.0/24", 4, { hops: [{ ifindex: 4, gateway: "10.244.1.0" }] }),
        route("10.244.2.0/24", 5, { hops: [{ ifindex: 5, gateway: "192.0.2.2" }] }),
        route("0.0.0.0/0", 2, { hops: [{ ifindex: 2, gateway: "192.0.2.254" }] }),
      ],
    }),
  );
  expect([...textsOf(nodeAddresses)].sort()).toEqual(
    [
      "192.0.2.1/32",
      "192.0.2.255/32",
      "2001:db8::1/128",
      "10.9.0.0/16",
      "10.244.1.0/32",
      "192.0.2.2/32",
    ].sort(),
  );
});

test("what is routed to a bridge without a gateway is on its link", () => {
  const { onLink } = surroundingsIn(
    tables(LINKS, {
      routes: [
        route("10.89.0.0/24", 3),
        route("fd89::/64", 3),
        route("10.90.0.0/24", 3, { hops: [{ ifindex: 3, gateway: "10.89.0.7" }] }),
        route("10.77.0.1/32", 7),
      ],
    }),
  );
  expect([...onLink.keys()]).toEqual([3]);
  expect([...textsOf(onLink.get(3))].sort()).toEqual(["10.89.0.0/24", "fd89::/64"]);
});

test("tunnel devices name their ports; GTP has one", () => {
  expect(surroundingsIn(tables(LINKS)).tunnelPorts).toEqual([2152, 5555, 5556, 8472]);
});

test("tables with the same content give the very same result", () => {
  const read = surroundingsReader();
  const first = read(tables(LINKS, { local: [own("192.0.2.1/32")] }));
  expect(read(tables(LINKS, { local: [own("192.0.2.1/32")] }))).toBe(first);
  expect(read(tables(LINKS, { local: [own("192.0.2.3/32")] }))).not.toEqual(first);
});
