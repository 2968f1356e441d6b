// BTF, the kernel's type information: of built objects, of loaded ones, of the kernel itself.
import { readFileSync } from "node:fs";
import { type BtfKind, type BtfType, type DecodedBtf, decodeBtf } from "./btf-decode.ts";
import { checkInteger, checkPath, checkUint8Array } from "./check.ts";
import { kernelError, ownError, type Site, unwrap } from "./error.ts";
import { native } from "./native.ts";

let wrap: (bytes: Uint8Array, site: Site) => Btf;

/** Types are plain data; there is nothing to close. */
export class Btf {
  readonly #bytes: Uint8Array;
  readonly #base: Btf | undefined;
  readonly #site: Site;
  #decoded: DecodedBtf | undefined;
  #byName: Map<string, BtfType> | undefined;

  private constructor(bytes: Uint8Array, site: Site, base?: Btf) {
    this.#bytes = bytes;
    this.#base = base;
    this.#site = site;
  }

  static {
    wrap = (bytes, site) => new Btf(bytes, site);
  }

  /**
   * Of an ELF object or a raw BTF file. Places of variables in data sections are 0 in compiled objects: libbpf fills
   * them in when it opens the object, so use {@link BpfObject.btf} for those.
   */
  static parse(objectPath: string): Btf {
    const site = { operation: "btf.parse", object: String(objectPath) };
    checkPath(site, objectPath);
    const { rc, log, data } = native.btfParse(objectPath);
    if (rc < 0 || data === undefined) throw kernelError(site, rc, { log });
    return new Btf(data, site);
  }

  /** Of raw bytes, which are checked at once; `base` for split BTF, which counts on from another's types. */
  static fromBytes(bytes: Uint8Array, base?: Btf): Btf {
    const site = { operation: "btf.fromBytes", object: `${bytes?.byteLength} bytes` };
    checkUint8Array(site, "bytes", bytes);
    const btf = new Btf(Uint8Array.from(bytes), site, base);
    btf.#decode();
    return btf;
  }

  /** Of the kernel's BTF object `id`, such as MapInfo.btfId names one. */
  static openById(id: number): Btf {
    const site = { operation: "btf.openById", object: `id ${String(id)}` };
    checkInteger(site, "id", id);
    const { data, name, kernel } = unwrap(site, native.btfOfKernel(id));
    // A module's types count on from the kernel's.
    return new Btf(data, site, kernel && name !== "vmlinux" ? Btf.vmlinux() : undefined);
  }

  /** Of the running kernel: some 100,000 types, decoded on first use. */
  static vmlinux(): Btf {
    const path = "/sys/kernel/btf/vmlinux";
    const site = { operation: "btf.vmlinux", object: path };
    try {
      return new Btf(readFileSync(path), site);
    } catch (error) {
      const { errno, message } = error as NodeJS.ErrnoException;
      throw errno === undefined ? ownError(site, "UNSUPPORTED", message) : kernelError(site, errno);
    }
  }

  /** In the order of their ids: `types[id]`, with void at 0. Those of split BTF begin after its base's last id. */
  get types(): readonly BtfType[] {
    return this.#decode().types;
  }

  /** The type by its id, looked for in the base as well. */
  type(id: number): BtfType | undefined {
    const { types, firstId } = this.#decode();
    return id < firstId ? this.#base?.type(id) : types[id - firstId];
  }

  /** The first type of that kind and name. */
  find(kind: BtfKind, name: string): BtfType | undefined {
    if (this.#byName === undefined) {
      this.#byName = new Map();
      for (const type of this.types) {
        const key = `${type.kind} ${type.name}`;
        if (!this.#byName.has(key)) this.#byName.set(key, type);
      }
    }
    return this.#byName.get(`${kind} ${name}`) ?? this.#base?.find(kind, name);
  }

  /** A copy of the bytes, as the kernel takes them. */
  raw(): Buffer {
    return Buffer.from(this.#bytes);
  }

  #decode(): DecodedBtf {
    const base = this.#base;
    this.#decoded ??= decodeBtf(this.#bytes, this.#site, base ? base.#decode() : undefined);
    return this.#decoded;
  }
}

/** For the other files of this package: of bytes from the addon, decoded at first use. */
export function btfOfObject(bytes: Uint8Array, name: string): Btf {
  return wrap(bytes, { operation: "object.btf", object: name });
}
