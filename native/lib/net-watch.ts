// Changes of links, addresses, routes and neighbours, delivered to the event loop in batches.
import { checkInteger } from "./check.ts";
import { ownError, unwrap } from "./error.ts";
import { Feed } from "./feed.ts";
import { native } from "./native.ts";
import type { NetEvent } from "./net-types.ts";

export type NetWatchOptions = {
  /** Also links and addresses of the namespaces that this one has an id for; takes CAP_NET_BROADCAST. Default: false. */
  readonly allNamespaces?: boolean;
  /** How much the kernel holds for it while JavaScript is busy; default 4 MiB. Beyond net.core.rmem_max with CAP_NET_ADMIN. */
  readonly bufferBytes?: number;
};

export class NetWatch {
  readonly #feed: Feed;

  private constructor(feed: Feed) {
    this.#feed = feed;
  }

  /**
   * Waits for changes on a thread of its own and calls `onEvents` on the event loop, in the kernel's order. The next
   * batch is taken only when the call has returned: while JavaScript is busy changes wait in the kernel, and where they
   * do not fit there is an "overrun" event. An exception of `onEvents` is an uncaught exception. Keeps the process alive
   * until close() or unref(). Errors: BpfError EPERM.
   */
  static open(onEvents: (events: NetEvent[]) => void, options: NetWatchOptions = {}): NetWatch {
    const site = { operation: "net.watch", object: "rtnetlink" };
    if (typeof onEvents !== "function") throw ownError(site, "ARGUMENT", "onEvents must be a function");
    const bufferBytes = options.bufferBytes ?? 4 << 20;
    checkInteger(site, "bufferBytes", bufferBytes, { min: 1, max: 1 << 30 });
    const handle = unwrap(site, native.netWatch(onEvents, options.allNamespaces === true, bufferBytes));
    return new NetWatch(new Feed({ ...site, operation: "watch" }, handle));
  }

  get closed(): boolean {
    return this.#feed.closed;
  }

  /** Keeps the process alive (the default). */
  ref(): void {
    this.#feed.setRef("ref", true);
  }

  /** Lets the process end although the watch is open. */
  unref(): void {
    this.#feed.setRef("unref", false);
  }

  /** Idempotent. `onEvents` is not called any more; changes taken but not yet delivered are lost. */
  close(): void {
    this.#feed.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
