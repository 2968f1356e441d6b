// Which interfaces may belong to unknown pods.

import { RouteProtocol } from "bpf-ts";
import { describe, expect, it } from "vitest";
import type { NodeTables } from "../../../src/node/node-tables.ts";
import { unclaimedVethsIn } from "../../../src/node/unclaimed-veths.ts";
import { bridge, route, tables, veth } from "./tables.ts";

const LINKS = [veth(1, "veth-a", 0), veth(2, "veth-b", 1), veth(3, "both-here"), bridge(4, "br0")];

const names = (of: NodeTables, ignored: readonly string[] = [], known: readonly number[] = []) =>
  unclaimedVethsIn(of, new Set(known), ignored).map(({ name }) => name);

describe("unclaimed interfaces", () => {
  it("are the pairs that lead to another namespace", () => {
    expect(names(tables(LINKS))).toEqual(["veth-a", "veth-b"]);
  });

  it("are not those that are known", () => {
    expect(names(tables(LINKS), [], [2])).toEqual(["veth-a"]);
  });

  it.each([
    ["veth-a", ["veth-b"]],
    ["veth*", []],
    ["*-b", ["veth-a"]],
    ["v*h-*", []],
    ["veth", ["veth-a", "veth-b"]],
    ["veth.a", ["veth-a", "veth-b"]],
    ["eth-a", ["veth-a", "veth-b"]],
  ])("are not those that %s names", (pattern, left) => {
    expect(names(tables(LINKS), [pattern])).toEqual(left);
  });

  it("are not what the node reaches others through, whatever a pod announces", () => {
    const by = (protocol: number) =>
      tables(LINKS, {
        routes: [route("0.0.0.0/0", 1, { protocol, hops: [{ ifindex: 1, gateway: "192.0.2.1" }] })],
      });
    expect(names(by(RouteProtocol.STATIC))).toEqual(["veth-b"]);
    expect(names(by(RouteProtocol.DHCP))).toEqual(["veth-b"]);
    expect(names(by(RouteProtocol.RA))).toEqual(["veth-a", "veth-b"]);
    expect(names(tables(LINKS, { routes: [route("192.0.2.7/32", 1)] }))).toEqual(["veth-a", "veth-b"]);
  });
});
