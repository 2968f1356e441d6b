// Dumps of given records: what a person sees, with names and without, and what a program gets.
import { describe, expect, it } from "vitest";
import { present } from "../../../src/base/assert.ts";
import { type Address, type Cidr, parseAddress, parseCidr } from "../../../src/base/ip.ts";
import { type Dump, rawDump, rawHeading } from "../../../src/observe/dump/dump.ts";
import {
  conntrackDump,
  countersDump,
  type FlowRecord,
  fragmentsDump,
  nodeDump,
} from "../../../src/observe/dump/flows.ts";
import { addressesDump, cidrsDump, endpointsDump, policyDump } from "../../../src/observe/dump/peers.ts";
import { portsDump, rowsDump } from "../../../src/observe/dump/ports.ts";
import { tableText } from "../../../src/observe/table.ts";
import type { NamesView } from "../../../src/observe/view.ts";
import { lines } from "./lines.ts";

const NAMES: NamesView = {
  endpoints: { "7": "alpha/nginx", "9": "beta/hammer" },
  addresses: { "10.63.48.10": "alpha/nginx", "fd63::a": "beta/hammer" },
  identities: {
    "3": ["alpha/test-network-policy ingress[0].from"],
    "5": ["alpha/test-network-policy egress[0].to", "alpha/test-network-policy ingress[0].from"],
    "6": ["alpha/test-network-policy egress[0].to"],
  },
  cidrs: {
    "10.0.0.0/8": ["alpha/test-network-policy egress[0].to[0]: in the block"],
    "10.63.48.0/22": ["alpha/test-network-policy ingress[0].from[0]: in the block"],
    "10.63.48.4/32": ["alpha/test-network-policy ingress[0].from[0]: excepted"],
  },
  policies: {
    "1": { of: ["ingress of alpha/nginx"], from: ["alpha/alpha-deny", "alpha/test-network-policy"] },
  },
  rows: {},
  classes: {},
};

const cidr = (text: string): Cidr => parsedValue(parseCidr(text));
const address = (text: string): Address => parsedValue(parseAddress(text));
const parsedValue = <T>(parsed: { ok: true; value: T } | { ok: false; reason: string }): T => {
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
};

