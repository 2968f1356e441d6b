// The numbers that a port name has: one term for each, so only pods that can be a destination count.

import { expect, test } from "vitest";
import type { Pod } from "../../../src/model/cluster.ts";
import { numbersOf } from "../../../src/policy/peer-selectors.ts";
import { cluster, pod } from "../../support/model.ts";

const ports = [{ name: "web", protocol: "TCP", port: 8080 }] as const;
const HERE = pod("x/here", ["10.0.0.1"], { ports });
const PENDING = pod("x/here", [], { ports });
const FINISHED: Pod = { ...HERE, finished: true };
const OTHER = pod("x/other", ["10.0.0.2"], { ports: [{ name: "web", protocol: "TCP", port: 9090 }] });

test.each<[string, readonly Pod[], readonly number[]]>([
  ["a pod with an address", [HERE], [8080]],
  ["one without an address", [PENDING], []],
  ["one that has ended", [FINISHED], []],
  ["two numbers", [HERE, OTHER], [8080, 9090]],
  ["only of those with addresses", [PENDING, OTHER], [9090]],
])("%s", (_, members, numbers) => {
  expect(numbersOf(cluster({ pods: members }), "web", "TCP")).toEqual(numbers);
});
