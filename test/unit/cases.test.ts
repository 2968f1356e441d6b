// The tables of cases against the oracle and the compiled plan: the product's own, and all others available.
import { describe, expect, it } from "vitest";
import { oracle } from "../../src/engines/oracle-engine.ts";
import { planEngine } from "../../src/engines/plan-engine.ts";
import { readCase } from "../../src/source/conformance/case-reader.ts";
import { failureText, hasPassed, runCase } from "../../src/source/conformance/case-runner.ts";
import { type CaseFile, caseOf, furtherCases, ownCases } from "../support/cases.ts";

const LINES_MAX = 20;

async function passes(file: CaseFile): Promise<void> {
  const of = caseOf(file);
  for (const engine of [oracle, planEngine()]) {
    const result = await runCase(of, engine);
    if (!hasPassed(result)) expect.fail(failureText(result, LINES_MAX));
  }
}

const titled = (files: readonly CaseFile[]) => files.map((file) => [file.name, file] as const);

describe("a case of our own", () => {
  const files = ownCases();

  it.each(titled(files))("%s agrees with the oracle and the plan", (_name, file) => passes(file));

  it.each(titled(files))("%s can fail: it expects something to pass and something not to", (name, file) => {
    const { id, steps } = caseOf(file);
    expect(id).toBe(`weir/${name.replace(/\.yaml$/, "")}`);
    const expected = new Set(steps.flatMap(({ cells }) => cells.map((cell) => cell.expected)));
    expect(expected).toEqual(new Set(["allowed", "blocked"]));
  });

  it("and none gives a warning, except those with policies that are about one", () => {
    const warned = files.filter((file) => readCase(file.text, file.name).problems.length > 0);
    expect(warned.map(({ name }) => name)).toEqual(["block-spellings.yaml", "policy-types-defaults.yaml"]);
  });

  it("and all together touch every feature that policies have", () => {
    const features = new Set(files.flatMap((file) => caseOf(file).features));
    expect(FEATURES.filter((feature) => !features.has(feature))).toEqual([]);
  });
});

describe.each(furtherCases())("$title", ({ files }) => {
  it.each(titled(files))("%s", (_name, file) => passes(file));
});

const FEATURES = [
  ...["ingress", "egress", "policy-stack", "multi-peer", "multi-port", "multi-step", "loopback"],
  ...["match-expressions:In", "match-expressions:NotIn", "not-in-missing-key"],
  ...["match-expressions:Exists", "match-expressions:DoesNotExist", "metadata-name-label"],
  ...["peer-pod-selector", "peer-namespace-selector", "peer-namespace+pod-selector"],
  ...["ip-block", "ip-block-except", "non-canonical-cidr", "ipv6", "dual-stack", "host-network-pod"],
  ...["numbered-port", "end-port", "named-port-ingress", "named-port-egress", "protocol-only"],
  ...["protocol:default", "protocol:TCP", "protocol:UDP", "protocol:SCTP", "icmp"],
  ...["empty-peers", "empty-ports", "empty-rules", "policy-types-defaulted", "policy-types-explicit"],
  ...["default-deny-ingress", "default-deny-egress", "allow-all-ingress", "allow-all-egress"],
  ...["create-policy", "update-policy", "delete-policy", "relabel-pod", "relabel-namespace"],
  ...["create-pod", "delete-pod", "create-namespace", "delete-namespace", "address-reuse"],
  ...["cnp-tier:Admin", "cnp-tier:Baseline", "cnp-action:Accept", "cnp-action:Deny", "cnp-action:Pass"],
  ...["cnp-subject:namespaces", "cnp-subject:pods", "cnp-peer:namespaces", "cnp-peer:pods"],
  ...["cnp-peer:nodes", "cnp-peer:networks", "cnp-peer:domainNames", "cnp-named-port", "cnp-port-range"],
];
