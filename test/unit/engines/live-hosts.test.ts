// Which pods get a network namespace in a live world, and what is served there.
import { describe, expect, it } from "vitest";
import { hostsOf, whyUnusable } from "../../../src/engines/live-hosts.ts";
import * as values from "../../support/case-values.ts";
import { caseOf } from "../../support/cases.ts";
import { address } from "../../support/model.ts";

const read = (value: unknown) => caseOf({ name: "t.json", text: JSON.stringify(value) });

/** Of one step, with these checks, as [from, to, protocol/port]. */
function hosts(value: unknown, index = 0) {
  const of = read(value);
  const step = of.steps[index];
  if (step === undefined) throw new Error(`there is no step ${index}`);
  const found = hostsOf(of, step);
  const ends = step.cells.map(({ from, to }) => [found.hostOf(from), found.hostOf(to)]);
  return { list: found.list, ends };
}

const check = (from: string, to: string, traffic: string) => {
  const [protocol, port] = traffic.split("/");
  return { from, to, protocol, port: Number(port ?? 0), verdict: "allowed" };
};
const checks = (...list: [string, string, string][]) => ({ checks: list.map((each) => check(...each)) });

describe("a pod", () => {
  it("has one if a cell probes it, and serves the ports that are probed", () => {
    const value = values.expecting(
      checks(
        ["x/a", "x/b", "TCP/81"],
        ["x/a", "x/b", "TCP/80"],
        ["ext:w", "x/b", "UDP/53"],
        ["x/b", "x/b", "SCTP/9"],
      ),
    );
    expect(hosts(value).list).toEqual([
      { name: "x/a", addresses: ["10.0.0.1"], tcp: [], udp: [] },
      { name: "x/b", addresses: ["10.0.0.2"], tcp: [80, 81], udp: [53] },
      { name: "ext:w", addresses: ["192.0.2.1"], tcp: [], udp: [] },
    ]);
  });

  it("has it from the step on in which it exists, whichever step probes it", () => {
    const pod = { namespace: "x", name: "late", labels: {}, ips: ["10.0.0.9"], ports: [] };
    const steps = [
      values.step({ expected: checks(["x/a", "x/b", "TCP/80"]) }),
      values.step({ actions: [{ type: "createPod", pod }], expected: checks(["x/a", "x/b", "TCP/80"]) }),
      values.step({
        actions: [{ type: "deletePod", namespace: "x", name: "b" }],
        expected: checks(["x/late", "x/a", "TCP/81"]),
      }),
    ];
    const value = { ...values.sound(), steps };
    const named = (index: number) => hosts(value, index).list.map(({ name }) => name);
    expect([named(0), named(1), named(2)]).toEqual([
      ["x/a", "x/b"],
      ["x/a", "x/b", "x/late"],
      ["x/a", "x/late"],
    ]);
  });
});

describe("a place", () => {
  it("is one with the others that share an address", () => {
    const host = {
      namespace: "x",
      name: "agent",
      labels: {},
      ips: ["192.168.0.1"],
      ports: [],
      hostNetwork: true,
    };
    const made = values.withCluster({
      pods: [{ namespace: "x", name: "a", labels: {}, ips: ["10.0.0.1"], ports: [] }, host],
    });
    const expected = checks(
      ["x/agent", "x/a", "TCP/80"],
      ["node:n1", "x/a", "TCP/80"],
      ["x/a", "node:n1", "TCP/81"],
    );
    const { list, ends } = hosts({ ...made, steps: [values.step({ expected })] });
    expect(list).toEqual([
      { name: "x/a", addresses: ["10.0.0.1"], tcp: [80], udp: [] },
      { name: "x/agent", addresses: ["192.168.0.1"], tcp: [81], udp: [] },
    ]);
    expect(ends).toEqual([
      ["x/agent", "x/a"],
      ["x/agent", "x/a"],
      ["x/a", "x/agent"],
    ]);
  });

  it("has none while a pod has its address", () => {
    const made = values.withCluster({ externals: [{ name: "ext:old", ips: ["10.0.0.2"] }] });
    const steps = [
      values.step({ expected: checks(["ext:old", "x/a", "TCP/80"]) }),
      values.step({
        actions: [{ type: "deletePod", namespace: "x", name: "b" }],
        expected: checks(["ext:old", "x/a", "TCP/80"]),
      }),
    ];
    expect(hosts({ ...made, steps }, 0).ends).toEqual([[undefined, "x/a"]]);
    expect(hosts({ ...made, steps }, 1).ends).toEqual([["ext:old", "x/a"]]);
  });

  it("has none if no interface can have its address", () => {
    const made = values.withCluster({ externals: [{ name: "ext:m", ips: ["224.0.0.5"] }] });
    const { list, ends } = hosts({
      ...made,
      steps: [values.step({ expected: checks(["x/a", "ext:m", "UDP/5"]) })],
    });
    expect(list.map(({ name }) => name)).toEqual(["x/a"]);
    expect(ends).toEqual([["x/a", undefined]]);
  });
});

it.each([
  ["10.0.0.1", undefined],
  ["255.255.255.254", undefined],
  ["2001:db8::", undefined],
  ["fd00::1", undefined],
  ["0.0.0.0", "0.0.0.0 is not a host's address"],
  ["127.1.2.3", "127.1.2.3 is a loopback address"],
  ["239.255.255.255", "239.255.255.255 is a multicast address"],
  ["240.0.0.1", undefined],
  ["255.255.255.255", "255.255.255.255 is the broadcast address"],
  ["169.254.1.1", "169.254.1.1 is an address of links"],
  ["169.254.1.10", undefined],
  ["::", ":: is the unspecified address"],
  ["::1", "::1 is a loopback address"],
  ["ff02::1", "ff02::1 is a multicast address"],
  ["fe80::1", "fe80::1 is an address of links"],
  ["febf::1", "febf::1 is an address of links"],
])("whether a socket can have %s", (text, reason) => {
  expect(whyUnusable(address(text))).toBe(reason);
});
