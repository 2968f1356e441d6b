// A claim: what the runtime has said of a pod that it is making, before the source knows of its address and interface.

import { type Address, parseAddress } from "../base/ip.ts";
import { parseHardware } from "../base/mac-address.ts";

/** One interface of one container sandbox, and whose it is. */
export interface Claim {
  readonly containerId: string;
  /** The interface inside the sandbox, as "eth0". */
  readonly ifname: string;
  /** The name of the network configuration that it came by. */
  readonly network: string;
  readonly namespace: string;
  readonly name: string;
  /** Of the pod; missing where the runtime does not tell. */
  readonly uid?: string;
  /** The host's end. */
  readonly ifindex: number;
  readonly link: string;
  /** Tells the link from a later one of its index and name (src/node/link-identity.ts); missing where sysfs does not show it. */
  readonly birth?: string;
  readonly addresses: readonly Address[];
  /** The MAC address of the sandbox's end, where the plugins before have told it. */
  readonly hardware?: string;
}

/** What tells attachments apart, as the CNI specification has it. */
export const attachmentKey = ({ containerId, ifname }: Pick<Claim, "containerId" | "ifname">): string =>
  `${containerId} ${ifname}`;

/** A claim as it stands in a file or an answer. */
export type PlainClaim = Omit<Claim, "addresses"> & { readonly addresses: readonly string[] };

export const plainClaim = (claim: Claim): PlainClaim => ({
  ...claim,
  addresses: claim.addresses.map(({ text }) => text),
});

const isTextOrMissing = (value: unknown): value is string | undefined =>
  value === undefined || typeof value === "string";

/** The claim that a value of unknown origin is, or undefined where it is none. */
export function claimOf(value: unknown): Claim | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { containerId, ifname, network, namespace, name, uid, ifindex, link, birth, addresses, hardware } =
    value as Record<string, unknown>;
  const texts = [containerId, ifname, network, namespace, name, link];
  if (!texts.every((text) => typeof text === "string")) return undefined;
  if (!Number.isInteger(ifindex) || (ifindex as number) < 1 || !Array.isArray(addresses)) return undefined;
  if (!isTextOrMissing(uid) || !isTextOrMissing(birth)) return undefined;
  const mac = typeof hardware === "string" ? parseHardware(hardware) : undefined;
  if (hardware !== undefined && mac?.ok !== true) return undefined;
  const parsed = addresses.flatMap((text) => {
    const address = typeof text === "string" ? parseAddress(text) : undefined;
    return address?.ok === true ? [address.value] : [];
  });
  if (parsed.length !== addresses.length) return undefined;
  const known = { containerId, ifname, network, namespace, name, link, ifindex };
  return {
    ...known,
    ...(uid === undefined ? {} : { uid }),
    ...(birth === undefined ? {} : { birth }),
    ...(mac?.ok === true ? { hardware: mac.value } : {}),
    addresses: parsed,
  } as Claim;
}
