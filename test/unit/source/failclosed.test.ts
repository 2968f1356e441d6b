// A policy that cannot be read in full: which pods it isolates, in which directions, and what is said of it.

import { describe, expect, test } from "vitest";
import { selectorText } from "../../../src/model/selector.ts";
import { outcomeOf, policyYaml, readingOf } from "./support.ts";

describe("directions: policyTypes where they can be read, their defaults where they are missing, else both", () => {
  test.each([
    ["policyTypes: [Ingress], ingress: 7", "ingress"],
    ["policyTypes: [Egress], ingress: 7", "egress"],
    ["policyTypes: [Egress, Ingress], x: 1", "ingress egress"],
    ["ingress: 7", "ingress"],
    ["ingress: [{ ports: [{ port: 0 }] }]", "ingress"],
    ["egress: [7]", "ingress egress"],
    ["egress: 7", "ingress egress"],
    ["egress: null", "ingress egress"],
    ["egress: [], ingress: 7", "ingress"],
    ["egres: []", "ingress egress"],
    ["policytypes: [Egress]", "ingress egress"],
    ["policyTypes: Egress", "ingress egress"],
    ["policyTypes: null", "ingress egress"],
    ["policyTypes: [egress]", "ingress egress"],
    ["policyTypes: [Ingress, 7]", "ingress egress"],
    ["policyTypes: [Ingress, Ingress, Ingress]", "ingress egress"],
    ["policyTypes: [Ingress], policyTypes: [Ingress]", "ingress egress"],
    ["egress: [], egress: []", "ingress egress"],
  ])("%s", (spec, directions) => {
    const { values, lines } = outcomeOf(
      policyYaml(`{ podSelector: { matchLabels: { app: web } }, ${spec} }`),
    );
    const policy = values.get("NetworkPolicy shop/web");
    if (policy === undefined || !("subject" in policy)) throw new Error("there is no policy");
    expect(selectorText(policy.subject)).toBe("app=web");
    expect(policy.rules).toEqual({ ingress: [], egress: [] });
    expect(policy.unreadable).toMatch(/^spec\./);
    const isolated = (["ingress", "egress"] as const).filter((direction) => policy.isolates[direction]);
    expect(isolated.join(" ")).toBe(directions);
    const effect = `its pods are isolated (${isolated.join(" and ")}) and nothing is allowed by it`;
    expect(lines.filter((line) => line.endsWith(effect))).not.toEqual([]);
  });
});

describe("no policy where it is not known which pods are meant", () => {
  test.each([
    "7",
    "null",
    "{}",
    "{ podSelector: null }",
    "{ podSelector: [] }",
    "{ podSelector: { app: web } }",
    "{ podSelector: { matchLabels: { app: 1 } } }",
    "{ podSelector: { matchLabels: {}, matchLabels: {} } }",
    "{ podSelector: { matchExpressions: [{ key: app, operator: In }] } }",
    "{ podSelector: { matchExpressions: [null] } }",
    "{ podSelector: { matchLabels: *none } }",
    "{ podSelector: !!map2 {} }",
    "{ podSelector: {}, podSelector: {} }",
    "{ PodSelector: {} }",
  ])("%s", (spec) => {
    const { objects, problems } = readingOf(policyYaml(spec));
    expect(objects).toMatchObject([
      { identity: "NetworkPolicy shop/web", complete: false, value: undefined },
    ]);
    expect(objects[0]?.problems.length).toBeGreaterThan(0);
    for (const { effect } of objects[0]?.problems ?? []) {
      expect(effect).toBe("the policy is refused: it isolates no pod and allows nothing");
    }
    expect(problems).toEqual([]);
  });

  test.each([
    "{ name: web, namespace: null }",
    "{ name: null }",
    "{ name: 7 }",
    "{ name: a, name: b }",
    "[]",
    "null",
    "{ name: a, namespace: S }",
  ])("metadata: %s", (metadata) => {
    const { objects, problems } = readingOf(policyYaml("{ podSelector: {} }", metadata));
    expect(objects).toEqual([]);
    expect(problems).toMatchObject([
      { effect: "the policy is refused: it isolates no pod and allows nothing" },
    ]);
    expect(problems[0]).not.toHaveProperty("object");
  });
});

test("the reason is the first fault, with the number of the others", () => {
  const spec = "{ podSelector: {}, ingress: [{ ports: [{ port: 0 }, { port: 1, protocol: X }] }] }";
  expect(outcomeOf(policyYaml(spec)).values.get("NetworkPolicy shop/web")).toMatchObject({
    unreadable:
      "spec.ingress[0].ports[0].port: 0 is not a number from 1 to 65535 or a port's name (and 1 more)",
  });
});
