// What maps, programs and links have in common: a descriptor that can be closed and pinned.
import { checkInteger, checkPath } from "./check.ts";
import { check, ownError, type Site, unwrap } from "./error.ts";
import { type Handle, type HandleKind, native } from "./native.ts";

/** Holds the addon's handle until it is closed. The descriptor is closed when no operation runs on it any more. */
export class Descriptor {
  readonly kind: HandleKind;
  readonly name: string;
  #handle: Handle | undefined;

  constructor(kind: HandleKind, name: string, handle: Handle) {
    this.kind = kind;
    this.name = name;
    this.#handle = handle;
  }

  get closed(): boolean {
    return this.#handle === undefined;
  }

  /** Where an error of `verb` on this happened. */
  site(verb: string): Site {
    return { operation: `${this.kind}.${verb}`, object: this.name };
  }

  /** Throws CLOSED after close(). */
  use(verb: string): Handle {
    if (this.#handle === undefined) {
      throw ownError(this.site(verb), "CLOSED", `the ${this.kind} has been closed`);
    }
    return this.#handle;
  }

  pin(path: string): void {
    const handle = this.use("pin");
    const site = { operation: `${this.kind}.pin`, object: path };
    checkPath(site, path);
    check(site, native.pin(handle, path));
  }

  /** Removes the pin; refuses (ARGUMENT) where `path` holds something else than this, known by `idOf`. */
  unpin(path: string, idOf: (handle: Handle) => number): void {
    const handle = this.use("unpin");
    const pinned = openPinned(this.kind, path, "unpin");
    const same = idOf(pinned) === idOf(handle);
    native.closeHandle(pinned);
    const site = { operation: `${this.kind}.unpin`, object: path };
    if (!same) throw ownError(site, "ARGUMENT", `the path holds another ${this.kind} than ${this.name}`);
    check(site, native.unpin(path));
  }

  close(): void {
    if (this.#handle === undefined) return;
    native.closeHandle(this.#handle);
    this.#handle = undefined;
  }
}

const wrongKind = -124; // EMEDIUMTYPE, with which the addon says "something else is pinned there"

export function openPinned(kind: HandleKind, path: string, verb = "openPinned"): Handle {
  const site = { operation: `${kind}.${verb}`, object: String(path) };
  checkPath(site, path);
  const result = native.openPinned(path, kind);
  if (result === wrongKind) throw ownError(site, "ARGUMENT", `what is pinned there is not a ${kind}`);
  return unwrap(site, result);
}

export function openById(kind: HandleKind, id: number): Handle {
  const site = { operation: `${kind}.openById`, object: `id ${String(id)}` };
  checkInteger(site, "id", id);
  return unwrap(site, native.openById(kind, id));
}
