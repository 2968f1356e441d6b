// The lab's part of the kernel: names, namespaces, veth pairs, addresses and routes; made from a plan, found by name, removed.

import { assert } from "../base/assert.ts";
import { type Address, cidrContains, parseAddress, parseCidr } from "../base/ip.ts";
import { forwardFrom } from "./forwarding.ts";
import { ipBatch, ipJson } from "./iproute.ts";

/** Every endpoint's gateway is its own host-side link, as with Calico and other routed CNIs. */
export const GATEWAY_V4 = "169.254.1.1";
export const GATEWAY_V6 = "fe80::1";

/** The pod-side link's name, inside the namespace. */
export const POD_LINK = "eth0";

/** One endpoint's objects in the kernel. */
export interface Wire {
  readonly netns: string;
  /** The host-side link. */
  readonly link: string;
  readonly addresses: readonly Address[];
}

/**
 * A lab's prefix: words of letters and digits, each beginning with a letter, so that no lab's names (`PREFIX-NUMBER…`)
 * can be another's; short enough that links (15 bytes at most) can be numbered to 999.
 */
export function checkPrefix(prefix: string): void {
  assert(/^[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*$/.test(prefix) && prefix.length <= 11, `lab prefix ${prefix}`);
}

export const linkName = (prefix: string, index: number): string => `${prefix}-${index}`;

/** File names are limited; the number makes a truncated one unique. */
const NAME_LENGTH_MAX = 100;

export const netnsName = (prefix: string, index: number, name: string): string =>
  `${prefix}-${index}-${name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .slice(0, NAME_LENGTH_MAX)}`;

export function addressesOf(texts: readonly string[]): Address[] {
  return texts.map((text) => {
    const parsed = parseAddress(text);
    assert(parsed.ok, `address ${text} of a lab`);
    return parsed.value;
  });
}

/** What keeps these addresses from being the lab's own: a route or address of the node that already covers one. */
export function conflicts(addresses: readonly Address[]): string[] {
  const found: string[] = [];
  for (const family of ["-4", "-6"]) {
    for (const route of ipJson([family, "route", "show", "table", "all"])) {
      const text = String(route["dst"]);
      const cidr = parseCidr(text.includes("/") ? text : `${text}/${family === "-4" ? 32 : 128}`);
      // "default" leads away from everything that has no route of its own: the lab's routes are such.
      if (!cidr.ok || cidr.value.length === 0) continue;
      const taken = addresses.find((address) => cidrContains(cidr.value, address));
      if (taken !== undefined) {
        found.push(`${taken.text} is taken: this machine routes ${text} to ${route["dev"] ?? route["type"]}`);
      }
    }
  }
  return found;
}

/** Makes namespaces, links, addresses and routes. On failure some of them exist; `removeWires` finds them. */
export function makeWires(wires: readonly Wire[]): void {
  ipBatch(
    wires.flatMap(({ netns, link }) => [
      `netns add ${netns}`,
      `link add ${link} type veth peer name ${POD_LINK} netns ${netns}`,
      `link set ${link} addrgenmode none`,
    ]),
  );
  for (const wire of wires) forwardFrom(wire.link);
  ipBatch(wires.flatMap(hostSide));
  for (const wire of wires) ipBatch(podSide(wire), wire.netns);
}

const hostSide = ({ link, addresses }: Wire): string[] => [
  `addr add ${GATEWAY_V4}/32 dev ${link} scope link`,
  `link set ${link} up`,
  `addr add ${GATEWAY_V6}/64 dev ${link} nodad`,
  ...addresses.map((address) => `route add ${address.text}/${address.family === 4 ? 32 : 128} dev ${link}`),
];

const podSide = ({ addresses }: Wire): string[] => [
  "link set lo up",
  `link set ${POD_LINK} up`,
  ...addresses.map(({ family, text }) =>
    family === 4 ? `addr add ${text}/32 dev ${POD_LINK}` : `addr add ${text}/128 dev ${POD_LINK} nodad`,
  ),
  `route add ${GATEWAY_V4} dev ${POD_LINK} scope link`,
  `route add default via ${GATEWAY_V4} dev ${POD_LINK}`,
  `route add default via ${GATEWAY_V6} dev ${POD_LINK}`,
];

/** Removes every namespace and link whose name says that this prefix's lab made it. Level-triggered: looks, then acts. */
export function removeWires(prefix: string): void {
  const links = ipJson(["link", "show"])
    .map((link) => String(link["ifname"]))
    .filter((name) => isNumbered(prefix, name, ""));
  ipBatch(links.map((name) => `link del ${name}`));
  const namespaces = ipJson(["netns", "list"])
    .map((netns) => String(netns["name"]))
    .filter((name) => isNumbered(prefix, name, "-"));
  ipBatch(namespaces.map((name) => `netns del ${name}`));
}

/** `PREFIX-NUMBER`, and then either nothing or the given mark and more. */
const isNumbered = (prefix: string, name: string, mark: "" | "-"): boolean =>
  name.startsWith(`${prefix}-`) && (mark === "" ? /^\d+$/ : /^\d+-/).test(name.slice(prefix.length + 1));

/** Cuts one endpoint off: its link goes (both ends), its namespace stays. */
export const cutWire = (wire: Wire): void => ipBatch([`link del ${wire.link}`]);

/** Removes what `makeWires` made. */
export function unmakeWires(wires: readonly Wire[]): void {
  ipBatch([
    ...wires.map(({ link }) => `link del ${link}`),
    ...wires.map(({ netns }) => `netns del ${netns}`),
  ]);
}
