// The node's network tables as iproute2 tells them: links, routes, neighbours, bridge ports. Read when asked for, once each.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";
import { type Address, addressBits, type Cidr, cidrOf, parseAddress, parseCidr } from "../base/ip.ts";
import { findAddress, type PrefixTable, prefixTable } from "../base/prefixes.ts";

/** A network interface, as `ip -details -json link` shows it. */
export interface Link {
  readonly ifindex: number;
  readonly ifname: string;
  /** Interface index of the other end of a veth, in its own namespace. */
  readonly link_index?: number;
  readonly link_type?: string;
  readonly linkinfo?: { readonly info_kind?: string };
}

export interface NamespaceLink extends Link {
  readonly addr_info?: readonly { readonly local?: string }[];
}

/** One reading of the tables. Errors: OperationError, naming the command. */
export interface NodeTables {
  readonly links: readonly Link[];
  /** Links of a named network namespace with their addresses. */
  inNamespace(name: string): Promise<NamespaceLink[]>;
  /** The device of the longest route to an address, where it is reached without a gateway. */
  routeDevice(address: Address): Promise<string | undefined>;
  /** The port of a bridge behind which an address has been seen. */
  bridgePort(bridge: string, address: Address): Promise<string | undefined>;
}

const run = promisify(execFile);
const OUTPUT_BYTES_MAX = 64 << 20;

/** Runs an iproute2 command and returns its JSON. An empty answer is an empty list. */
async function ask<T>(program: "ip" | "bridge", ...args: readonly string[]): Promise<T[]> {
  try {
    const { stdout } = await run(program, ["-json", ...args], { maxBuffer: OUTPUT_BYTES_MAX });
    return stdout.trim() === "" ? [] : (JSON.parse(stdout) as T[]);
  } catch (error) {
    const stderr = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : "";
    const absent = codeOf(error) === "ENOENT" ? "the program is not installed (package iproute2)" : undefined;
    throw new OperationError(absent ?? (stderr || messageOf(error)), {
      operation: "run",
      object: `${program} ${args.join(" ")}`,
      cause: error,
    });
  }
}

export async function readNodeTables(): Promise<NodeTables> {
  const links = await ask<Link>("ip", "-details", "link", "show");
  const routes = once(readRoutes);
  const neighbours = once(() =>
    ask<{ dst?: string; dev?: string; lladdr?: string }>("ip", "neighbour", "show"),
  );
  const ports = once(() => ask<{ mac?: string; ifname?: string; master?: string }>("bridge", "fdb", "show"));
  return {
    links,
    inNamespace: (name) => ask<NamespaceLink>("ip", "-netns", name, "-details", "address", "show"),
    routeDevice: async (address) => findAddress(await routes(), address),
    async bridgePort(bridge, address) {
      const neighbour = (await neighbours()).find(({ dst, dev }) => dst === address.text && dev === bridge);
      if (neighbour?.lladdr === undefined) return undefined;
      return (await ports()).find(({ mac, master }) => mac === neighbour.lladdr && master === bridge)?.ifname;
    },
  };
}

function once<T>(read: () => Promise<T>): () => Promise<T> {
  let reading: Promise<T> | undefined;
  return () => {
    reading ??= read();
    return reading;
  };
}

interface Route {
  readonly dst?: string;
  readonly dev?: string;
  readonly gateway?: string;
  readonly via?: unknown;
  readonly type?: string;
}

/** Prefixes that lead to a device directly. Of two routes to one prefix the first listed counts. */
async function readRoutes(): Promise<PrefixTable<string | undefined>> {
  const entries = new Map<string, readonly [Cidr, string | undefined]>();
  for (const family of [4, 6] as const) {
    for (const route of await ask<Route>("ip", `-${family}`, "route", "show", "table", "all")) {
      const cidr = destinationOf(route, family);
      if (cidr === undefined || entries.has(cidr.text)) continue;
      const direct =
        route.gateway === undefined && route.via === undefined && (route.type ?? "unicast") === "unicast";
      entries.set(cidr.text, [cidr, direct ? route.dev : undefined]);
    }
  }
  return prefixTable(entries.values());
}

function destinationOf({ dst }: Route, family: 4 | 6): Cidr | undefined {
  if (dst === undefined || dst === "default") return cidrOf(family, 0n, 0);
  if (dst.includes("/")) {
    const cidr = parseCidr(dst);
    return cidr.ok ? cidr.value : undefined;
  }
  const address = parseAddress(dst);
  return address.ok ? cidrOf(family, address.value.value, addressBits(family)) : undefined;
}
