// Dumps of given records that show owners and ports: for a person, with names and without; and for a program.

import { describe, expect, it } from "vitest";
import { present } from "../../../../src/base/assert.ts";
import { type Address, type Cidr, parseAddress, parseCidr } from "../../../../src/base/ip.ts";
import {
  addressesDump,
  cidrsDump,
  endpointsDump,
  indexDump,
  knownDump,
  policyDump,
  portsDump,
  rowsDump,
  sourcesDump,
} from "../../../../src/observe/dump/policy-dumps.ts";
import { lines } from "../lines.ts";
import { jsonOf, linesOf, NAMES } from "../names.ts";

const cidr = (text: string): Cidr => parsedValue(parseCidr(text));
const address = (text: string): Address => parsedValue(parseAddress(text));
const parsedValue = <T>(parsed: { ok: true; value: T } | { ok: false; reason: string }): T => {
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
};

describe("cidrs", () => {
  const records = [
    { cidr: cidr("fd00::/8"), identity: 0 },
    { cidr: cidr("10.63.48.4/32"), identity: 6 },
    { cidr: cidr("10.63.48.0/22"), identity: 5 },
    { cidr: cidr("10.0.0.0/8"), identity: 6 },
  ];

  it("show each prefix of a block with exceptions, what it means and which pods it matches", () => {
    expect(linesOf(cidrsDump(records, NAMES))).toEqual(
      lines(`
        CIDR            IDENTITY   MEANING                                                      MATCHES
        10.0.0.0/8             6   alpha/test-network-policy egress[0].to[0]: in the block      alpha/test-network-policy egress[0].to
        10.63.48.0/22          5   alpha/test-network-policy ingress[0].from[0]: in the block   alpha/test-network-policy egress[0].to; alpha/test-network-policy ingress[0].from
        10.63.48.4/32          6   alpha/test-network-policy ingress[0].from[0]: excepted       alpha/test-network-policy egress[0].to
        fd00::/8               0   -                                                            nothing`),
    );
  });

  it("show numbers without an agent", () => {
    expect(linesOf(cidrsDump(records))).toEqual(
      lines(`
        CIDR            IDENTITY   MEANING   MATCHES
        10.0.0.0/8             6   -         -
        10.63.48.0/22          5   -         -
        10.63.48.4/32          6   -         -
        fd00::/8               0   -         -`),
    );
  });

  it("give programs numbers as numbers, and names only if they are known", () => {
    expect(jsonOf(cidrsDump(records, NAMES))).toEqual([
      expect.objectContaining({ cidr: "10.0.0.0/8", identity: 6 }),
      expect.objectContaining({ cidr: "10.63.48.0/22", identity: 5 }),
      {
        cidr: "10.63.48.4/32",
        identity: 6,
        meaning: ["alpha/test-network-policy ingress[0].from[0]: excepted"],
        matches: ["alpha/test-network-policy egress[0].to"],
      },
      { cidr: "fd00::/8", identity: 0, matches: [] },
    ]);
    expect(jsonOf(cidrsDump(records))).toContainEqual({ cidr: "10.63.48.4/32", identity: 6 });
  });

  it("that many blocks name are cut in the table, not in the JSON", () => {
    const many = Array.from({ length: 20 }, (_, at) => `a/p${at} ingress[0].from[0]: in the block`);
    const dump = cidrsDump([{ cidr: cidr("10.0.0.0/8"), identity: 1 }], {
      ...NAMES,
      cidrs: { "10.0.0.0/8": many },
    });
    expect(linesOf(dump).join("\n")).toContain("a/p7 ingress[0].from[0]: in the block; and 12 more");
    expect(jsonOf(dump)).toMatchObject([{ meaning: many }]);
  });
});

it("addresses come with their pods", () => {
  const records = [
    { address: address("fd63::a"), identity: 3 },
    { address: address("10.63.48.10"), identity: 0 },
    { address: address("9.0.0.1"), identity: 3 },
  ];
  const dump = addressesDump(records, NAMES);
  expect(linesOf(dump)).toEqual(
    lines(`
      ADDRESS       IDENTITY   POD           MATCHES
      9.0.0.1              3   -             alpha/test-network-policy ingress[0].from
      10.63.48.10          0   alpha/nginx   nothing
      fd63::a              3   beta/hammer   alpha/test-network-policy ingress[0].from`),
  );
  expect(jsonOf(dump)).toContainEqual({
    address: "10.63.48.10",
    identity: 0,
    pod: "alpha/nginx",
    matches: [],
  });
});

it("endpoints come with their interfaces, policies and addresses", () => {
  const records = [
    { ifindex: 9, id: 2, incarnation: 2, policy: { ingress: 0, egress: 0 }, addresses: ["fd63::a"] },
    {
      ifindex: 7,
      interface: "veth-a",
      id: 1,
      incarnation: 1,
      policy: { ingress: 1, egress: 12 },
      addresses: ["10.63.48.10", "fd63::1"],
    },
  ];
  const dump = endpointsDump(records, NAMES);
  expect(linesOf(dump)).toEqual(
    lines(`
      IFINDEX   INTERFACE   POD           ID   INGRESS    EGRESS      ADDRESSES
            7   veth-a      alpha/nginx    1   policy 1   policy 12   10.63.48.10,fd63::1
            9   -           beta/hammer    2   open       open        fd63::a`),
  );
  expect(jsonOf(dump)).toEqual([
    { ...present(records[1], "record"), pod: "alpha/nginx" },
    { ...present(records[0], "record"), pod: "beta/hammer" },
  ]);
});

