// Dumps of given records of what each CPU keeps for itself.
import { expect, it } from "vitest";
import {
  knownDump,
  recentFlowsDump,
  recentPeersDump,
  scratchDump,
} from "../../../src/observe/dump/recent.ts";
import { jsonOf, linesOf, NAMES } from "./names.ts";

it("recent peers come by CPU, with what their identity matches", () => {
  const records = [
    { cpu: 0, address: "10.63.48.10", identity: 3, generation: 7 },
    { cpu: 1, address: "9.9.9.9", identity: 0, generation: 6 },
  ];
  expect(linesOf(recentPeersDump(records, NAMES))).toEqual([
    "CPU   ADDRESS       IDENTITY   GENERATION   POD           MATCHES",
    "  0   10.63.48.10          3            7   alpha/nginx   alpha/test-network-policy ingress[0].from",
    "  1   9.9.9.9              0            6   -             -",
  ]);
  expect(jsonOf(recentPeersDump(records))).toEqual(records);
});

it("recent flows come by CPU, with the tick that they are good for", () => {
  const flow = {
    cpu: 1,
    ifindex: 7,
    interface: "veth-a",
    protocol: 17,
    local: "10.63.48.10",
    localPort: 53,
    remote: "fd63::a",
    remotePort: 5353,
    generation: 7,
    tick: 2n ** 33n,
  };
  expect(linesOf(recentFlowsDump([flow], NAMES))).toEqual([
    "CPU   PROTOCOL   LOCAL            REMOTE           GENERATION         TICK   POD",
    "  1   UDP        10.63.48.10:53   [fd63::a]:5353            7   8589934592   alpha/nginx",
  ]);
  expect(jsonOf(recentFlowsDump([{ ...flow, ifindex: 8 }]))).toEqual([
    { ...flow, ifindex: 8, protocol: "UDP", protocolNumber: 17 },
  ]);
});

it("scratch says how much of it was used", () => {
  expect(linesOf(scratchDump([{ cpu: 0, words: 12 }]))).toEqual(["CPU   WORDS", "  0      12"]);
});

it("known says how full it is", () => {
  expect(linesOf(knownDump({ bits: 65_536, set: 12 }))).toEqual([" BITS   SET", "65536    12"]);
});
