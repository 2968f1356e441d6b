// A BPF object file: opened, set up, loaded; then the source of its maps and programs.
import { type Btf, btfOfObject } from "./btf.ts";
import { checkBytes, checkInteger, checkPath, checkUint8Array } from "./check.ts";
import { check, kernelError, ownError, type Site, unwrap } from "./error.ts";
import { type BpfMap, mapHandle, wrapMap } from "./map.ts";
import { native, type ObjectHandle, type RawMapSpec, type RawProgramSpec } from "./native.ts";
import { type BpfProgram, wrapProgram } from "./program.ts";
import { shapeDifferences } from "./shape.ts";
import { patchVariable } from "./variable.ts";
import { verifierLogOf } from "./verifier.ts";

/** A map as the object declares it; data sections are maps under the section's name, as ".rodata". Sizes in bytes. */
export type MapSpec = Readonly<RawMapSpec>;
/** A program as the object declares it; `autoload`: whether load() loads it. */
export type ProgramSpec = Readonly<RawProgramSpec>;

export type OpenOptions = {
  /** Used for the names of data maps; of [A-Za-z0-9_]. Default: the file's name up to its first dot, or "object". */
  readonly name?: string;
  /** When to keep the verifier's log: of failed loads only (the default), or of all. */
  readonly verifierLog?: "error" | "always";
};

type State = "open" | "loading" | "loaded" | "failed" | "closed";

export class BpfObject {
  readonly name: string;
  readonly #handle: ObjectHandle;
  readonly #logAlways: boolean;
  #state: State = "open";
  #maps: readonly MapSpec[];
  #programs: readonly ProgramSpec[];
  #btf: Btf | undefined;
  #verifierLog: string | undefined;

