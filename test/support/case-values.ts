// A valid conformance case, and ways to break it.
import { readCase } from "../../src/source/conformance/case-reader.ts";
import type { Step } from "../../src/source/conformance/case-types.ts";
import { caseOf } from "./cases.ts";

export const policy = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "deny", namespace: "x" },
  spec: { podSelector: {} },
};

/** A valid case; a new one every time, for tests to break. */
export function sound() {
  return {
    format: "np-conformance/1",
    id: "t/1",
    name: "a case",
    source: { project: "t", licence: "Apache-2.0", truth: "by hand" } as Record<string, unknown>,
    features: ["ingress"] as unknown[],
    cluster: {
      ipFamily: "IPv4",
      namespaces: [{ name: "x", labels: {} }] as unknown[],
      nodes: [{ name: "n1", labels: {}, ips: ["192.168.0.1"] }] as unknown[],
      pods: [
        { namespace: "x", name: "a", labels: { app: "a" }, ips: ["10.0.0.1"], ports: [] },
        { namespace: "x", name: "b", labels: {}, ips: ["10.0.0.2"], ports: [] },
      ] as unknown[],
      externals: [{ name: "ext:w", ips: ["192.0.2.1"] }] as unknown[],
    } as Record<string, unknown>,
    steps: [step()] as unknown[],
  };
}

export function step(facts: Record<string, unknown> = {}) {
  return {
    actions: [] as unknown[],
    probe: { mode: "pod-ip" },
    expected: { pods: ["x/a", "x/b"], tables: { "TCP/80": ["L.", ".L"] } },
    ...facts,
  };
}

export const read = (value: unknown) => readCase(JSON.stringify(value), "t.json");
export const reasons = (value: unknown) =>
  read(value).problems.map(({ path, reason }) => (path === undefined ? reason : `${path}: ${reason}`));

/** A valid case with one action before its only step. */
export const acting = (...actions: unknown[]) => ({ ...sound(), steps: [step({ actions })] });
/** A valid case with these expectations. */
export const expecting = (expected: unknown) => ({ ...sound(), steps: [step({ expected })] });
export const checking = (facts: Record<string, unknown>) =>
  expecting({
    checks: [{ from: "x/a", to: "x/b", protocol: "TCP", port: 80, verdict: "allowed", ...facts }],
  });
/** A valid case with a pod like x/a, changed. */
export const podding = (facts: Record<string, unknown>) => {
  const made = sound();
  const pod = { namespace: "x", name: "c", labels: {}, ips: ["10.0.0.3"], ports: [], ...facts };
  return { ...made, cluster: { ...made.cluster, pods: [...(made.cluster["pods"] as unknown[]), pod] } };
};

export function stepsOf(value: unknown): readonly Step[] {
  return caseOf({ name: "t.json", text: JSON.stringify(value) }).steps;
}

export function withCluster(facts: Record<string, unknown>) {
  const made = sound();
  return { ...made, cluster: { ...made.cluster, ...facts } };
}
