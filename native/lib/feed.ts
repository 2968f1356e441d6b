// What waits on a thread of its own and calls back: it can be closed, and need not keep the process alive.
import { ownError, type Site } from "./error.ts";
import { type FeedHandle, native } from "./native.ts";

// While open, the waiting thread keeps the callback; this keeps the handle, so that garbage collection does not end an open
// feed without other references.
const open = new Set<FeedHandle>();

/** Holds the addon's handle until it is closed. */
export class Feed {
  readonly #kind: string;
  readonly #object: string;
  readonly #handle: FeedHandle;

  constructor({ operation, object }: Site, handle: FeedHandle) {
    this.#kind = operation;
    this.#object = object;
    this.#handle = handle;
    open.add(handle);
  }

  get closed(): boolean {
    return !open.has(this.#handle);
  }

  /** Throws CLOSED after close(). */
  setRef(verb: string, on: boolean): void {
    if (this.closed) {
      const site = { operation: `${this.#kind}.${verb}`, object: this.#object };
      throw ownError(site, "CLOSED", "it has been closed");
    }
    native.feedSetRef(this.#handle, on);
  }

  close(): void {
    if (open.delete(this.#handle)) native.feedClose(this.#handle);
  }
}