  private constructor(name: string, handle: ObjectHandle, logAlways: boolean) {
    this.name = name;
    this.#handle = handle;
    this.#logAlways = logAlways;
    const { maps, programs } = describe(handle, this.#site("open"));
    this.#maps = maps;
    this.#programs = programs;
    const btf = native.objectBtf(handle);
    this.#btf = typeof btf === "number" ? undefined : btfOfObject(btf, name);
  }

  /** Reads an ELF file, or its bytes. Nothing goes to the kernel yet. */
  static open(source: string | Uint8Array, options: OpenOptions = {}): BpfObject {
    const fromPath = typeof source === "string";
    const name = options.name ?? (fromPath ? fileStem(source) : "object");
    const site = { operation: "object.open", object: fromPath ? source : name };
    if (fromPath) checkPath(site, source);
    else checkUint8Array(site, "source", source);
    if (!/^\w{1,63}$/.test(name)) {
      throw ownError(site, "ARGUMENT", `name must be 1 to 63 letters, digits or "_", got "${name}"`);
    }
    const { rc, log, handle } = native.objectOpen(source, name);
    if (rc < 0 || handle === undefined) throw kernelError(site, rc, { log });
    return new BpfObject(name, handle, options.verifierLog === "always");
  }

  /** All maps, data sections among them. */
  get maps(): readonly MapSpec[] {
    return this.#maps;
  }

  get programs(): readonly ProgramSpec[] {
    return this.#programs;
  }

  /** The object's types, with the places of variables in data sections; undefined if it was built without. */
  get btf(): Btf | undefined {
    return this.#btf;
  }

  /** The verifier's log of a successful load, if opened with `verifierLog: "always"`. */
  get verifierLog(): string | undefined {
    return this.#verifierLog;
  }

  get closed(): boolean {
    return this.#state === "closed";
  }

  /** The bytes of a data section: before the load as they will be loaded, after it as they are in the kernel now. */
  getData(section: string): Buffer {
    this.#mustBe("getData", ["open", "loaded"]);
    const { site, index } = this.#findMap("getData", section);
    if (this.#state === "open") return unwrap(site, native.objectGetData(this.#handle, index));
    using map = this.map(section);
    return map.lookup(onlyKey) ?? Buffer.alloc(0);
  }

  /** Sets a whole data section before the load; `bytes` must have its exact size. */
  setData(section: string, bytes: Uint8Array): void {
    this.#mustBe("setData", ["open"]);
    const { site, index, spec } = this.#findMap("setData", section);
    checkBytes(site, "bytes", bytes, spec.valueSize);
    check(site, native.objectSetData(this.#handle, index, bytes));
  }

  /** Sets a global variable, found by its BTF name in any data section, before the load; exact size. */
  setVariable(name: string, bytes: Uint8Array): void {
    this.#mustBe("setVariable", ["open"]);
    const site = this.#site("setVariable", name);
    checkUint8Array(site, "bytes", bytes);
    if (!this.#btf) throw ownError(site, "UNSUPPORTED", "the object has no BTF to find variables in");
    const { section, data } = patchVariable(site, this.#btf, bytes, (from) => this.getData(from));
    check(site, native.objectSetData(this.#handle, this.#findMap("setVariable", section).index, data));
  }

  /** Before the load. */
  setMaxEntries(map: string, entries: number): void {
    this.#mustBe("setMaxEntries", ["open"]);
    const { site, index } = this.#findMap("setMaxEntries", map);
    checkInteger(site, "entries", entries, { min: 1 });
    check(site, native.objectSetMaxEntries(this.#handle, index, entries));
    this.#refresh(site);
  }

  /** Before the load: whether load() loads this program. */
  setAutoload(program: string, on: boolean): void {
    this.#mustBe("setAutoload", ["open"]);
    this.#programSpec("setAutoload", program);
    const site = this.#site("setAutoload", program);
    check(site, native.objectSetAutoload(this.#handle, program, on));
    this.#refresh(site);
  }

  /**
   * Before the load: uses an existing map, a pinned one for example, instead of making one. Throws SHAPE where type, key
   * size, value size, number of entries or flags differ. Contents stay as they are, data sections' too.
   */
  reuseMap(name: string, map: BpfMap): void {
    this.#mustBe("reuseMap", ["open"]);
    const { site, index, spec } = this.#findMap("reuseMap", name);
    const handle = mapHandle(map, site, "reuseMap");
    const differences = shapeDifferences(spec, map.info);
    if (differences.length > 0) throw ownError(site, "SHAPE", `the map differs: ${differences.join(", ")}`);
    check(site, native.objectReuseMap(this.#handle, index, handle));
  }

  /** Before the load: what the inner maps of a map of maps look like, where the object itself does not say. */
  setInnerMap(name: string, inner: BpfMap): void {
    this.#mustBe("setInnerMap", ["open"]);
    const { site, index } = this.#findMap("setInnerMap", name);
    check(site, native.objectSetInnerMap(this.#handle, index, mapHandle(inner, site, "setInnerMap")));
  }

  /**
   * Makes the maps and loads the programs, off the event loop. Where the verifier refuses one, the error carries its log
   * in `verifierLog`. An object can be loaded once: after a failure, open it again.
   */
  async load(): Promise<void> {
    this.#mustBe("load", ["open"]);
    this.#state = "loading";
    const { rc, log } = await native.objectLoad(this.#handle, this.#logAlways);
    const site = this.#site("load");
    if (this.closed) throw ownError(site, "CLOSED", "the object was closed during its load");
    this.#state = rc < 0 ? "failed" : "loaded";
    if (rc < 0) throw kernelError(site, rc, { log });
    if (this.#logAlways) this.#verifierLog = verifierLogOf(log);
    this.#refresh(site);
  }

  /** After the load: a map with a descriptor of its own, which outlives the object. */
  map(name: string): BpfMap {
    this.#mustBe("map", ["loaded"]);
    const { site, index } = this.#findMap("map", name);
    return wrapMap(unwrap(site, native.objectMap(this.#handle, index)), site);
  }

  /** After the load: a program with a descriptor of its own, which outlives the object. */
  program(name: string): BpfProgram {
    this.#mustBe("program", ["loaded"]);
    const { autoload } = this.#programSpec("program", name);
    const site = this.#site("program", name);
    if (!autoload) throw ownError(site, "ARGUMENT", "the program was not loaded: its autoload is off");
    return wrapProgram(unwrap(site, native.objectProgram(this.#handle, name)), site);
  }

  /** Idempotent. Maps and programs taken from it stay usable; a load under way ends in CLOSED. */
  close(): void {
    if (this.closed) return;
    this.#state = "closed";
    native.objectClose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #site(verb: string, part?: string): Site {
    return {
      operation: `object.${verb}`,
      object: part === undefined ? this.name : `${this.name}/${String(part)}`,
    };
  }

  #mustBe(verb: string, states: readonly State[]): void {
    if (states.includes(this.#state)) return;
    const site = this.#site(verb);
    if (this.#state === "closed") throw ownError(site, "CLOSED", "the object has been closed");
    const reason = {
      open: "the object has not been loaded yet",
      loading: "the object is being loaded",
      loaded: "the object has been loaded already",
      failed: "the object's load failed; open it again",
    }[this.#state];
    throw ownError(site, "BUSY", reason);
  }

  #findMap(verb: string, name: string): { site: Site; index: number; spec: MapSpec } {
    const site = this.#site(verb, name);
    const spec = named(site, "map", this.#maps, name);
    return { site, index: this.#maps.indexOf(spec), spec };
  }

  #programSpec(verb: string, name: string): ProgramSpec {
    return named(this.#site(verb, name), "program", this.#programs, name);
  }

  #refresh(site: Site): void {
    const { maps, programs } = describe(this.#handle, site);
    // libbpf gives a map that replaces another the other's name; here it keeps its own.
    this.#maps = maps.map((map, i) => ({ ...map, name: this.#maps[i]?.name ?? map.name }));
    this.#programs = programs;
  }
}

// Data sections are arrays of one element.
const onlyKey = new Uint8Array(4);

function named<T extends { readonly name: string }>(
  site: Site,
  what: string,
  list: readonly T[],
  name: string,
): T {
  const found = list.find((item) => item.name === name);
  if (found) return found;
  const names = list.map((item) => item.name).join(", ");
  throw ownError(site, "ARGUMENT", `no such ${what} in the object; it has: ${names || "none"}`);
}

/** Data maps are named "object.rodata" or ".data.custom" by libbpf; here by the section alone. */
function describe(handle: ObjectHandle, site: Site): { maps: MapSpec[]; programs: ProgramSpec[] } {
  const { maps, programs } = unwrap(site, native.objectDescribe(handle));
  const short = (name: string) => (name.includes(".") ? name.slice(name.indexOf(".")) : name);
  return { maps: maps.map((map) => ({ ...map, name: short(map.name) })), programs };
}

function fileStem(path: string): string {
  const stem = (path.split("/").at(-1) ?? "").split(".")[0] ?? "";
  return stem.replaceAll(/\W/g, "_").slice(0, 63) || "object";
}
