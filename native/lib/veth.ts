// Pairs of veth devices, for what must be tried on an interface that carries no traffic.
import { check, ownError, type Site } from "./error.ts";
import { native } from "./native.ts";

/** Makes a pair of veth devices, both down, in this namespace. Errors: BpfError EEXIST, EPERM without CAP_NET_ADMIN. */
export function makeVeth(name: string, peer: string): void {
  const site = { operation: "veth.make", object: String(name) };
  for (const each of [name, peer]) checkDeviceName(site, each);
  check(site, native.linkMakeVeth(name, peer));
}

/** Removes a device, of a veth pair both. Errors: BpfError ENODEV. */
export function removeLink(name: string): void {
  const site = { operation: "link.remove", object: String(name) };
  checkDeviceName(site, name);
  check(site, native.linkRemove(name));
}

/** As the kernel checks it: at most 15 bytes, no slash, colon or white space. */
function checkDeviceName(site: Site, name: string): void {
  if (typeof name !== "string" || !/^[^/:\s\0]{1,15}$/.test(name) || name === "." || name === "..")
    throw ownError(site, "ARGUMENT", `not the name of a device: ${String(name)}`);
}
