// Which problems become notices, on which object, and with which text.
import { describe, expect, it } from "vitest";
import { NOTE_BYTES_MAX, noticesOf } from "../../../../src/agent/kubernetes/event-notices.ts";
import type { Pod } from "../../../../src/model/cluster.ts";
import type { Problem } from "../../../../src/model/problem.ts";

const error = (facts: Partial<Problem>): Problem => ({ severity: "error", reason: "it is wrong", ...facts });
const pod = (name: string, node: string): [string, Pod] => [
  `shop/${name}`,
  {
    namespace: "shop",
    name,
    labels: new Map(),
    ips: [],
    hostNetwork: false,
    finished: false,
    ports: [],
    node,
  },
];
const PODS = new Map([pod("here", "node-a"), pod("there", "node-b")]);
const notices = (...problems: Problem[]) => [...noticesOf({ problems, pods: PODS, node: "node-a" }).values()];

describe("notices", () => {
  it("on a policy have the text of its problem, without its name", () => {
    const problem = error({
      object: "NetworkPolicy shop/web",
      path: "spec.ingress[0]",
      effect: "its pods are isolated",
    });
    expect(notices(problem)).toEqual([
      {
        key: "PolicyInvalid NetworkPolicy shop/web",
        reason: "PolicyInvalid",
        subject: { kind: "NetworkPolicy", namespace: "shop", name: "web" },
        note: "spec.ingress[0]: it is wrong; its pods are isolated",
      },
    ]);
  });

  it("are one for each object and reason, with how many more problems there are", () => {
    const object = "NetworkPolicy shop/web";
    const found = notices(
      error({ object }),
      error({ object, reason: "so is this" }),
      error({ object, reason: "and this" }),
    );
    expect(found.map(({ note }) => note)).toEqual(["it is wrong (and 2 more: see weir status on a node)"]);
  });

  it("are emitted for this node's pods only, and for a missing interface with a reason of its own", () => {
    const found = notices(
      error({ object: "Pod shop/here", path: 'metadata.annotations["weir.dev/allowed-sources"]' }),
      error({ object: "Pod shop/here", topic: "interface" }),
      error({ object: "Pod shop/there" }),
      error({ object: "Pod shop/nowhere", topic: "interface" }),
    );
    expect(found.map(({ key }) => key)).toEqual([
      "PodInvalid Pod shop/here",
      "InterfaceUnknown Pod shop/here",
    ]);
  });

  it("on a policy or pod that does not fit have a reason of their own", () => {
    const found = notices(
      error({ object: "NetworkPolicy shop/web", path: "spec.ingress[7] and 3 more", topic: "capacity" }),
      error({ object: "NetworkPolicy shop/web", path: "spec.ingress[0].ports[0]" }),
      error({ object: "Pod shop/here", topic: "capacity" }),
      error({ object: "Pod shop/there", topic: "capacity" }),
      error({ object: "Service shop/web", topic: "capacity" }),
    );
    expect(found.map(({ key }) => key)).toEqual([
      "CapacityExceeded NetworkPolicy shop/web",
      "PolicyInvalid NetworkPolicy shop/web",
      "CapacityExceeded Pod shop/here",
    ]);
  });

  it("are on cluster policies too, which are in no namespace", () => {
    const found = notices(
      error({ object: "ClusterNetworkPolicy tenants", path: "spec.ingress[0].action" }),
      error({ object: "ClusterNetworkPolicy tenants", topic: "capacity" }),
      error({ object: "ClusterNetworkPolicy ../../pods" }),
    );
    expect(found.map(({ key, subject, note }) => [key, subject, note])).toEqual([
      [
        "PolicyInvalid ClusterNetworkPolicy /tenants",
        { kind: "ClusterNetworkPolicy", name: "tenants" },
        "spec.ingress[0].action: it is wrong",
      ],
      [
        "CapacityExceeded ClusterNetworkPolicy /tenants",
        { kind: "ClusterNetworkPolicy", name: "tenants" },
        "it is wrong",
      ],
    ]);
  });

  it("are on the node for problems of no object: a full table, a state that could not be applied", () => {
    const found = notices(
      error({ topic: "capacity", reason: "70000 identities, at most 65536 are supported" }),
      error({ object: "API server https://10.0.0.1", reason: "Pod cannot be followed: HTTP 403" }),
    );
    expect(found.map(({ key, note }) => [key, note])).toEqual([
      ["CapacityExceeded Node /node-a", "70000 identities, at most 65536 are supported"],
      ["StateNotApplied Node /node-a", "API server https://10.0.0.1: Pod cannot be followed: HTTP 403"],
    ]);
  });

  it("are on the node if programs were removed, though they are attached again", () => {
    const reason = "a program was detached externally on interface veth7, to the pod; reattached";
    const found = notices(
      { severity: "warning", reason, topic: "integrity" },
      error({ object: "interface veth8", reason: "no program filters", topic: "integrity" }),
    );
    expect(found.map(({ key, note }) => [key, note])).toEqual([
      ["ProgramsRemoved Node /node-a", `${reason} (and 1 more: see weir status on a node)`],
    ]);
  });

  it("are on the node if an interface is unclaimed, though it is only a warning", () => {
    const problem: Problem = {
      severity: "warning",
      object: "interface veth7",
      reason: "of no known pod",
      topic: "interface",
    };
    expect(notices(problem).map(({ key, note }) => [key, note])).toEqual([
      ["InterfaceUnknown Node /node-a", "interface veth7: of no known pod"],
    ]);
  });

  it("ignore warnings, other kinds and invalid names", () => {
    expect(
      notices(
        { severity: "warning", object: "NetworkPolicy shop/web", reason: "it is odd" },
        error({ object: "Service shop/web" }),
        error({ object: "EndpointSlice shop/web-1" }),
        ...["shop/../../secrets", "../x", "a/b/c", "shop/we b", "shop/", "shop/%2e%2e", "shop/a\nb"].map(
          (name) => error({ object: `NetworkPolicy ${name}` }),
        ),
        error({ object: `NetworkPolicy shop/${"x".repeat(254)}` }),
      ),
    ).toEqual([]);
  });

  it("are cut between characters if they are too long for the API server", () => {
    for (const letter of ["x", "é", "漢", "😀"]) {
      const object = "NetworkPolicy shop/web";
      const [notice] = notices(error({ object, reason: letter.repeat(2_000) }), error({ object }));
      const note = notice?.note ?? "";
      expect(Buffer.byteLength(note)).toBeLessThanOrEqual(NOTE_BYTES_MAX);
      expect(Buffer.byteLength(note)).toBeGreaterThan(NOTE_BYTES_MAX - 8);
      expect(note).toMatch(/^(?:x+|é+|漢+|😀+)\.\.\. \(and 1 more: see weir status on a node\)$/u);
    }
  });
});
