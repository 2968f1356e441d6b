// Link-local and multicast addresses over ordinary sockets, with a routed link and on a bridge: what a pod or a node is denied, it is denied at
// these addresses too. The same sockets get through where nothing is denied.

import { once } from "node:events";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ipBatch, ipJson } from "../../src/lab/iproute.ts";
import { attachToBridge } from "./bridged.ts";
import { openScripts, type Scripts } from "./scripts.ts";
import { BYSTANDER, STRANGER as DENIED, FRIEND, SERVER, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const PORT = 8080;
const PATIENCE_MS = 30_000;
const SILENT_MS = 1_000;

const NUMBERS = { [SERVER]: 1, [FRIEND]: 2, [DENIED]: 3, [BYSTANDER]: 4 } as const;
type Name = keyof typeof NUMBERS;
const NAMES = [SERVER, FRIEND, DENIED, BYSTANDER] as const;
const globalOf = (name: Name): string => `fd63:61::${NUMBERS[name]}`;
const NODE = "fd63:61::fe";

const role = (name: string): string =>
  `{ namespaceSelector: {}, podSelector: { matchLabels: { role: ${name} } } }`;

const clusterPolicy = (name: string, subject: string, rules: string): string => `
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: ${name} }
spec: { tier: Admin, priority: 7, subject: { pods: ${role(subject)} }, ${rules} }
---`;

/**
 * The server denies the stranger, the friend is kept from the server by its egress and has everybody but the server as peers, and the bystander is
 * kept from nodes.
 */
const POLICIES = `
apiVersion: v1
kind: Node
metadata: { name: here }
status: { addresses: [{ type: InternalIP, address: "${NODE}" }] }
---${clusterPolicy("in", "server", `ingress: [{ action: Deny, from: [{ pods: ${role("stranger")} }] }]`)}
${clusterPolicy("out", "friend", `egress: [{ action: Deny, to: [{ pods: ${role("server")} }] }]`)}
${clusterPolicy("nodes", "bystander", "egress: [{ action: Deny, to: [{ nodes: {} }] }]")}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: all-but-one, namespace: shop }
spec:
  podSelector: { matchLabels: { role: friend } }
  ingress: [{ from: [{ ipBlock: { cidr: "::/0", except: ["${globalOf(SERVER)}/128"] } }] }]
`;

/** Echoes TCP and UDP on all addresses. */
const ECHO = `
const port = Number(process.argv[1]);
const udp = require("node:dgram").createSocket("udp6");
udp.on("message", (data, { port, address }) => udp.send(data, port, address));
const tcp = require("node:net").createServer((socket) => socket.on("error", () => {}).pipe(socket));
udp.bind(port, "::", () => tcp.listen(port, "::", () => console.log("ready")));
`;

/** One connection or one datagram again and again, from an address; "reached" when the answer is there, else "silent". */
const ASK = `
const [kind, host, port, source, patience] = process.argv.slice(1);
const end = (text) => { console.log(text); process.exit(0); };
setTimeout(() => end("silent"), Number(patience));
if (kind === "tcp") {
  const from = source === "" ? {} : { localAddress: source };
  const attempt = () => {
    const socket = require("node:net").connect({ host, port: Number(port), ...from }, () => socket.write("x"));
    socket.on("data", () => end("reached"));
    socket.on("error", () => setTimeout(attempt, 100));
  };
  attempt();
} else {
  const socket = require("node:dgram").createSocket("udp6");
  socket.on("message", () => end("reached"));
  socket.on("error", () => end("failed"));
  socket.bind(source === "" ? {} : { address: source }, () => {
    socket.setMulticastLoopback(false);
    const send = () => socket.send("x", Number(port), host, () => setTimeout(send, 100));
    send();
  });
}
`;

/** An address that only the kernel gives: it is there when duplicate address detection is over. */
async function linkLocalOn(link: string, netns: string): Promise<string> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await new Promise((done) => setTimeout(done, 50))) {
    const [entry] = ipJson(["-n", netns, "-6", "addr", "show", "dev", link, "scope", "link"]);
    const known = (entry?.["addr_info"] ?? []) as { readonly local?: string; readonly tentative?: boolean }[];
    const found = known.find(({ local, tentative }) => local !== undefined && tentative !== true);
    if (found?.local !== undefined) return found.local;
    if (Date.now() > deadline) throw new Error(`${link} has no link-local address within ${PATIENCE_MS} ms`);
  }
}

