// Conformance cases: what is refused, and with which words.
import { describe, expect, it } from "vitest";
import { problemText } from "../../../../src/model/problem.ts";
import { readCase } from "../../../../src/source/conformance/case-reader.ts";
import {
  checking,
  expecting,
  podding,
  read,
  reasons,
  sound,
  step,
  withCluster,
} from "../../../support/case-values.ts";

describe("a case is refused, with the field, for", () => {
  const e0 = "steps[0].expected";
  it.each([
    ["no map", [], "must be a map (format, id, name, "],
    ["another format", { ...sound(), format: "np-conformance/2" }, "format: expected np-conformance/1"],
    ["an unknown field", { ...sound(), extra: 1 }, "extra: unknown field"],
    ["no id", { ...sound(), id: undefined }, "id: is missing"],
    [
      "a source without licence",
      { ...sound(), source: { project: "t", truth: "t" } },
      "source.licence: is missing",
    ],
    [
      "a feature that is not text",
      { ...sound(), features: [1] },
      "features[0]: must be a string, not a number",
    ],
    ["no step", { ...sound(), steps: [] }, "steps: has no step"],
    ["an unknown family", withCluster({ ipFamily: "IPv5" }), 'cluster.ipFamily: "IPv5" is not a family'],
    [
      "an external without its prefix",
      withCluster({
        externals: [
          { name: "w", ips: ["192.0.2.1"] },
          { name: "ext:w", ips: ["192.0.2.1"] },
        ],
      }),
      'cluster.externals[0].name: "w" must begin with "ext:"',
    ],
    [
      "a pod without a namespace",
      podding({ namespace: "z" }),
      "cluster.pods[2]: namespace z of pod c is not there",
    ],
    ["a pod twice", podding({ name: "a" }), "cluster.pods[2]: pod x/a is there already"],
    ["an address twice", podding({ ips: ["10.0.0.2"] }), "10.0.0.2 of pod x/c is an address of pod x/b"],
    [
      "an address of another family",
      podding({ ips: ["fd00::3"] }),
      "cluster.pods[2].ips[0]: fd00::3 is not of",
    ],
    ["an invalid address", podding({ ips: ["10.0.0.300"] }), '"10.0.0.300" is not a valid address'],
    ["a pod without addresses", podding({ ips: [] }), "cluster.pods[2].ips: is empty"],
    [
      "an invalid port",
      podding({ ports: [{ port: 0, protocol: "TCP" }] }),
      "cluster.pods[2].ports[0].port: 0 is",
    ],
    ["an unknown protocol", podding({ ports: [{ port: 1, protocol: "GRE" }] }), '"GRE" is not a protocol'],
    ["an invalid listening port", podding({ listen: ["8080"] }), 'cluster.pods[2].listen[0]: "8080" is not'],
    [
      "an endpoint that is not there",
      expecting({ pods: ["x/z", "x/b"], tables: { "TCP/80": ["L.", ".L"] } }),
      `${e0}.pods[0]: "x/z" is not there`,
    ],
    ["a table without order", expecting({ tables: { "TCP/80": ["L"] } }), `${e0}.pods: is missing`],
    [
      "a short table",
      expecting({ pods: ["x/a", "x/b"], tables: { "TCP/80": ["L."] } }),
      'tables["TCP/80"]: has 1 rows for 2 endpoints',
    ],
    [
      "a short row",
      expecting({ pods: ["x/a", "x/b"], tables: { "TCP/80": ["L", ".L"] } }),
      'tables["TCP/80"][0]: has 1 characters for 2 endpoints',
    ],
    [
      "a character that means nothing",
      expecting({ pods: ["x/a", "x/b"], tables: { "TCP/80": ["LY", ".L"] } }),
      '"Y" is not . (allowed)',
    ],
    [
      "L off the diagonal",
      expecting({ pods: ["x/a", "x/b"], tables: { "TCP/80": ["LL", ".L"] } }),
      "L is a pod to itself, not x/a to x/b",
    ],
    [
      "a table of ICMP",
      expecting({ pods: ["x/a", "x/b"], tables: { "ICMP/0": ["L.", ".L"] } }),
      '"ICMP/0" is not a protocol and a port',
    ],
    [
      "a port beyond the last",
      checking({ port: 65_536 }),
      `${e0}.checks[0].port: must be a number from 0 to 65535`,
    ],
    ["an unknown verdict", checking({ verdict: "maybe" }), '"maybe" is not one of allowed, blocked'],
    ["an unknown connection", checking({ connection: "c1" }), '"c1" is not open:ID or reuse:ID'],
    [
      "a family that the cluster has not",
      { ...sound(), steps: [step({ probe: { mode: "ip", ipFamily: "IPv6" } })] },
      'steps[0].probe.ipFamily: "IPv6" is not of the cluster',
    ],
  ])("%s", (_name, value, reason) => {
    const found = reasons(value);
    expect(found).toContainEqual(expect.stringContaining(reason));
    expect(read(value).case).toBeUndefined();
    expect(read(value).problems.every((problem) => !problemText(problem).includes("\n"))).toBe(true);
  });

  it.each([
    ["", "t.yaml: is empty; expected a case; the case is not run"],
    ["a: [", "t.yaml:1:5: not valid YAML: "],
    ["a: 1\n---\nb: 2", "t.yaml: holds more than one document; expected one case; the case is not run"],
    ["format: np-conformance/1\nformat: np-conformance/1", "t.yaml:2:1: format: duplicate key"],
  ])("the text %j", (text, start) => {
    const { case: none, problems } = readCase(text, "t.yaml");
    expect(none).toBeUndefined();
    expect(problems[0] && problemText(problems[0])).toContain(start);
  });
});
