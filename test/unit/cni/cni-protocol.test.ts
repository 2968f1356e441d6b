// Parsing the plugin's requests: every shape that runtimes and plugins send, and everything else refused by name.

import { describe, expect, it } from "vitest";
import { addIn, attachedIn, bodyOf, CniError, gcIn } from "../../../src/cni/cni-protocol.ts";

const ARGS =
  "IgnoreUnknown=1;K8S_POD_NAMESPACE=alpha;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=x;K8S_POD_UID=u1";
const PREVIOUS = {
  cniVersion: "1.0.0",
  interfaces: [
    { name: "cni0", mac: "02:00:00:00:00:01" },
    { name: "veth1", mac: "02:00:00:00:00:02" },
    { name: "eth0", mac: "02:00:00:00:00:03", sandbox: "/run/netns/a" },
    { name: "eth1", mac: "02:00:00:00:00:04", sandbox: "/run/netns/a" },
  ],
  ips: [
    { address: "10.0.0.7/24", interface: 2, gateway: "10.0.0.1" },
    { address: "fd00::7/64", interface: 2 },
    { address: "10.9.0.7/24", interface: 3 },
  ],
};
const BODY = {
  command: "ADD",
  containerId: "abc",
  netns: "/run/netns/a",
  ifname: "eth0",
  args: ARGS,
  timeoutMs: 10_000,
  link: { ifindex: 2, peer: 17 },
  config: { cniVersion: "1.0.0", name: "net", type: "weir-cni", prevResult: PREVIOUS },
};

const withPrevious = (previous: object): object => ({
  ...BODY,
  config: { ...BODY.config, prevResult: previous },
});
const addresses = (body: object): string[] => addIn({ ...body }).addresses.map(({ text }) => text);

function errorOf(work: () => unknown): { code: number; message: string } {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof CniError) return { code: thrown.code, message: thrown.message };
    throw thrown;
  }
  throw new Error("nothing was refused");
}

describe("ADD", () => {
  it("is a pod, the addresses of its interface, and the links of the node", () => {
    const { addresses: found, ...request } = addIn(BODY);
    expect(request).toEqual({
      containerId: "abc",
      ifname: "eth0",
      network: "net",
      namespace: "alpha",
      name: "web-0",
      uid: "u1",
      hardware: "02:00:00:00:00:03",
      hostLinks: ["cni0", "veth1"],
      ends: { ifindex: 2, peer: 17 },
      timeoutMs: 10_000,
    });
    expect(found.map(({ text }) => text)).toEqual(["10.0.0.7", "fd00::7"]);
  });

  it.each([
    ["of the interface of that name in the sandbox", PREVIOUS.interfaces, "02:00:00:00:00:03"],
    [
      "in capitals",
      [{ name: "eth0", mac: "0A-58-0A-00-00-07", sandbox: "/run/netns/a" }],
      "0a:58:0a:00:00:07",
    ],
    ["of none where there is none", [{ name: "eth0", sandbox: "/run/netns/a" }], undefined],
    ["of none where it is the node's", [{ name: "eth0", mac: "02:00:00:00:00:03" }], undefined],
    ["of none where it cannot be read", [{ name: "eth0", mac: "x", sandbox: "/run/netns/a" }], undefined],
    [
      "of none where it is a group's",
      [{ name: "eth0", mac: "01:00:5e:00:00:01", sandbox: "/run/netns/a" }],
      undefined,
    ],
  ])("has the MAC address %s", (_, interfaces, hardware) => {
    expect(addIn({ ...withPrevious({ ips: [{ address: "10.0.0.7/24" }], interfaces }) }).hardware).toBe(
      hardware,
    );
  });

  it("accepts addresses that are given to no interface, and results of older versions", () => {
    expect(addresses(withPrevious({ ips: [{ address: "10.0.0.7/24" }] }))).toEqual(["10.0.0.7"]);
    const old = { ...PREVIOUS, ips: [{ version: "4", address: "10.0.0.7/24", interface: 2 }] };
    expect(addresses(withPrevious(old))).toEqual(["10.0.0.7"]);
  });

  it.each([
    [{ ...BODY, containerId: "../x" }, 4, "CNI_CONTAINERID"],
    [{ ...BODY, ifname: "a/b" }, 4, "CNI_IFNAME"],
    [{ ...BODY, args: "" }, 4, "K8S_POD_NAMESPACE"],
    [{ ...BODY, args: "K8S_POD_NAMESPACE=alpha;K8S_POD_NAME=a/b" }, 4, "K8S_POD_NAME"],
    [{ ...BODY, args: 7 }, 7, "CNI_ARGS"],
    [{ ...BODY, config: [] }, 7, "config"],
    [{ ...BODY, timeoutMs: 0 }, 7, "timeoutMs"],
    [{ ...BODY, link: { ifindex: -1, peer: 1 } }, 7, "link"],
    [{ ...BODY, link: undefined }, 7, "link"],
    [withPrevious({}), 7, "prevResult.ips"],
    [withPrevious({ ips: "x" }), 7, "prevResult.ips"],
    [withPrevious({ ips: [7] }), 7, "prevResult.ips[0]"],
    [withPrevious({ ips: [{ address: "10.0.0.7" }] }), 7, "prevResult.ips[0].address"],
    [withPrevious({ ips: [{ address: "10.0.0.7/24", interface: 9 }] }), 7, "prevResult.ips[0].interface"],
    [withPrevious({ ...PREVIOUS, interfaces: [{ name: 7 }] }), 7, "prevResult.interfaces[0].name"],
  ])("refuses %j", (body, code, field) => {
    const error = errorOf(() => addIn({ ...body }));
    expect(error.code).toBe(code);
    expect(error.message).toContain(field);
  });
});

it("a body that is not a JSON object is refused", () => {
  expect(errorOf(() => bodyOf("{")).code).toBe(6);
  expect(errorOf(() => bodyOf("[]")).code).toBe(7);
  expect(attachedIn(bodyOf('{"containerId":"a","ifname":"eth0"}'))).toEqual({
    containerId: "a",
    ifname: "eth0",
  });
});

it("GC without its list is refused: everything would be garbage", () => {
  const config = { name: "net", "cni.dev/valid-attachments": [{ containerID: "a", ifname: "eth0" }] };
  expect(gcIn({ config })).toEqual({ network: "net", valid: [{ containerId: "a", ifname: "eth0" }] });
  expect(errorOf(() => gcIn({ config: { name: "net" } })).message).toContain("valid-attachments");
  expect(errorOf(() => gcIn({ config: { "cni.dev/valid-attachments": [{}] } })).code).toBe(7);
});