it("sources name the pod that may send from them", () => {
  const records = [
    { ifindex: 9, cidr: cidr("fd77::/64") },
    { ifindex: 7, interface: "veth-a", cidr: cidr("10.77.0.0/16") },
    { ifindex: 9, cidr: cidr("10.78.0.0/16") },
  ];
  const dump = sourcesDump(records, NAMES);
  expect(linesOf(dump)).toEqual(
    lines(`
      IFINDEX   INTERFACE   POD           CIDR
            7   veth-a      alpha/nginx   10.77.0.0/16
            9   -           beta/hammer   10.78.0.0/16
            9   -           beta/hammer   fd77::/64`),
  );
  expect((jsonOf(dump) as unknown[])[0]).toEqual({
    ifindex: 7,
    interface: "veth-a",
    cidr: "10.77.0.0/16",
    pod: "alpha/nginx",
  });
});

describe("policy", () => {
  const records = [
    { policy: 2, cells: [{ identity: 0, row: 1 }] },
    {
      policy: 1,
      cells: [
        { identity: 0, row: 0 },
        { identity: 5, row: 2 },
        { identity: 99, row: 3 },
      ],
    },
  ];
  const ports = (row: number): string => ["nothing", "all", "TCP/80", "UDP/53"][row] ?? "?";

  it("shows for each identity which ports its row allows", () => {
    expect(linesOf(policyDump(records, ports, NAMES))).toEqual(
      lines(`
        POLICY   IDENTITY   ROW   PORTS     PEERS                                       OF                       FROM
             1          0     0   nothing   all other addresses                         ingress of alpha/nginx   alpha/alpha-deny, alpha/test-network-policy
             1          5     2   TCP/80    alpha/test-network-policy ingress[0].from   ingress of alpha/nginx   alpha/alpha-deny, alpha/test-network-policy
             1         99     3   UDP/53    -                                           ingress of alpha/nginx   alpha/alpha-deny, alpha/test-network-policy
             2          0     1   all       all other addresses                         -                        -`),
    );
  });

  it("names peers of its own policies and directions only", () => {
    const peersFor = (of: string[], from: string[]): unknown =>
      jsonOf(
        policyDump([{ policy: 1, cells: [{ identity: 5, row: 2 }] }], ports, {
          ...NAMES,
          policies: { "1": { of, from } },
        }),
      );
    const [from, to] = [
      "alpha/test-network-policy ingress[0].from",
      "alpha/test-network-policy egress[0].to",
    ];
    const own = ["alpha/test-network-policy"];
    const cells = (...peers: (string | undefined)[]) => [{ cells: [{ peers }] }];
    expect(peersFor(["ingress of a/a"], own)).toMatchObject(cells(from));
    expect(peersFor(["egress of a/a"], own)).toMatchObject(cells(to));
    expect(peersFor(["ingress of a/a", "egress of a/b"], own)).toMatchObject(cells(to, from));
    expect(peersFor(["ingress of a/a"], ["alpha/test-network"])).toMatchObject(cells());
  });

  it("gives programs one object for each policy", () => {
    expect(jsonOf(policyDump(records, ports))).toEqual([
      {
        policy: 1,
        cells: [
          { identity: 0, row: 0, ports: "nothing" },
          { identity: 5, row: 2, ports: "TCP/80" },
          { identity: 99, row: 3, ports: "UDP/53" },
        ],
      },
      { policy: 2, cells: [{ identity: 0, row: 1, ports: "all" }] },
    ]);
    expect(jsonOf(policyDump(records, ports, NAMES))).toMatchObject([
      {
        policy: 1,
        of: ["ingress of alpha/nginx"],
        from: ["alpha/alpha-deny", "alpha/test-network-policy"],
      },
      { policy: 2 },
    ]);
  });
});

it("ports come as ranges", () => {
  const records = [
    { first: 80, last: 80, class: 1, ports: "TCP/80" },
    { first: 8000, last: 8080, class: 2, ports: "TCP/8000-8080" },
  ];
  const dump = portsDump(records);
  expect(linesOf(dump)).toEqual(["PORTS           CLASS", "TCP/80              1", "TCP/8000-8080       2"]);
  expect(jsonOf(dump)).toEqual(records);
});

it("rows come with the ports that they allow", () => {
  const dump = rowsDump([{ row: 2, classes: [1, 2], ports: "TCP/80,TCP/8000-8080" }]);
  expect(linesOf(dump)).toEqual(["ROW   PORTS                  CLASSES", "  2   TCP/80,TCP/8000-8080   1,2"]);
  expect(jsonOf(dump)).toEqual([{ row: 2, classes: [1, 2], ports: "TCP/80,TCP/8000-8080" }]);
});

it("the Bloom filter for addresses shows how full it is", () => {
  expect(
    linesOf(
      knownDump([
        { filter: "address_filter", bits: 65_536, set: 12 },
        { filter: "frontend_filter", bits: 1_048_576, set: 3 },
      ]),
    ),
  ).toEqual([
    "FILTER               BITS   SET",
    "address_filter      65536    12",
    "frontend_filter   1048576     3",
  ]);
  expect(linesOf(indexDump({ identified: 256, longer: 7 }))).toEqual([
    "IDENTIFIED   LONGER",
    "       256        7",
  ]);
});
