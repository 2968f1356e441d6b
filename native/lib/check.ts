// Argument checks, so that the addon only ever sees what it expects.
import { ownError, type Site } from "./error.ts";

/** Throws SIZE unless `bytes` is a Uint8Array of exactly `size` bytes. */
export function checkBytes(site: Site, what: string, bytes: Uint8Array, size: number): void {
  checkUint8Array(site, what, bytes);
  if (bytes.byteLength !== size) {
    throw ownError(site, "SIZE", `${what} must have ${size} bytes, got ${bytes.byteLength}`);
  }
}

export function checkUint8Array(site: Site, what: string, bytes: Uint8Array): void {
  if (!(bytes instanceof Uint8Array)) {
    throw ownError(site, "ARGUMENT", `${what} must be a Uint8Array, got ${typeof bytes}`);
  }
}

/** Both ends are included; the default is what 32 bits can hold. */
type Range = { readonly min?: number; readonly max?: number };

/** Throws ARGUMENT unless `value` is an integer within the range. */
export function checkInteger(site: Site, what: string, value: number, range: Range = {}): void {
  const { min = 0, max = 0xffffffff } = range;
  if (!Number.isInteger(value) || value < min || value > max) {
    throw ownError(
      site,
      "ARGUMENT",
      `${what} must be an integer from ${min} to ${max}, got ${String(value)}`,
    );
  }
}

/** Throws ARGUMENT for what could not be a file's path: the C side would cut it at the NUL. */
export function checkPath(site: Site, path: string): void {
  if (typeof path !== "string" || path === "" || path.includes("\0")) {
    throw ownError(site, "ARGUMENT", "path must be a string that is not empty and has no NUL");
  }
}

/** Throws ARGUMENT unless `name` may name a kernel object: at most 15 of [A-Za-z0-9_.]. */
export function checkKernelName(site: Site, name: string): void {
  if (typeof name !== "string" || !/^[A-Za-z0-9_.]{0,15}$/.test(name)) {
    throw ownError(
      site,
      "ARGUMENT",
      `name must be at most 15 letters, digits, "_" or ".", got "${String(name)}"`,
    );
  }
}
