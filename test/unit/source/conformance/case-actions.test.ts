// Conformance cases: how actions change the cluster, and which are refused.
import { describe, expect, it } from "vitest";
import { acting, policy, read, reasons, sound, step, stepsOf } from "../../../support/case-values.ts";

describe("actions", () => {
  const situationAfter = (...actions: unknown[]) => {
    const [first] = stepsOf({ ...acting(...actions), steps: [step({ actions, expected: anything })] });
    if (first === undefined) throw new Error("no step");
    return first;
  };
  const anything = {
    checks: [{ from: "ext:w", to: "node:n1", protocol: "TCP", port: 1, verdict: "allowed" }],
  };

  it("create, update and delete policies, and keep their manifests", () => {
    const create = { type: "createPolicy", object: policy };
    expect([...situationAfter(create).cluster.policies.keys()]).toEqual(["x/deny"]);
    expect(situationAfter(create).manifests.get("x/deny")).toEqual(policy);
    const changed = { ...policy, spec: { podSelector: { matchLabels: { app: "a" } } } };
    const updated = situationAfter(create, { type: "updatePolicy", object: changed });
    expect(updated.cluster.policies.get("x/deny")?.subject.requirements).toHaveLength(1);
    expect(updated.manifests.get("x/deny")).toEqual(changed);
    const deleted = { type: "deletePolicy", kind: "NetworkPolicy", namespace: "x", name: "deny" };
    expect(situationAfter(create, deleted)).toMatchObject({
      manifests: new Map(),
      cluster: { policies: new Map() },
    });
  });

  it("create, relabel and delete pods", () => {
    const pod = { namespace: "x", name: "c", labels: {}, ips: ["10.0.0.2"], ports: [] };
    const { cluster } = situationAfter(
      { type: "deletePod", namespace: "x", name: "b" },
      { type: "createPod", pod },
      { type: "setPodLabels", namespace: "x", name: "a", labels: { tier: "web" } },
    );
    expect([...cluster.pods.keys()]).toEqual(["x/a", "x/c"]);
    expect(cluster.pods.get("x/a")?.labels).toEqual(new Map([["tier", "web"]]));
  });

  it("create, relabel and delete namespaces, with everything in them", () => {
    const name = "kubernetes.io/metadata.name";
    const { cluster, manifests } = situationAfter(
      { type: "createPolicy", object: policy },
      { type: "createNamespace", name: "y", labels: { team: "a" } },
      { type: "setNamespaceLabels", name: "y", labels: {} },
      { type: "createPolicy", object: { ...policy, metadata: { name: "deny", namespace: "y" } } },
      { type: "deleteNamespace", name: "x" },
    );
    expect(cluster.namespaces).toEqual(new Map([["y", { name: "y", labels: new Map([[name, "y"]]) }]]));
    expect(cluster.pods.size).toBe(0);
    expect([...cluster.policies.keys()]).toEqual(["y/deny"]);
    expect([...manifests.keys()]).toEqual(["y/deny"]);
  });

  it("carry over from step to step and leave earlier steps as they were", () => {
    const [first, second] = stepsOf({
      ...sound(),
      steps: [step(), step({ name: "later", actions: [{ type: "createPolicy", object: policy }] })],
    });
    expect(first?.cluster.policies.size).toBe(0);
    expect(second?.cluster.policies.size).toBe(1);
    expect([first?.title, second?.title]).toEqual(["step 1", "step 2 (later)"]);
  });

  const a0 = "steps[0].actions[0]";
  it.each([
    [
      { type: "explode" },
      `${a0}.type: "explode" is not an action; expected one of createPolicy, updatePolicy, `,
    ],
    [{ type: "toString" }, `${a0}.type: "toString" is not an action`],
    [{}, `${a0}.type: is missing`],
    [{ type: "deletePod", namespace: "x" }, `${a0}.name: is missing`],
    [{ type: "deletePod", namespace: "x", name: "z" }, `${a0}: pod x/z is not there`],
    [{ type: "deletePod", namespace: "x", name: "a", force: true }, `${a0}.force: unknown field`],
    [{ type: "setPodLabels", namespace: "x", name: "z", labels: {} }, `${a0}: pod x/z is not there`],
    [{ type: "deleteNamespace", name: "z" }, `${a0}: namespace z is not there`],
    [{ type: "createNamespace", name: "x", labels: {} }, `${a0}: namespace x is there already`],
    [{ type: "setNamespaceLabels", name: "z", labels: {} }, `${a0}: namespace z is not there`],
    [{ type: "updatePolicy", object: policy }, `${a0}: policy x/deny is not there`],
    [
      { type: "createPolicy", object: { ...policy, metadata: { name: "deny", namespace: "z" } } },
      `${a0}: namespace z is not there`,
    ],
    [
      { type: "deletePolicy", kind: "NetworkPolicy", namespace: "x", name: "z" },
      `${a0}: policy x/z is not there`,
    ],
    [
      { type: "createPolicy", object: { ...policy, spec: { podSelector: {}, ingres: [] } } },
      `${a0}.object.spec.ingres: unknown field`,
    ],
    [
      { type: "createPolicy", object: { ...policy, apiVersion: "extensions/v1beta1" } },
      `${a0}.object.apiVersion: expected networking.k8s.io/v1`,
    ],
    [
      {
        type: "createPolicy",
        object: {
          apiVersion: "policy.networking.k8s.io/v1alpha1",
          kind: "ClusterNetworkPolicy",
          metadata: { name: "c" },
          spec: { tier: "Admin", priority: 1, subject: { namespaces: {} } },
        },
      },
      `${a0}.object.apiVersion: expected policy.networking.k8s.io/v1alpha2`,
    ],
    [
      { type: "deletePolicy", kind: "ClusterNetworkPolicy", name: "c" },
      `${a0}: cluster policy c is not there`,
    ],
    [
      { type: "createPod", pod: { namespace: "x", name: "c", labels: {}, ips: ["10.0.0.1"], ports: [] } },
      `${a0}: 10.0.0.1 of pod x/c is an address of pod x/a`,
    ],
  ])("%j is refused", (action, reason) => {
    expect(reasons(acting(action))).toEqual([expect.stringContaining(reason)]);
    expect(read(acting(action)).case).toBeUndefined();
  });
});
