// Conformance cases: what is read from a file.
import { describe, expect, it } from "vitest";
import { problemText } from "../../../../src/model/problem.ts";
import { readCase } from "../../../../src/source/conformance/case-reader.ts";
import { expecting, reasons, sound, step, stepsOf } from "../../../support/case-values.ts";

describe("a valid case", () => {
  it("is read without problems, from JSON and from YAML", () => {
    expect(reasons(sound())).toEqual([]);
    const yaml = `
format: np-conformance/1
id: t/1
name: a case
source: {project: t, licence: Apache-2.0, truth: by hand}
features: [ingress]
cluster: {ipFamily: IPv4, namespaces: [{name: x, labels: {}}], pods: []}
steps:
  - actions: []
    probe: {mode: pod-ip}
    expected:
      checks: []
`;
    const problems = readCase(yaml, "dir/t.yaml").problems.map(problemText);
    expect(problems).toEqual([
      "dir/t.yaml:11:5: steps[0].expected: expects nothing; expected tables or checks; the case is not run",
    ]);
  });

  it("gives its cells in the order of the file, with their ends", () => {
    const [first] = stepsOf(
      expecting({
        endpoints: ["x/a", "ext:w", "node:n1"],
        tables: { "TCP/80": ["LX-", ".-?", "---"] },
        egressTables: { "UDP/53": ["-.-", "---", "---"] },
        checks: [
          {
            from: "x/b",
            to: "x/a",
            protocol: "ICMP",
            port: 7,
            verdict: "blocked",
            optional: true,
            reason: "why",
          },
          { from: "node:n1", to: "x/a", protocol: "SCTP", port: 1, verdict: "allowed", evaluator: "skip" },
          { from: "x/a", to: "x/b", protocol: "TCP", port: 80, verdict: "allowed", connection: "reuse:c1" },
        ],
      }),
    );
    const lines = first?.cells.map((cell) => {
      const { from, to, side, protocol, port, expected } = cell;
      return `${from.name}>${to.name} ${side} ${protocol}/${port} ${expected}`;
    });
    expect(lines).toEqual([
      "x/a>x/a both TCP/80 allowed",
      "x/a>ext:w both TCP/80 blocked",
      "ext:w>x/a both TCP/80 allowed",
      "ext:w>node:n1 both TCP/80 open",
      "x/a>ext:w egress UDP/53 allowed",
      "x/b>x/a both ICMP/0 blocked",
      "node:n1>x/a both SCTP/1 allowed",
      "x/a>x/b both TCP/80 allowed",
    ]);
    expect(first?.cells[0]).toMatchObject({ loopback: true, from: { address: { text: "10.0.0.1" } } });
    expect(first?.cells[1]).toMatchObject({ loopback: false, to: { pod: undefined } });
    expect(first?.cells[5]).toMatchObject({ optional: true, beyondPolicy: false, reason: "why" });
    expect(first?.cells[6]).toMatchObject({ optional: false, beyondPolicy: true, connection: undefined });
    expect(first?.cells[7]).toMatchObject({ connection: { use: "reuse", id: "c1" } });
  });

  it("in two families gives a cell for each, unless the step or ICMP sets one", () => {
    const made = sound();
    const pods = [
      { namespace: "x", name: "a", labels: {}, ips: ["10.0.0.1", "fd00::1"], ports: [] },
      { namespace: "x", name: "b", labels: {}, ips: ["fd00::2", "10.0.0.2"], ports: [] },
    ];
    const check = (protocol: string) => ({ from: "x/a", to: "x/b", protocol, port: 0, verdict: "allowed" });
    const checks = ["TCP", "ICMP", "ICMPv6"].map(check);
    const steps = [
      step({ expected: { checks } }),
      step({ probe: { mode: "ip", ipFamily: "IPv6" }, expected: { checks: [check("UDP")] } }),
    ];
    const dual = { ...made, cluster: { ...made.cluster, ipFamily: "dual", pods }, steps };
    expect(
      stepsOf(dual).map(({ cells }) =>
        cells.map(({ from, to }) => `${from.address.text}>${to.address.text}`),
      ),
    ).toEqual([
      ["10.0.0.1>10.0.0.2", "fd00::1>fd00::2", "10.0.0.1>10.0.0.2", "fd00::1>fd00::2"],
      ["fd00::1>fd00::2"],
    ]);
  });

  it("warns of ends that have no addresses of one family, and compares the rest", () => {
    const made = sound();
    const externals = [{ name: "ext:six", ips: ["2001:db8::1"] }];
    const check = (to: string) => ({ from: "x/a", to, protocol: "TCP", port: 80, verdict: "allowed" });
    const steps = [step({ expected: { checks: [check("ext:six"), check("x/b")] } })];
    const mixed = { ...made, cluster: { ...made.cluster, externals }, steps };
    expect(reasons(mixed)).toEqual([
      "steps[0].expected.checks[0]: x/a and ext:six have no addresses of one family that is probed; nothing is compared",
    ]);
    expect(stepsOf(mixed)[0]?.cells.map(({ to }) => to.name)).toEqual(["x/b"]);
  });
});