async function lineOf(child: ReturnType<Scripts["start"]>): Promise<string> {
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  return line;
}

describe.each(["routed", "bridge"] as const)("%s", (wiring) => {
  let world: World;
  let scripts: Scripts;
  const linkLocal = new Map<string, string>();

  beforeAll(async () => {
    world = await openWorld(smallWorld("wt-fe80", { "policies.yaml": POLICIES }));
    const { lab } = world;
    scripts = openScripts(lab);
    if (wiring === "bridge") {
      attachToBridge(lab, { bridge: "wt-fe80-br", names: NAMES, gateways: [`${NODE}/64`, "fe80::1/64"] });
      for (const name of NAMES) ipBatch(["route add fd63:61::/64 dev eth0"], lab.wire(name).netns);
    } else {
      ipBatch([`addr add ${NODE}/128 dev lo nodad`]);
      lab.defer(() => ipBatch([`addr del ${NODE}/128 dev lo`]));
    }
    for (const name of NAMES) {
      linkLocal.set(name, await linkLocalOn("eth0", lab.wire(name).netns));
      expect(await lineOf(scripts.start(name, ECHO, [`${PORT}`]))).toBe("ready");
    }
    expect(await lineOf(scripts.start("node", ECHO, [`${PORT}`]))).toBe("ready");
    await world.start();
  }, 120_000);

  afterAll(async () => {
    await scripts?.close();
    world?.close();
  });

  const zoned = (name: string): string => `${name === "node" ? "fe80::1" : linkLocal.get(name)}%eth0`;

  const ask = (from: Name, kind: string, to: string, reached: boolean, source = ""): Promise<string> => {
    const patience = reached ? PATIENCE_MS : SILENT_MS;
    return lineOf(scripts.start(from, ASK, [kind, to, `${PORT}`, source, `${patience}`]));
  };

  // The node is one of them, and what it answers always passes.
  it.each<[why: string, from: Name, reached: boolean]>([
    ["a Deny of nodes", BYSTANDER, false],
    ["a Deny of pods", FRIEND, false],
    ["no Deny", SERVER, true],
  ])("udp to all hosts on the link: %s", async (_, from, reached) => {
    expect(await ask(from, "udp", "ff02::1%eth0", reached)).toBe(reached ? "reached" : "silent");
  });

  for (const kind of ["tcp", "udp"] as const) {
    it.each<[why: string, from: Name, reached: boolean]>([
      ["a Deny of nodes", BYSTANDER, false],
      ["no Deny", DENIED, true],
    ])(`${kind} to the node: %s`, async (_, from, reached) => {
      const expected = reached ? "reached" : "silent";
      expect(await ask(from, kind, zoned("node"), reached)).toBe(expected);
      expect(await ask(from, kind, NODE, reached)).toBe(expected);
    });

    // Where links are routed, nobody else is on a pod's link.
    if (wiring === "routed") continue;
    it.each<[why: string, from: Name, to: Name, reached: boolean]>([
      ["no Deny", SERVER, DENIED, true],
      ["ingress Deny by labels", DENIED, SERVER, false],
      ["egress Deny by labels", FRIEND, SERVER, false],
      ["an exception", SERVER, FRIEND, false],
    ])(`${kind} between pods: %s`, async (_, from, to, reached) => {
      expect(await ask(from, kind, zoned(to), reached)).toBe(reached ? "reached" : "silent");
      if (!reached) expect(await ask(from, kind, globalOf(to), reached, zoned(from))).toBe("silent");
    });
  }
});
