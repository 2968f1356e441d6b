// The traces of several nodes as one answer.
import { describe, expect, it } from "vitest";
import { oneTrace } from "../../../../src/cli/plugin/plugin.ts";

const POLICIES = "denied: TCP/80 from a/x (10.0.0.1) to b/y (10.0.0.2)\n  ingress of b/y: isolated by b/p\n";
const node = (name: string, text: string) => ({ node: name, text });

describe("traces", () => {
  it("that agree on the policies are one, with each kernel's own words", () => {
    expect(
      oneTrace([
        node("n1", `${POLICIES}  kernel: from_pod on v1 passes it (not-isolated)\n`),
        node("n2", `${POLICIES}  kernel: to_pod on v2 drops it (denied)\n`),
      ]),
    ).toBe(
      `${POLICIES}  kernel of n1: from_pod on v1 passes it (not-isolated)\n  kernel of n2: to_pod on v2 drops it (denied)\n`,
    );
  });

  it("that differ, or have several paths, are shown one after the other", () => {
    const other = POLICIES.replace("denied", "allowed");
    expect(oneTrace([node("n1", POLICIES), node("n2", other)])).toBe(
      `on node n1:\n${POLICIES}on node n2:\n${other}`,
    );
    const both = POLICIES + POLICIES;
    expect(oneTrace([node("n1", both), node("n2", both)])).toBe(`on node n1:\n${both}on node n2:\n${both}`);
  });

  it("of one node are as they are, and of none empty", () => {
    expect(oneTrace([node("n1", POLICIES)])).toBe(POLICIES);
    expect(oneTrace([])).toBe("");
  });
});
