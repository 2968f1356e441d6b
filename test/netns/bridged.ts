// The lab's links as ports of one bridge, which is the pods' gateway.

import { writeFileSync } from "node:fs";
import { ipBatch } from "../../src/lab/iproute.ts";
import type { Lab } from "../../src/lab/netns-lab.ts";

interface Bridged {
  readonly bridge: string;
  readonly address?: string;
  readonly names: readonly string[];
  /** The bridge's addresses, with prefix lengths. */
  readonly gateways: readonly string[];
  /** Whether each pod's address has a route to the bridge; else the bridge's own prefixes cover them. */
  readonly routes?: boolean;
  /** Whether ports send packets back out of the port they arrived on (hairpin mode). */
  readonly hairpin?: boolean;
}

/** The bridge is removed with the lab. */
export function attachToBridge(
  lab: Lab,
  { bridge, address, names, gateways, routes = false, hairpin = false }: Bridged,
): void {
  ipBatch([`link add ${bridge} ${address === undefined ? "" : `address ${address} `}type bridge`]);
  lab.defer(() => ipBatch([`link del ${bridge}`]));
  for (const family of ["ipv4", "ipv6"])
    writeFileSync(`/proc/sys/net/${family}/conf/${bridge}/forwarding`, "1");
  ipBatch([
    `link set ${bridge} up`,
    ...gateways.map((each) => `addr add ${each} dev ${bridge}${each.includes(":") ? " nodad" : ""}`),
    ...names.flatMap((name) => {
      const { link, addresses } = lab.wire(name);
      const prefixes = addresses.map(({ text, family }) => `${text}/${family === 4 ? 32 : 128}`);
      return [
        ...prefixes.map((prefix) => `route del ${prefix} dev ${link}`),
        `link set ${link} master ${bridge}`,
        ...(hairpin ? [`link set ${link} type bridge_slave hairpin on`] : []),
        ...(routes ? prefixes.map((prefix) => `route add ${prefix} dev ${bridge}`) : []),
      ];
    }),
  ]);
}
