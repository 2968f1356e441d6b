// Names and addresses of a lab: what the kernel accepts, and never another lab's.

import { describe, expect, it } from "vitest";
import { addressesOf, checkPrefix, linkName, netnsName } from "../../../src/lab/netns-links.ts";

describe("a prefix", () => {
  it.each(["weirdemo", "wt-seeds", "a", "wt-a1-b2"])("may be %s", (prefix) => {
    expect(() => checkPrefix(prefix)).not.toThrow();
    expect(linkName(prefix, 999).length).toBeLessThanOrEqual(15);
  });

  it.each(["", "Weir", "wt-", "-wt", "wt-1", "1wt", "wt--a", "wt a", "wt/a", "a.b", "abcdefghijkl"])(
    "may not be %j",
    (prefix) => {
      expect(() => checkPrefix(prefix)).toThrow("lab prefix");
    },
  );
});

it("a namespace's name shows its lab, and belongs to its link", () => {
  expect(netnsName("weirdemo", 3, "alpha/nginx-1")).toBe("weirdemo-3-alpha-nginx-1");
  expect(netnsName("weirdemo", 4, "Node: A_b")).toBe("weirdemo-4-node-a-b");
  expect(linkName("weirdemo", 3)).toBe("weirdemo-3");
});

it("addresses are parsed, and refused if invalid", () => {
  expect(addressesOf(["10.63.48.9", "FD63::0:1"]).map(({ text }) => text)).toEqual(["10.63.48.9", "fd63::1"]);
  expect(() => addressesOf(["10.63.48"])).toThrow("address 10.63.48");
});
