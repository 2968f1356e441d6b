// Which pod each interface belongs to, against real links: by name, by namespace, by route, by bridge port; and what is refused. Needs root.

import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ipBatch, ipJson } from "../../src/lab/iproute.ts";
import type { Attachment, Pod } from "../../src/model/cluster.ts";
import { problemText } from "../../src/model/problem.ts";
import { readNode } from "../../src/node/netlink-watch.ts";
import { resolveInterfaces } from "../../src/source/interface-discovery.ts";
import { address, cluster } from "../support/model.ts";

const ROUTED = { netns: "wt-if-routed", link: "wtif-r", address: "10.98.0.1" };
const BRIDGED = { netns: "wt-if-bridged", link: "wtif-b", address: "10.98.1.2" };
const TWICE = { netns: "wt-if-twice", link: "wtif-t1", second: "wtif-t2", address: "10.98.0.3" };
const BRIDGE = "wtif-br";

const netnsNames = [ROUTED.netns, BRIDGED.netns, TWICE.netns];

function remove(): void {
  const there = new Set(ipJson(["link", "show"]).map((link) => String(link["ifname"])));
  const links = [ROUTED.link, BRIDGED.link, TWICE.link, TWICE.second, BRIDGE].filter((name) =>
    there.has(name),
  );
  ipBatch(links.map((name) => `link del ${name}`));
  const spaces = new Set(ipJson(["netns", "list"]).map((each) => String(each["name"])));
  ipBatch(netnsNames.filter((name) => spaces.has(name)).map((name) => `netns del ${name}`));
}

const inside = (netns: string, ...args: string[]) =>
  execFileSync("ip", ["netns", "exec", netns, ...args], { stdio: "pipe" });

beforeAll(() => {
  remove();
  ipBatch(netnsNames.map((name) => `netns add ${name}`));
  ipBatch([
    `link add ${ROUTED.link} type veth peer name eth0 netns ${ROUTED.netns}`,
    `link set ${ROUTED.link} up`,
    `route add ${ROUTED.address}/32 dev ${ROUTED.link}`,
    `link add ${BRIDGE} type bridge`,
    `addr add 10.98.1.1/24 dev ${BRIDGE}`,
    `link set ${BRIDGE} up`,
    `link add ${BRIDGED.link} type veth peer name eth0 netns ${BRIDGED.netns}`,
    `link set ${BRIDGED.link} master ${BRIDGE} up`,
    `link add ${TWICE.link} type veth peer name eth0 netns ${TWICE.netns}`,
    `link add ${TWICE.second} type veth peer name eth1 netns ${TWICE.netns}`,
  ]);
  ipBatch([`addr add ${ROUTED.address}/32 dev eth0`, "link set eth0 up"], ROUTED.netns);
  ipBatch([`addr add ${BRIDGED.address}/24 dev eth0`, "link set eth0 up"], BRIDGED.netns);
  // The bridge and the neighbour table learn the pod from its first packet.
  inside(BRIDGED.netns, "ping", "-c1", "-W2", "10.98.1.1");
});

afterAll(remove);

function pod(name: string, ip: string, attachment?: Attachment): Pod {
  return {
    namespace: "shop",
    name,
    labels: new Map(),
    ips: [address(ip)],
    hostNetwork: false,
    finished: false,
    ports: [],
    ...(attachment === undefined ? {} : { attachment }),
  };
}

async function resolved(...pods: Pod[]) {
  const all = cluster({ pods });
  const { found, missing, problems } = resolveInterfaces(all, await readNode());
  return {
    found: found.map(({ pod: { name }, rivals = [], name: link }) =>
      [[name, ...rivals.map((rival) => rival.name)].join("|"), link].join(" "),
    ),
    missing,
    lines: problems.map(problemText),
  };
}

const refusal = (name: string, annotation: string, reason: string) => ({
  found: [],
  missing: [`shop/${name}`],
  lines: [
    `Pod shop/${name}: metadata.annotations["weir.dev/${annotation}"]: ${reason}; the pod is not enforced`,
  ],
});

describe("a pod's interface", () => {
  it("is the link that its annotation names", async () => {
    expect(await resolved(pod("a", "10.98.9.9", { kind: "link", name: ROUTED.link }))).toEqual({
      found: [`a ${ROUTED.link}`],
      missing: [],
      lines: [],
    });
  });

  it("is the other end of the veth in the namespace that its annotation names", async () => {
    const attachment = { kind: "netns", name: ROUTED.netns } as const;
    expect((await resolved(pod("a", "10.98.9.9", attachment))).found).toEqual([`a ${ROUTED.link}`]);
  });

  it("is the veth that the route to its address leads to", async () => {
    expect((await resolved(pod("a", ROUTED.address))).found).toEqual([`a ${ROUTED.link}`]);
  });

  it("is the bridge port behind which its address has been seen", async () => {
    expect((await resolved(pod("a", BRIDGED.address))).found).toEqual([`a ${BRIDGED.link}`]);
  });

  it("is on another node if the address leads to no veth here: no problem, no endpoint", async () => {
    expect(await resolved(pod("a", "198.51.100.7"))).toEqual({ found: [], missing: [], lines: [] });
  });

  it("is not looked for if the pod uses the host's network", async () => {
    expect(await resolved({ ...pod("a", ROUTED.address), hostNetwork: true })).toEqual({
      found: [],
      missing: [],
      lines: [],
    });
  });
});

describe("interfaces", () => {
  it("into the namespace that an annotation names all belong to the pod", async () => {
    const of = pod("a", TWICE.address, { kind: "netns", name: TWICE.netns });
    expect((await resolved(of)).found).toEqual([`a ${TWICE.link}`, `a ${TWICE.second}`]);
  });

  it("that two pods name belong to both, with a warning", async () => {
    const attachment = { kind: "link", name: ROUTED.link } as const;
    const found = await resolved(pod("b", "10.98.9.8", attachment), pod("a", "10.98.9.9", attachment));
    expect(found).toEqual({
      found: [`a|b ${ROUTED.link}`],
      missing: [],
      lines: [expect.stringContaining(`interface ${ROUTED.link}: it may belong to pod shop/a or of shop/b`)],
    });
  });
});

describe("what is refused", () => {
  it("a link that does not exist", async () => {
    const attachment = { kind: "link", name: "wtif-none" } as const;
    expect(await resolved(pod("a", "10.98.9.9", attachment))).toEqual(
      refusal("a", "interface", "interface wtif-none does not exist"),
    );
  });

  it("the loopback device, and a bridge", async () => {
    expect(await resolved(pod("a", "10.98.9.9", { kind: "link", name: "lo" }))).toEqual(
      refusal("a", "interface", "interface lo is the loopback device"),
    );
    expect(await resolved(pod("a", "10.98.9.9", { kind: "link", name: BRIDGE }))).toEqual(
      refusal("a", "interface", `interface ${BRIDGE} is a bridge, which carries the traffic of others too`),
    );
  });

  it("a namespace that does not exist", async () => {
    const { lines } = await resolved(pod("a", "10.98.9.9", { kind: "netns", name: "wt-if-none" }));
    expect(lines).toEqual([expect.stringContaining("network namespace wt-if-none cannot be read: ENOENT")]);
  });
});
