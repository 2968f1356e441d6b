// Dumps of given records of what the programs write, of the node's settings, and of bytes.
import { describe, expect, it } from "vitest";
import { rawDump, rawEntriesDump, rawHeading } from "../../../../src/observe/dump/map-dump.ts";
import {
  conntrackDump,
  countersDump,
  type FlowRecord,
  fragmentsDump,
  nodeDump,
} from "../../../../src/observe/dump/traffic-dumps.ts";
import { lines } from "../lines.ts";
import { jsonOf, linesOf, NAMES } from "../names.ts";

describe("conntrack", () => {
  const flow: FlowRecord = {
    ifindex: 7,
    interface: "veth-a",
    incarnation: 1,
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
    { ...flow, protocol: 58, localPort: 0, remotePort: 0, state: ["node"], expiresMs: 0 },
  ];

  it("shows both ends, which one opened it, and how long it is remembered", () => {
    expect(linesOf(conntrackDump(flows, NAMES))).toEqual(
      lines(`
        PROTOCOL   LOCAL            REMOTE            OPENED-BY   STATE                       GENERATION   EXPIRES   POD           PEER
        TCP        10.63.48.10:80   [fd63::a]:40000   peer        replied,confirmed                    4    59m59s   alpha/nginx   beta/hammer
        47         10.63.48.10      fd63::a           peer        replied,confirmed                    4    59m59s   alpha/nginx   beta/hammer
        ICMPv6     10.63.48.10      fd63::a           peer        node                                 4        0s   alpha/nginx   beta/hammer
        UDP        [fd63::1]:80     [fd63::a]:40000   pod         -                                    4   expired   veth-a        beta/hammer
        ICMP       10.63.48.10      fd63::a           peer        replied,confirmed,echo 77            4        5s   veth-b        beta/hammer`),
    );
  });

  it("gives programs the protocol by name and number", () => {
    expect(jsonOf(conntrackDump([flow], NAMES))).toEqual([
      { ...flow, protocol: "TCP", protocolNumber: 6, pod: "alpha/nginx", peer: "beta/hammer" },
    ]);
    expect(jsonOf(conntrackDump([flow]))).toEqual([{ ...flow, protocol: "TCP", protocolNumber: 6 }]);
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
  expect(jsonOf(dump)).toContainEqual({
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
  expect(jsonOf(dump)).toEqual([{ ...fragment, protocol: "UDP", protocolNumber: 17, pod: "beta/hammer" }]);
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
  expect(jsonOf(nodeDump(node))).toEqual(node);
  expect(linesOf(nodeDump({ ...node, ticksPerSecond: 0 }))).toContain("timeout tcp-new     7500 ticks");
});

it("raw maps show every byte, and its meaning", () => {
  const map = {
    map: "cidrs_v4",
    kind: "lpm-trie",
    key: { type: "struct cidr_v4_key", size: 8 },
    value: { type: "struct identity", size: 8 },
    count: 1,
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
  const { count: _, ...facts } = map;
  expect(jsonOf(dump)).toEqual([
    { ...facts, entries: [{ key: "080000000a000000", value: "0600000006000000" }] },
  ]);
  expect(jsonOf(rawEntriesDump([map]))).toEqual([
    { map: "cidrs_v4", key: "080000000a000000", value: "0600000006000000" },
  ]);
});
