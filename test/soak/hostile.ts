// What Weir's open ends get from others in random forms while it runs: the agent's two sockets, the watches of the API server, and
// weir-cni's standard input. None of it may change a verdict: the probes go on meanwhile.

import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { pick, type Random } from "../../bench/common/random.ts";
import { KINDS } from "../../src/source/apiserver/resource-kinds.ts";
import { hostileEvent, hostileRequest, NETWORK, torn, withFaults } from "../fuzz/grammar.ts";
import type { SoakNode } from "./node.ts";

const REQUESTS = 240;
/** At a time: fewer than a trusted peer may have open. */
const PARALLEL = 12;
/** A request that is not whole has no answer. */
const ANSWER_MS_MAX = 400;

export async function hostileRequests(node: SoakNode, random: Random): Promise<void> {
  const requests = Array.from({ length: REQUESTS }, () => ({
    socket: pick(random, [node.socket, node.cniSocket]),
    bytes: hostileRequest(random),
  })).values();
  const work = async (): Promise<void> => {
    for (const { socket, bytes } of requests) await sendTo(socket, bytes);
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
}

function sendTo(path: string, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const timer = setTimeout(() => socket.destroy(), ANSWER_MS_MAX);
    // What is refused is closed while it is being written: that is an answer, too.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(timer);
      resolve();
    });
    socket.once("data", () => socket.destroy());
    socket.write(bytes);
  });
}

const BURSTS = 30;
const EVENTS_OF_BURST = 8;
const BURST_MS = 40;
/** Far beyond any object. */
const LONG_LINE_MIB = 48;

/** Afterwards the agent lists everything again, so that nothing is left of them. */
export async function hostileEvents(node: SoakNode, random: Random): Promise<void> {
  for (let burst = 0; burst < BURSTS; burst += 1) {
    for (let index = 0; index < EVENTS_OF_BURST; index += 1) {
      const { kind, line } = hostileEvent(random);
      const own = KINDS.find((each) => each === kind);
      const to = own === undefined || random.below(8) === 0 ? pick(random, KINDS) : own;
      await node.api.order({ do: "write", kind: to, base64: line.toString("base64") });
    }
    await sleep(BURST_MS);
  }
  await node.api.order({ do: "write without end", kind: pick(random, KINDS), mib: LONG_LINE_MIB });
  await sleep(random.below(500));
  await node.api.order({ do: "compact" });
  await node.api.order({ do: "end watches", how: "breaks" });
}

const PLUGINS = 8;

/** @throws Error if the plugin succeeds for a pod that does not exist */
export async function hostileConfigurations(node: SoakNode, random: Random): Promise<void> {
  for (let index = 0; index < PLUGINS; index += 1) {
    const config = { ...NETWORK, socket: node.cniSocket, timeoutMs: 400 };
    const command = pick(random, ["ADD", "ADD", "CHECK", "STATUS", "GC", "DEL"]);
    const input = torn(random, JSON.stringify(withFaults(random, config)));
    const succeeds = await node.runPlugin(command, input);
    if (succeeds && (command === "ADD" || command === "CHECK"))
      throw new Error(`weir-cni ${command} succeeds: ${input.subarray(0, 2_000).toString("latin1")}`);
  }
}
