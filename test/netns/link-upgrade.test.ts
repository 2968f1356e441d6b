// A pod's MAC address on a bridge over a change of layout, whose maps the next agent cannot read: the pod stays bound to what its link was
// made with, though it took another one meanwhile.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { between } from "../../src/engines/frame-builder.ts";
import { ipBatch } from "../../src/lab/iproute.ts";
import { Agent, weir } from "../../src/lab/weir-process.ts";
import { arp, frame, udpSegment } from "../packet/frames.ts";
import { openWire, type Wire } from "../packet/wire.ts";
import { address } from "../support/model.ts";
import { buildRelaid, OTHER_CONSTANT } from "../support/relaid.ts";
import { attachToBridge } from "./bridged.ts";
import { growth } from "./counted.ts";
import { FRIEND, SERVER, STRANGER, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const FIRST = [2, 0, 0, 0, 0, 3];
const TAKEN = [2, 0, 0, 0, 0, 0x77];
const GATEWAY = [2, 0, 0, 0, 0, 0xfe];
const OWN = address("10.63.61.3");
const macText = (mac: readonly number[]): string =>
  mac.map((byte) => byte.toString(16).padStart(2, "0")).join(":");

let world: World;
let wire: Wire;
let tree: string;

beforeAll(async () => {
  tree = mkdtempSync(join(tmpdir(), "weir-relaid-"));
  buildRelaid(tree, [OTHER_CONSTANT]);
  wire = openWire();
  world = await openWorld(smallWorld("wt-bound"));
  readdress(FIRST);
  attachToBridge(world.lab, {
    bridge: "wt-bound-br",
    address: macText(GATEWAY),
    names: [SERVER, FRIEND, STRANGER],
    gateways: ["10.63.61.254/24"],
  });
}, 240_000);

afterAll(() => {
  world?.close();
  wire?.close();
  rmSync(tree, { recursive: true, force: true });
});

const readdress = (mac: readonly number[]): void =>
  ipBatch([`link set eth0 address ${macText(mac)}`], world.lab.wire(STRANGER).netns);

async function start(bin: string): Promise<Agent> {
  const agent = Agent.spawn({ ...world.paths, bin }, world.manifests.path, []);
  world.lab.defer(() => agent.killNow());
  await agent.ready();
  return agent;
}

/** As the commands of this build see it. */
const asOf = (bin: string): World => ({
  ...world,
  weir: (...args) => weir({ ...world.paths, bin }, args),
});

/** A datagram, and a claim of the pod's address: from the address that it took, and from its first one. */
async function expectBound(bin: string): Promise<void> {
  const seen = asOf(bin);
  const framesOf = (mac: readonly number[]) => [
    between(frame(OWN, address("10.63.61.2"), udpSegment(1, 2)), { source: mac, destination: GATEWAY }),
    between(arp({ operation: 2, sender: OWN, target: address("10.63.61.254"), senderHardware: [...mac] }), {
      source: mac,
      destination: GATEWAY,
    }),
  ];
  const { netns } = world.lab.wire(STRANGER);
  const keys = ["egress spoofed", "egress not-isolated", "egress neighbour"] as const;
  const taken = await growth(seen, STRANGER, keys, async () => wire.send(netns, "eth0", framesOf(TAKEN)));
  // The pod's kernel sends from its new address too.
  expect(taken["egress spoofed"]).toBeGreaterThanOrEqual(2);
  expect(taken).toMatchObject({ "egress not-isolated": 0, "egress neighbour": 0 });
  const own = await growth(seen, STRANGER, keys, async () => wire.send(netns, "eth0", framesOf(FIRST)));
  expect(own).toMatchObject({ "egress not-isolated": 1, "egress neighbour": 1 });
}

it("is what the link was made with, after an upgrade, and after the way back", async () => {
  let agent = await start(world.paths.bin);
  readdress(TAKEN);
  await expectBound(world.paths.bin);
  for (const bin of [join(tree, "bin/weir"), world.paths.bin]) {
    await agent.kill();
    agent = await start(bin);
    await expectBound(bin);
    const { stdout } = await asOf(bin).weir("status");
    expect(stdout).toContain(`${macText(TAKEN)}, but was created with ${macText(FIRST)}`);
  }
}, 240_000);
