// The node's own interfaces, as the kernel shows them below /sys: by their index, and with the other end of a veth.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type AddRequest, CNI_CODE, CniError } from "./cni-protocol.ts";

const NET = "/sys/class/net";

export interface HostLink {
  readonly ifindex: number;
  readonly link: string;
}

/** Names of all interfaces. */
export const linkNames = (directory = NET): ReadonlySet<string> => new Set(readdirSync(directory));

interface Ends {
  readonly ifindex: number;
  /** Index of the other end of a veth, in its own namespace; the interface's own index where there is no other end. */
  readonly peer: number;
}

function endsOf(name: string, directory: string): Ends | undefined {
  const read = (file: string): number => Number(readFileSync(join(directory, name, file), "utf8"));
  try {
    return { ifindex: read("ifindex"), peer: read("iflink") };
  } catch {
    // There is none of this name, or it has just gone.
    return undefined;
  }
}

/** The index of an interface, where it is there. */
export function indexOf(name: string, directory = NET): number | undefined {
  try {
    return Number(readFileSync(join(directory, name, "ifindex"), "utf8"));
  } catch {
    // There is none of this name.
    return undefined;
  }
}

/**
 * The host's end of the pod's veth. Both ends must name each other: as read by the plugin in the pod's namespace, or
 * else as reported by the preceding plugins. Errors: CniError.
 */
export function hostLinkOf({ ends, hostLinks, ifname }: AddRequest, directory = NET): HostLink {
  if ("error" in ends) return reportedLink(hostLinks, ends.error, directory);
  const matches = (name: string): boolean => {
    const each = endsOf(name, directory);
    return each?.ifindex === ends.peer && each.peer === ends.ifindex;
  };
  const link = hostLinks.find(matches) ?? [...linkNames(directory)].find(matches);
  if (link !== undefined) return { link, ifindex: ends.peer };
  throw new CniError(
    CNI_CODE.notEnforceable,
    `${ifname} is not a veth whose other end is on this node`,
    "Weir filters on the node's end of a veth, so there is nothing to enforce on",
  );
}

/** The preceding plugins name the node's end; a bridge, which they name too, has no other end. */
function reportedLink(names: readonly string[], why: string, directory: string): HostLink {
  const veths = names.flatMap((link) => {
    const ends = endsOf(link, directory);
    return ends === undefined || ends.ifindex === ends.peer ? [] : [{ link, ifindex: ends.ifindex }];
  });
  const [only, second] = veths;
  if (only !== undefined && second === undefined) return only;
  throw new CniError(
    CNI_CODE.notEnforceable,
    only === undefined
      ? "prevResult names no veth on this node"
      : `prevResult names several veths on this node: ${veths.map(({ link }) => link).join(", ")}`,
    why,
  );
}
