// Lets packets through from the lab's links: per link where the kernel can, else for the whole node until the last lab ends.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Where the settings live and where the old ones are noted; tests give their own. */
export interface ForwardingPaths {
  readonly ipv4Conf: string;
  readonly ipv6Conf: string;
  readonly record: string;
}

export const FORWARDING_PATHS: ForwardingPaths = {
  ipv4Conf: "/proc/sys/net/ipv4/conf",
  ipv6Conf: "/proc/sys/net/ipv6/conf",
  record: "/run/weir-lab",
};

/** Settings of the host-side link itself; they vanish with it. */
export function forwardFrom(link: string, paths: ForwardingPaths = FORWARDING_PATHS): void {
  writeFileSync(join(paths.ipv4Conf, link, "forwarding"), "1");
  const ipv6 = join(paths.ipv6Conf, link);
  writeFileSync(join(ipv6, "disable_ipv6"), "0");
  writeFileSync(join(ipv6, "accept_ra"), "0");
  const force = join(ipv6, "force_forwarding");
  if (existsSync(force)) writeFileSync(force, "1");
}

/** Linux before 6.17 forwards IPv6 on no link unless it does so on all. */
const needsNodeWide = (paths: ForwardingPaths): boolean =>
  !existsSync(join(paths.ipv6Conf, "all", "force_forwarding"));

/**
 * Turns on IPv6 forwarding for the node where that is the only way, in the name of one lab, and notes what it was:
 * writing `all` writes every link's setting too.
 */
export function forwardNodeWide(lab: string, paths: ForwardingPaths = FORWARDING_PATHS): void {
  if (!needsNodeWide(paths)) return;
  mkdirSync(join(paths.record, "users"), { recursive: true });
  writeFileSync(join(paths.record, "users", lab), "");
  const before = join(paths.record, "ipv6-forwarding.json");
  if (existsSync(before)) return;
  const settings = readdirSync(paths.ipv6Conf).map((link) => [link, read(paths, link)] as const);
  if (read(paths, "all") === "1") return;
  writeFileSync(before, JSON.stringify(settings));
  writeFileSync(join(paths.ipv6Conf, "all", "forwarding"), "1");
}

/** Unregisters a lab; the last one restores every setting. Does nothing for a lab that is not registered. */
export function stopForwardingNodeWide(lab: string, paths: ForwardingPaths = FORWARDING_PATHS): void {
  const users = join(paths.record, "users");
  if (!existsSync(users)) return;
  rmSync(join(users, lab), { force: true });
  if (readdirSync(users).length > 0) return;
  const before = join(paths.record, "ipv6-forwarding.json");
  if (existsSync(before)) {
    writeFileSync(join(paths.ipv6Conf, "all", "forwarding"), "0");
    const settings = JSON.parse(readFileSync(before, "utf8")) as [string, string][];
    for (const [link, value] of settings) {
      if (link !== "all" && value !== "0" && existsSync(join(paths.ipv6Conf, link))) {
        writeFileSync(join(paths.ipv6Conf, link, "forwarding"), value);
      }
    }
  }
  rmSync(paths.record, { recursive: true });
}

const read = (paths: ForwardingPaths, link: string): string =>
  readFileSync(join(paths.ipv6Conf, link, "forwarding"), "utf8").trim();