const linesOf = (dump: Dump): string[] => tableText(dump.table).trimEnd().split("\n");
describe("cidrs", () => {
  const records = [
    { cidr: cidr("fd00::/8"), identity: 0 },
    { cidr: cidr("10.63.48.4/32"), identity: 6 },
    { cidr: cidr("10.63.48.0/22"), identity: 5 },
    { cidr: cidr("10.0.0.0/8"), identity: 6 },
  ];

  it("show each prefix of a block with exceptions, what it means and whom it matches", () => {
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

  it("give programs numbers as numbers, and names only where they are known", () => {
    expect(cidrsDump(records, NAMES).json).toEqual([
      expect.objectContaining({ cidr: "10.0.0.0/8", identity: 6 }),
      expect.objectContaining({ cidr: "10.63.48.0/22", identity: 5 }),
      {
        cidr: "10.63.48.4/32",
        identity: 6,
        meaning: ["alpha/test-network-policy ingress[0].from[0]: excepted"],
        matches: ["alpha/test-network-policy egress[0].to"],
      },
      { cidr: "fd00::/8", identity: 0 },
    ]);
    expect(cidrsDump(records).json).toContainEqual({ cidr: "10.63.48.4/32", identity: 6 });
  });

  it("that many blocks name are cut in the table, not in the JSON", () => {
    const many = Array.from({ length: 20 }, (_, at) => `a/p${at} ingress[0].from[0]: in the block`);
    const dump = cidrsDump([{ cidr: cidr("10.0.0.0/8"), identity: 1 }], {
      ...NAMES,
      cidrs: { "10.0.0.0/8": many },
    });
    expect(tableText(dump.table)).toContain("a/p7 ingress[0].from[0]: in the block; and 12 more");
    expect(dump.json).toMatchObject([{ meaning: many }]);
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
  expect(dump.json).toContainEqual({ address: "10.63.48.10", identity: 0, pod: "alpha/nginx" });
});

it("endpoints come with their interfaces, policies and addresses", () => {
  const records = [
    { ifindex: 9, id: 2, policy: { ingress: 0, egress: 0 }, addresses: ["fd63::a"] },
    {
      ifindex: 7,
      interface: "veth-a",
      id: 1,
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
  expect(dump.json).toEqual([
    { ...present(records[1], "record"), pod: "alpha/nginx" },
    { ...present(records[0], "record"), pod: "beta/hammer" },
  ]);
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

  it("says for each identity which ports its row allows", () => {
    expect(linesOf(policyDump(records, ports, NAMES))).toEqual(
      lines(`
        POLICY   IDENTITY   ROW   PORTS     PEERS                                       OF                       FROM
             1          0     0   nothing   everyone else                               ingress of alpha/nginx   alpha/alpha-deny, alpha/test-network-policy
             1          5     2   TCP/80    alpha/test-network-policy ingress[0].from   ingress of alpha/nginx   alpha/alpha-deny, alpha/test-network-policy
             1         99     3   UDP/53    -                                           ingress of alpha/nginx   alpha/alpha-deny, alpha/test-network-policy
             2          0     1   all       everyone else                               -                        -`),
    );
  });

  it("names peers of its own policies and directions only", () => {
    const peersFor = (of: string[], from: string[]): unknown =>
      policyDump([{ policy: 1, cells: [{ identity: 5, row: 2 }] }], ports, {
        ...NAMES,
        policies: { "1": { of, from } },
      }).json;
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
    expect(policyDump(records, ports).json).toEqual([
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
    expect(policyDump(records, ports, NAMES).json).toMatchObject([
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
  expect(dump.json).toEqual(records);
});

it("rows come with the ports that they allow", () => {
  const dump = rowsDump([{ row: 2, classes: [1, 2], ports: "TCP/80,TCP/8000-8080" }]);
  expect(linesOf(dump)).toEqual(["ROW   PORTS                  CLASSES", "  2   TCP/80,TCP/8000-8080   1,2"]);
  expect(dump.json).toEqual([{ row: 2, classes: [1, 2], ports: "TCP/80,TCP/8000-8080" }]);
});

describe("conntrack", () => {
  const flow: FlowRecord = {
    ifindex: 7,
    interface: "veth-a",
    protocol: 6,
    local: "10.63.48.10",
    remote: "fd63::a",
    localPort: 80,
    remotePort: 40_000,
    opener: "ingress",
    state: ["replied", "confirmed"],
    generation: 4,
    expiresMs: 3_599_000,
  };
  const flows: FlowRecord[] = [
    flow,
    { ...flow, ifindex: 8, protocol: 17, local: "fd63::1", opener: "egress", state: [], expiresMs: -1 },
    {
      ...flow,
      ifindex: 11,
      interface: "veth-b",
      protocol: 1,
      localPort: 77,
      remotePort: 1,
      expiresMs: 5_000,
    },
    { ...flow, protocol: 47, localPort: 0, remotePort: 0 },
  ];

  it("shows who talks to whom, who began, and how long it is remembered", () => {
    expect(linesOf(conntrackDump(flows, NAMES))).toEqual(
      lines(`
        PROTOCOL   LOCAL            REMOTE            OPENED-BY   STATE                       GENERATION   EXPIRES   POD           PEER
        TCP        10.63.48.10:80   [fd63::a]:40000   peer        replied,confirmed                    4    59m59s   alpha/nginx   beta/hammer
        47         10.63.48.10      fd63::a           peer        replied,confirmed                    4    59m59s   alpha/nginx   beta/hammer
        UDP        [fd63::1]:80     [fd63::a]:40000   pod         -                                    4   expired   veth-a        beta/hammer
        ICMP       10.63.48.10      fd63::a           peer        replied,confirmed,echo 77            4        5s   veth-b        beta/hammer`),
    );
  });

  it("gives programs the protocol by name and number", () => {
    expect(conntrackDump([flow], NAMES).json).toEqual([
      { ...flow, protocol: "TCP", protocolNumber: 6, pod: "alpha/nginx", peer: "beta/hammer" },
    ]);
    expect(conntrackDump([flow]).json).toEqual([{ ...flow, protocol: "TCP", protocolNumber: 6 }]);
  });
});

it("counters come by endpoint, direction and reason, to the last digit", () => {
  const count = { direction: "ingress", reason: "denied", dropped: true } as const;
  const records = [
    { ...count, id: 0, packets: 3n, bytes: 180n },
    {
      ...count,
      id: 1,
      ifindex: 7,
      reason: "policy",
      dropped: false,
      packets: 2n ** 63n,
      bytes: 2n ** 64n - 1n,
    },
    { ...count, id: 4, packets: 1n, bytes: 60n },
  ];
  const dump = countersDump(records, NAMES);
  expect(linesOf(dump)).toEqual(
    lines(`
      ID   POD             DIRECTION   VERDICT   REASON               PACKETS                  BYTES
       0   <no endpoint>   ingress     dropped   denied                     3                    180
       1   alpha/nginx     ingress     passed    policy   9223372036854775808   18446744073709551615
       4   -               ingress     dropped   denied                     1                     60`),
  );
  expect(dump.json).toContainEqual({
    id: 1,
    ifindex: 7,
    direction: "ingress",
    reason: "policy",
    verdict: "passed",
    packets: 2n ** 63n,
    bytes: 2n ** 64n - 1n,
    pod: "alpha/nginx",
  });
});

it("fragments come with the ports of their first fragment", () => {
  const fragment = {
    ifindex: 9,
    protocol: 17,
    source: "10.63.48.10",
    destination: "9.0.0.1",
    id: 4660,
    direction: "egress",
    sourcePort: 53,
    destinationPort: 5353,
    expiresMs: 12_000,
  } as const;
  const dump = fragmentsDump([fragment], NAMES);
  expect(linesOf(dump)).toEqual([
    "PROTOCOL   SOURCE           DESTINATION      ID   DIRECTION   EXPIRES   POD",
    "UDP        10.63.48.10:53   9.0.0.1:5353   4660   egress          12s   beta/hammer",
  ]);
  expect(dump.json).toEqual([{ ...fragment, protocol: "UDP", protocolNumber: 17, pod: "beta/hammer" }]);
});

it("the node's settings come in seconds for people, in ticks for programs", () => {
  const node = {
    generation: 5,
    version: 1,
    ticksPerSecond: 250,
    timeouts: { "tcp-new": 7_500, "tcp-reset": 2_625 },
  };
  expect(linesOf(nodeDump(node))).toEqual([
    "FIELD               VALUE",
    "generation          5",
    "version in force    1",
    "ticks per second    250",
    "timeout tcp-new     30 s",
    "timeout tcp-reset   10.5 s",
  ]);
  expect(nodeDump(node).json).toEqual(node);
  expect(linesOf(nodeDump({ ...node, ticksPerSecond: 0 }))).toContain("timeout tcp-new     7500 ticks");
});

it("raw maps show every byte, and what the bytes are", () => {
  const map = {
    map: "cidrs_v4",
    kind: "lpm-trie",
    key: { type: "struct cidr_v4_key", size: 8 },
    value: { type: "struct identity", size: 8 },
    entries: [{ key: Buffer.from([8, 0, 0, 0, 10, 0, 0, 0]), value: Buffer.from("0600000006000000", "hex") }],
  };
  const dump = rawDump([map]);
  expect(rawHeading([map])).toBe(
    "# cidrs_v4: lpm-trie, key struct cidr_v4_key (8 bytes), value struct identity (8 bytes), entries 1\n",
  );
  expect(linesOf(dump)).toEqual([
    "MAP        KEY                VALUE",
    "cidrs_v4   080000000a000000   0600000006000000",
  ]);
  expect(dump.json).toEqual([{ ...map, entries: [{ key: "080000000a000000", value: "0600000006000000" }] }]);
});
