// An exclusive lock on a file or directory (flock(2)), which ends with the process, however that ends.
import { checkPath } from "./check.ts";
import { errno, kernelError, ownError, unwrap } from "./error.ts";
import { type Handle, native } from "./native.ts";

export class FileLock {
  readonly #path: string;
  #handle: Handle | undefined;

  private constructor(path: string, handle: Handle) {
    this.#path = path;
    this.#handle = handle;
  }

  /** Undefined where another process, or another lock of this one, holds it. Errors: BpfError, of open(2) too. */
  static acquire(path: string): FileLock | undefined {
    const site = { operation: "lock", object: String(path) };
    checkPath(site, path);
    const result = native.lockFile(path);
    if (result === -errno.EAGAIN) return undefined;
    if (typeof result === "number") throw kernelError(site, result);
    return new FileLock(path, result);
  }

  /** What stat(2) says of the locked file, which its path need not lead to any more. */
  get identity(): { readonly device: number; readonly inode: number } {
    const site = { operation: "lock.identity", object: this.#path };
    if (this.#handle === undefined) throw ownError(site, "CLOSED", "the lock has been closed");
    return unwrap(site, native.fileIdentity(this.#handle));
  }

  get closed(): boolean {
    return this.#handle === undefined;
  }

  /** Idempotent. */
  close(): void {
    if (this.#handle !== undefined) native.closeHandle(this.#handle);
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
