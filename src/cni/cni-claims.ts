// CNI claims: what the runtime reports of a pod's interface and addresses, their file, and their overlay over the
// snapshot.

import { type Address, parseAddress } from "../base/ip.ts";
import { parseHardware } from "../base/mac-address.ts";
import { readKept, unreadableFile, writeKept } from "../base/state-file.ts";
import { type Cluster, keyOf, type Pod } from "../model/cluster.ts";

/** One interface of one container sandbox, and the pod that it belongs to. */
export interface Claim {
  readonly containerId: string;
  /** The interface inside the sandbox, as "eth0". */
  readonly ifname: string;
  /** The name of its network configuration. */
  readonly network: string;
  readonly namespace: string;
  readonly name: string;
  /** Of the pod; missing where the runtime does not pass it. */
  readonly uid?: string;
  /** The host's end. */
  readonly ifindex: number;
  readonly link: string;
  /**
   * Distinguishes the link from a later one of its index and name (src/node/link-identity.ts); missing where sysfs does
   * not show it.
   */
  readonly birth?: string;
  readonly addresses: readonly Address[];
  /** The MAC address of the sandbox's end, where the preceding plugins have reported it. */
  readonly hardware?: string;
}

/** What identifies an attachment, as the CNI specification defines it. */
export const attachmentKey = ({ containerId, ifname }: Pick<Claim, "containerId" | "ifname">): string =>
  `${containerId} ${ifname}`;

/** A claim as encoded in a file or an answer. */
export type PlainClaim = Omit<Claim, "addresses"> & { readonly addresses: readonly string[] };

export const plainClaim = (claim: Claim): PlainClaim => ({
  ...claim,
  addresses: claim.addresses.map(({ text }) => text),
});

const isTextOrMissing = (value: unknown): value is string | undefined =>
  value === undefined || typeof value === "string";

/** The claim in a value of unknown origin; undefined where it is not one. */
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

// The file that keeps claims while no agent runs.

/** Version 1 does not record which link of an index is meant: as long as the name has the index, it is taken for that link. */
const VERSION = 2;

/** No claims where there is no file. @throws OperationError where it cannot be read, or holds something else */
export function readClaims(path: string): readonly Claim[] {
  const kept = readKept(path, [1, VERSION]);
  if (kept === undefined) return [];
  const { claims } = kept;
  if (!Array.isArray(claims)) throw unreadableFile(path, "claims: expected a list");
  return claims.map((each, at) => {
    const claim = claimOf(each);
    if (claim === undefined) throw unreadableFile(path, `claims[${at}]: expected a claim`);
    return claim;
  });
}

/** @throws OperationError */
export const writeClaims = (path: string, claims: Iterable<Claim>): void =>
  writeKept(path, { version: VERSION, claims: [...claims].map(plainClaim) });

// Which claims match the pods of the source: the runtime's report on an interface counts for the pod that it names.

export interface Matched {
  /** The cluster as the source gives it. */
  readonly cluster: Cluster;
  /** Claims of known pods. Of two live sandboxes of one pod both count. */
  readonly counts: ReadonlySet<Claim>;
  /** Why each of the others does not count yet. Its interface is known not to be another pod's. */
  readonly waits: ReadonlyMap<Claim, string>;
}

export function matchClaims(cluster: Cluster, claims: Iterable<Claim>): Matched {
  const counts = new Set<Claim>();
  const waits = new Map<Claim, string>();
  for (const claim of claims) {
    const reason = reasonAgainst(cluster.pods.get(keyOf(claim)), claim);
    if (reason === undefined) counts.add(claim);
    else waits.set(claim, reason);
  }
  return { cluster, counts, waits };
}

function reasonAgainst(pod: Pod | undefined, claim: Claim): string | undefined {
  const name = `pod ${keyOf(claim)}`;
  if (pod === undefined) return `${name} is not known yet`;
  if (pod.uid !== undefined && claim.uid !== undefined && pod.uid !== claim.uid)
    return `${name} is known with another uid (${pod.uid}, not ${claim.uid})`;
  return pod.hostNetwork ? `${name} is on the node's own network` : undefined;
}

/** An interface as its claim describes it; with its pod's key, where the pod is known. */
export const claimedInterfaces = ({ counts, waits }: Matched) =>
  [...counts, ...waits.keys()].map((claim) => {
    const { ifindex, link, birth, addresses, hardware } = claim;
    return {
      ifindex,
      name: link,
      ...(birth === undefined ? {} : { birth }),
      ...(hardware === undefined ? {} : { hardware }),
      pod: counts.has(claim) ? keyOf(claim) : undefined,
      addresses,
    };
  });
