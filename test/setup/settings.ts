// Every file of the kernel's tests starts with the kernel's default settings and restores them: what passes only where another file,
// program or machine has changed a setting fails here, and by name.

import { readFileSync } from "node:fs";
import { afterAll, expect } from "vitest";

/** The kernel's defaults; tools/isolated.sh writes them into the namespaces that the tests run in. */
const DEFAULTS: Readonly<Record<string, string>> = {
  "net/ipv4/conf/all/forwarding": "0",
  "net/ipv4/conf/default/forwarding": "0",
  "net/ipv4/conf/all/rp_filter": "0",
  "net/ipv4/conf/default/rp_filter": "0",
  "net/ipv4/conf/all/accept_local": "0",
  "net/ipv4/conf/all/route_localnet": "0",
  "net/ipv6/conf/all/disable_ipv6": "0",
  "net/ipv6/conf/all/forwarding": "0",
  "net/ipv6/conf/default/forwarding": "0",
  "net/ipv6/conf/default/accept_dad": "1",
};

const held = (): Readonly<Record<string, string>> =>
  Object.fromEntries(
    Object.keys(DEFAULTS).map((name) => [name, readFileSync(`/proc/sys/${name}`, "utf8").trim()]),
  );

expect(
  held(),
  "settings of this network namespace; run the tests by `npm test`, or with tools/isolated.sh",
).toEqual(DEFAULTS);
// Of all hooks of the file the first to be registered, and so the last to run.
afterAll(() => expect(held(), "settings that this file has left behind").toEqual(DEFAULTS));
