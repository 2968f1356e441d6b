// A BPF ring buffer, delivered to the event loop in batches.
import { checkInteger } from "./check.ts";
import { MapType } from "./constants.ts";
import { kernelError, ownError } from "./error.ts";
import { Feed } from "./feed.ts";
import { type BpfMap, mapHandle } from "./map.ts";
import { native } from "./native.ts";

/** Record i is data.subarray(offsets[i], offsets[i + 1]); `offsets` has count + 1 entries. */
export type RingBatch = { readonly data: Buffer; readonly offsets: Uint32Array; readonly count: number };

export type RingOptions = {
  /** A batch is handed over when it has this many bytes of records; default 256 KiB. */
  readonly bytesMax?: number;
};

export class RingBuffer {
  readonly #feed: Feed;

  private constructor(feed: Feed) {
    this.#feed = feed;
  }

  /**
   * Waits for records on a thread of its own and calls `onBatch` on the event loop. The next batch is taken only when
   * the call has returned: while JavaScript is busy records stay in the kernel's buffer, and programs find it full in the
   * end. An exception of `onBatch` is an uncaught exception. The map may be closed afterwards. Keeps the process
   * alive until close() or unref().
   */
  static open(map: BpfMap, onBatch: (batch: RingBatch) => void, options: RingOptions = {}): RingBuffer {
    const name = map?.info?.name ?? "";
    const site = { operation: "ring.open", object: name };
    const handle = mapHandle(map, site, "ring");
    if (map.info.type !== MapType.RINGBUF) throw ownError(site, "ARGUMENT", "the map is not a ring buffer");
    if (typeof onBatch !== "function") throw ownError(site, "ARGUMENT", "onBatch must be a function");
    const bytesMax = options.bytesMax ?? 256 * 1024;
    checkInteger(site, "bytesMax", bytesMax, { min: 1, max: 1 << 30 });
    const deliver = (data: Buffer, offsets: Uint32Array, count: number) => onBatch({ data, offsets, count });
    const opened = native.ringOpen(handle, deliver, bytesMax);
    if (opened.rc < 0 || !opened.handle) throw kernelError(site, opened.rc, { log: opened.log });
    return new RingBuffer(new Feed({ operation: "ring", object: name }, opened.handle));
  }

  get closed(): boolean {
    return this.#feed.closed;
  }

  /** Keeps the process alive (the default). */
  ref(): void {
    this.#feed.setRef("ref", true);
  }

  /** Lets the process end although the buffer is open. */
  unref(): void {
    this.#feed.setRef("unref", false);
  }

  /** Idempotent. `onBatch` is not called any more; records taken but not yet delivered are lost. */
  close(): void {
    this.#feed.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
