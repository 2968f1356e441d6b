// The measured node: a veth for each of its pods, and the kernel's verdict on a packet to one of them.

import { existsSync } from "node:fs";
import { present } from "../../src/base/assert.ts";
import type { Address } from "../../src/base/ip.ts";
import { openProgram, PROGRAMS, programPath } from "../../src/datapath/pins.ts";
import { testRunner } from "../../src/datapath/program-test-run.ts";
import { packet } from "../../src/engines/frame-builder.ts";
import { ipJson } from "../../src/lab/iproute.ts";
import { addressesOf, linkName, makeWires, netnsName, removeWires } from "../../src/lab/netns-links.ts";
import { clientAddress, PROBED_ADDRESS, PROBED_PORT } from "./crowd.ts";

const PREFIX = "ws";

/** Each pod has a network namespace and a veth, as network plugins make them; no process is in it. */
export function makeLinks(addresses: readonly string[]): void {
  makeWires(
    addresses.map((address, index) => ({
      netns: netnsName(PREFIX, index, "pod"),
      link: linkName(PREFIX, index),
      addresses: addressesOf([address]),
    })),
  );
}

export const removeLinks = (): void => removeWires(PREFIX);

export interface Probe {
  /** Whether the program in force admits a connection of the client with this number to the probed pod. */
  admits(client: number): boolean;
  close(): void;
}

const addressOf = (text: string): Address => present(addressesOf([text])[0], text);

/** Runs the agent's own program, as loaded and pinned under `root`, on test packets. Undefined until there is one. */
export function openProbe(root: string, object: string, links: number): Probe | undefined {
  const path = programPath(root, PROGRAMS.ingress);
  const program = existsSync(path) ? openProgram(path) : undefined;
  if (program === undefined) return undefined;
  const run = testRunner({ programs: { ingress: program } }, object);
  // The probed pod is the last one.
  const [link] = ipJson(["link", "show", "dev", linkName(PREFIX, links - 1)]);
  const ifindex = Number(present(link, "the probed pod's link")["ifindex"]);
  const destination = addressOf(PROBED_ADDRESS);
  let port = 0;
  return {
    admits(client) {
      port = (port + 1) % 28_000;
      const frame = packet({
        source: addressOf(clientAddress(client)),
        destination,
        protocol: "TCP",
        sourcePort: 32_768 + port,
        destinationPort: PROBED_PORT,
      });
      return run({ direction: "ingress", ifindex, ingressIfindex: 1, frame }) === "pass";
    },
    close: () => program.close(),
  };
}
