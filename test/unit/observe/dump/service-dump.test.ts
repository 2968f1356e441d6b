// Dumps of the frontends of Services: for a person, with names and without; and for a program.
import { expect, it } from "vitest";
import { servicesDump } from "../../../../src/observe/dump/policy-dumps.ts";
import { address } from "../../../support/model.ts";
import { lines } from "../lines.ts";
import { jsonOf, linesOf, NAMES } from "../names.ts";

const RECORDS = [
  { address: address("fd96::10"), place: 80, port: "TCP/80", identity: 8, key: "fd96::10 80" },
  { address: address("10.96.0.10"), place: 65_589, port: "UDP/53", identity: 8, key: "10.96.0.10 65589" },
  { address: address("10.96.0.10"), place: 80, port: "TCP/80", identity: 7, key: "10.96.0.10 80" },
];
const WITH_SERVICES = { ...NAMES, services: { "10.96.0.10 80": "shop/web" } };

it("show each port of an address with its Service", () => {
  expect(linesOf(servicesDump(RECORDS, WITH_SERVICES))).toEqual(
    lines(`
      ADDRESS      PORT     IDENTITY   SERVICE
      10.96.0.10   TCP/80          7   shop/web
      10.96.0.10   UDP/53          8   -
      fd96::10     TCP/80          8   -`),
  );
});

it("give programs numbers as numbers, and names only if they are known", () => {
  expect(jsonOf(servicesDump(RECORDS, WITH_SERVICES))).toEqual([
    { address: "10.96.0.10", port: "TCP/80", identity: 7, service: "shop/web" },
    { address: "10.96.0.10", port: "UDP/53", identity: 8 },
    { address: "fd96::10", port: "TCP/80", identity: 8 },
  ]);
});
