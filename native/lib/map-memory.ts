// The memory of a map, read without system calls.
import { checkInteger, checkUint8Array } from "./check.ts";
import { check, ownError, type Site } from "./error.ts";
import { type MemoryHandle, native } from "./native.ts";

const WORD = 8;

/**
 * An array map's memory, mapped for reading. What is read is copied: no view of the pages leaves this class, so that
 * neither a store nor a use after close() can end the process. It keeps the map in the kernel until it is closed.
 */
export class MapMemory {
  /** Bytes, without the rest of the last page. */
  readonly byteLength: number;
  /** Bytes from one element to the next: the value's size, padded to 8. */
  readonly stride: number;
  readonly #name: string;
  #handle: MemoryHandle | undefined;

  /** BpfMap.mmap() makes it. */
  constructor(
    name: string,
    { handle, bytes, stride }: { handle: MemoryHandle; bytes: number; stride: number },
  ) {
    this.#name = name;
    this.#handle = handle;
    this.byteLength = bytes;
    this.stride = stride;
  }

  get closed(): boolean {
    return this.#handle === undefined;
  }

  /**
   * Copies the bytes from `offset` on until `target` is full; both are whole words of 8 bytes. Programs may write
   * meanwhile: each word is old or new as a whole, but two words may be of different times.
   */
  read(target: Uint8Array, offset = 0): void {
    const site: Site = { operation: "memory.read", object: this.#name };
    if (this.#handle === undefined) throw ownError(site, "CLOSED", "the memory has been closed");
    checkUint8Array(site, "target", target);
    checkInteger(site, "offset", offset, { max: this.byteLength });
    if (offset % WORD !== 0 || target.byteLength % WORD !== 0)
      throw ownError(site, "SIZE", `offset and length must be multiples of ${WORD} bytes`);
    if (target.byteLength > this.byteLength - offset) {
      const asked = `${target.byteLength} bytes from ${offset} on`;
      throw ownError(site, "SIZE", `the memory has ${this.byteLength} bytes, asked for ${asked}`);
    }
    check(site, native.memoryRead(this.#handle, target, offset));
  }

  /** Idempotent. */
  close(): void {
    if (this.#handle === undefined) return;
    native.memoryClose(this.#handle);
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
