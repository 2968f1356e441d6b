// Addresses that Services have had: each is passed on once, also that of a Service that is gone before a reconciliation.

import { expect, it } from "vitest";
import { openServiceAddresses, type ServiceAddresses } from "../../../src/agent/service-addresses.ts";
import { addressHash } from "../../../src/base/address-filter.ts";
import { patched } from "../../../src/base/versioned-map.ts";
import type { Service } from "../../../src/model/service.ts";
import { address } from "../../support/model.ts";

const service = (
  name: string,
  addresses: Partial<Pick<Service, "clusterIps" | "externalIps" | "loadBalancerIps">>,
): Service => ({
  ...{ namespace: "x", name, ports: [], selector: undefined, onlyLocal: false },
  ...{ clusterIps: [], externalIps: [], loadBalancerIps: [], ...addresses },
});
const NONE: ReadonlyMap<string, Service> = new Map();
const ONE = service("one", { clusterIps: [address("10.96.0.1"), address("fd96::1")] });
const TWO = service("two", {
  ...{ clusterIps: [address("10.96.0.2")], externalIps: [address("203.0.113.1")] },
  loadBalancerIps: [address("198.51.100.1")],
});

const passed = (services: ServiceAddresses): Promise<string[]> =>
  services.pass(async (hashes) => [...hashes].map((hash) => TEXTS.get(hash) ?? "unknown").sort());
const TEXTS = new Map(
  ["10.96.0.1", "10.96.0.2", "10.96.0.9", "fd96::1", "198.51.100.1", "203.0.113.1"].map((text) => [
    addressHash(address(text)),
    text,
  ]),
);

it("passes on every address of every Service, each once", async () => {
  const services = openServiceAddresses();
  const first = patched(NONE, new Map([["x/one", ONE]]));
  services.note(first);
  expect(await passed(services)).toEqual(["10.96.0.1", "fd96::1"]);
  services.note(patched(first, new Map([["x/two", TWO]])));
  expect(await passed(services)).toEqual(["10.96.0.2", "198.51.100.1", "203.0.113.1"]);
  expect(await passed(services)).toEqual([]);
});

it("keeps those of a Service that is gone, or has others, before they are passed on", async () => {
  const services = openServiceAddresses();
  const first = patched(NONE, new Map([["x/one", ONE]]));
  services.note(first);
  services.note(patched(first, new Map([["x/one", service("one", { clusterIps: [address("10.96.0.9")] })]])));
  services.note(new Map());
  expect(await passed(services)).toEqual(["10.96.0.1", "10.96.0.9", "fd96::1"]);
});

it("passes them on again after a failure, with those that came meanwhile", async () => {
  const services = openServiceAddresses();
  services.note(new Map([["x/one", ONE]]));
  const failing = services.pass(async () => {
    services.note(new Map([["x/two", TWO]]));
    throw new Error("no memory");
  });
  await expect(failing).rejects.toThrow("no memory");
  expect(await passed(services)).toEqual([
    "10.96.0.1",
    "10.96.0.2",
    "198.51.100.1",
    "203.0.113.1",
    "fd96::1",
  ]);
});
