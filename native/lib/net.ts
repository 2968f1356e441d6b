// rtnetlink's tables, read whole: links, addresses, routes, neighbours, and what bridges have learned.
import { checkInteger, checkPath } from "./check.ts";
import { kernelError, ownError, type Site, unwrap } from "./error.ts";
import { native } from "./native.ts";
import type { NetAddress, NetLink, NetNeighbour, NetRoute, NetTable, NetTables } from "./net-types.ts";

/**
 * A network namespace: by a path (`/run/netns/NAME`, `/proc/PID/ns/net`), which takes CAP_SYS_ADMIN, or by the id under
 * which it has here (`NetLink.peerNetns`), which takes CAP_NET_ADMIN and a kernel of 4.20 or newer.
 */
export type Netns = { readonly path: string } | { readonly id: number };

/** All devices. Errors: BpfError; EAGAIN where they change faster than they can be read, EINVAL for an unknown id. */
export function dumpLinks(netns?: Netns): Promise<NetLink[]> {
  return dump("links", netns);
}

/** All addresses of devices, of both families. Errors: as dumpLinks. */
export function dumpAddresses(netns?: Netns): Promise<NetAddress[]> {
  return dump("addresses", netns);
}

/** The routes of all tables, of both families. Errors: as dumpLinks; UNSUPPORTED for an id. */
export function dumpRoutes(netns?: Netns): Promise<NetRoute[]> {
  return dump("routes", netns);
}

/** What is known of neighbours, of both families. Errors: as dumpRoutes. */
export function dumpNeighbours(netns?: Netns): Promise<NetNeighbour[]> {
  return dump("neighbours", netns);
}

/** Which hardware address is behind which port, of all bridges. Errors: as dumpRoutes. */
export function dumpForwarding(netns?: Netns): Promise<NetNeighbour[]> {
  return dump("forwarding", netns);
}

async function dump<T extends NetTable>(table: T, netns: Netns | undefined): Promise<NetTables[T][]> {
  const site = { operation: `net.${table}`, object: textOf(netns) };
  const { path, id } = placeOf(site, netns);
  const ofLinks = table === "links" || table === "addresses";
  if (id >= 0 && !ofLinks) {
    throw ownError(site, "UNSUPPORTED", "the kernel reports it for a namespace by path only, not by id");
  }
  return unwrap(site, await native.netDump(table, path, id));
}

const HERE = { path: "", id: -1 };

function placeOf(site: Site, netns: Netns | undefined): { readonly path: string; readonly id: number } {
  if (netns === undefined) return HERE;
  if ("path" in netns) {
    checkPath(site, netns.path);
    return { ...HERE, path: netns.path };
  }
  checkInteger(site, "id", netns.id, { max: 0x7fffffff });
  return { ...HERE, id: netns.id };
}

function textOf(netns: Netns | undefined): string {
  if (netns === undefined) return "of this namespace";
  return "path" in netns ? String(netns.path) : `of namespace id ${netns.id}`;
}

/** The id that the namespace of a path has here; undefined without one. Errors: BpfError. */
export function netnsId(path: string): number | undefined {
  const site = { operation: "net.netnsId", object: String(path) };
  checkPath(site, path);
  const id = native.netNamespaceId(path);
  if (id < -1) throw kernelError(site, id + 1);
  return id < 0 ? undefined : id;
}
