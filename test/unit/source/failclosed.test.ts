// A policy that cannot be read in full: which pods it isolates, in which directions, and what is reported.

import { describe, expect, test } from "vitest";
import type { Rule } from "../../../src/model/network-policy.ts";
import { selectorText } from "../../../src/model/selector.ts";
import { linesOf, outcomeOf, policyYaml, readingOf } from "./support.ts";

const isForNobody = ({ peers, ports }: Rule): boolean =>
  (peers !== "anyone" && peers.every(({ kind }) => kind === "nothing")) ||
  (ports !== "all" && ports.every(({ kind }) => kind === "nothing"));

describe("directions: policyTypes if they can be read, their defaults if they are missing, else both", () => {
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
    if (policy === undefined || !("isolates" in policy)) throw new Error("there is no policy");
    expect(selectorText(policy.subject)).toBe("app=web");
    expect([...policy.rules.ingress, ...policy.rules.egress].every(isForNobody)).toBe(true);
    expect(policy.unreadable ?? policy.omitted).toMatch(/^spec\./);
    const isolated = (["ingress", "egress"] as const).filter((direction) => policy.isolates[direction]);
    expect(isolated.join(" ")).toBe(directions);
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines)
      expect(line).toMatch(
        /; (its pods are isolated \(.*\) and nothing is allowed by it|no (in|e)gress rule of the policy is used|the (rule allows nothing|port is left out)|the policy isolates its pods in both directions|if it should be, .*)$/,
      );
  });
});

describe("every pod of the namespace is isolated, and nothing is allowed, if it is not known which are meant", () => {
  test.each([
    ["7", "ingress and egress"],
    ["null", "ingress and egress"],
    ["{}", "ingress"],
    ["{ podSelector: null }", "ingress"],
    ["{ podSelector: [] }", "ingress"],
    ["{ podSelector: { app: web } }", "ingress"],
    ["{ podSelector: { matchLabels: { app: 1 } } }", "ingress"],
    ["{ podSelector: { matchLabels: {}, matchLabels: {} } }", "ingress"],
    ["{ podSelector: { matchExpressions: [{ key: app, operator: In }] } }", "ingress"],
    ["{ podSelector: { matchExpressions: [null] } }", "ingress"],
    ["{ podSelector: { matchLabels: *none } }", "ingress"],
    ["{ podSelector: !!map2 {} }", "ingress"],
    ["{ podSelector: {}, podSelector: {} }", "ingress"],
    ["{ PodSelector: {} }", "ingress and egress"],
    ["{ podSelector: { app: web }, policyTypes: [Egress], egress: [{}] }", "egress"],
    ["{ podSelector: { app: web }, ingress: [{}], egress: [{}] }", "ingress and egress"],
  ])("%s", (spec, directions) => {
    const { objects, problems } = readingOf(policyYaml(spec));
    expect(objects).toMatchObject([
      {
        identity: "NetworkPolicy shop/web",
        complete: false,
        value: {
          subject: { requirements: [] },
          rules: { ingress: [], egress: [] },
          unreadable: expect.any(String),
        },
      },
    ]);
    expect(objects[0]?.problems.length).toBeGreaterThan(0);
    for (const { effect } of objects[0]?.problems ?? [])
      expect(effect).toBe(
        `every pod of namespace shop is isolated (${directions}) and nothing is allowed by it`,
      );
    expect(problems).toEqual([]);
  });

  test.each(["{ name: null }", "{ name: 7 }", "{ name: a, name: b }", "{ name: Web }", "{}"])(
    "of a policy without a readable name, the pods that it selects: metadata: %s",
    (metadata) => {
      const text = metadata === "{}" ? "{ namespace: shop }" : metadata.replace("{", "{ namespace: shop,");
      const reading = readingOf(
        policyYaml("{ podSelector: { matchLabels: { app: web } }, ingress: [{}] }", text),
      );
      expect(reading.objects).toMatchObject([
        {
          identity: "NetworkPolicy shop/?unnamed:1:1",
          complete: false,
          problems: [],
          value: { rules: { ingress: [] } },
        },
      ]);
      expect(linesOf(reading.problems)).toEqual([
        expect.stringMatching(/; its pods are isolated \(ingress\) and nothing is allowed by it$/),
      ]);
    },
  );
});

describe("no policy if it is not known in which namespace its pods are", () => {
  test.each(["{ name: web, namespace: null }", "[]", "null", "{ name: a, namespace: S }"])(
    "metadata: %s",
    (metadata) => {
      const { objects, problems } = readingOf(policyYaml("{ podSelector: {} }", metadata));
      expect(objects).toEqual([]);
      expect(problems).toMatchObject([
        { effect: "the policy is refused: it isolates no pod and allows nothing" },
      ]);
      expect(problems[0]).not.toHaveProperty("object");
    },
  );

  test("or if it does not even claim to be a NetworkPolicy of a supported version, and selects no pods", () => {
    const text = policyYaml("{ selector: all() }").replace("networking.k8s.io/v1", "projectcalico.org/v3");
    const { objects, problems } = readingOf(text);
    expect(objects).toEqual([]);
    expect(linesOf(problems)).toEqual([
      expect.stringMatching(/NetworkPolicy shop\/web: apiVersion: .*; the policy is refused/),
    ]);
  });
});

test("the reason is the first fault, with the number of the others", () => {
  const spec = "{ podSelector: {}, ingress: [{ ports: [{ port: 0 }, { port: 1, protocol: X }] }] }";
  expect(outcomeOf(policyYaml(spec)).values.get("NetworkPolicy shop/web")).toMatchObject({
    omitted: "spec.ingress[0].ports[0].port: 0 is not a number from 1 to 65535 or a port's name (and 1 more)",
  });
});
