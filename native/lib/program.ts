// Loaded programs: info, test runs, pins.
import { checkInteger, checkUint8Array } from "./check.ts";
import { ownError, type Site, unwrap } from "./error.ts";
import { Descriptor, openById, openPinned } from "./handle.ts";
import {
  type Handle,
  native,
  type RawProgramInfo,
  type RawTestRun,
  type RawTestRunResult,
} from "./native.ts";

/**
 * What the kernel says of a program. `tag` is hexadecimal, sizes are bytes, `loadTime` and `runTimeNs` nanoseconds (of
 * the boot clock and of running); the run counters stay 0 unless sysctl kernel.bpf_stats_enabled is set.
 */
export type ProgramInfo = Readonly<RawProgramInfo>;

export type TestRunOptions = {
  /** The packet, for programs that take one; may be empty for those that do not. */
  readonly data: Uint8Array;
  /** How often to run; default 1. */
  readonly repeat?: number;
  /** The program's context, such as struct __sk_buff or struct xdp_md, cut or padded as the kernel allows. */
  readonly context?: Uint8Array;
  /** Room for the packet as it is after the run; default 256 bytes more than `data`. ENOSPC where it does not do. */
  readonly dataOutSize?: number;
  readonly flags?: number;
  /** Which CPU to run on, for types that can choose. */
  readonly cpu?: number;
};

/** `result` is the program's return value, `duration` nanoseconds per run. */
export type TestRunResult = Readonly<RawTestRunResult>;

const dataMax = 1 << 20;
const headroom = 256;
const empty = new Uint8Array(0);

let wrap: (handle: Handle, site: Site) => BpfProgram;
let descriptorOf: (program: BpfProgram) => Descriptor | undefined;

export class BpfProgram {
  readonly #descriptor: Descriptor;

  private constructor(descriptor: Descriptor) {
    this.#descriptor = descriptor;
  }

  static {
    wrap = (handle, site) => {
      const { name, id } = unwrap(site, native.programInfo(handle));
      return new BpfProgram(new Descriptor("program", name || `id ${id}`, handle));
    };
    descriptorOf = (program) =>
      typeof program === "object" && program !== null && #descriptor in program
        ? program.#descriptor
        : undefined;
  }

  /** Throws ARGUMENT where something else than a program is pinned there. */
  static openPinned(path: string): BpfProgram {
    return wrap(openPinned("program", path), { operation: "program.openPinned", object: path });
  }

  static openById(id: number): BpfProgram {
    return wrap(openById("program", id), { operation: "program.openById", object: `id ${id}` });
  }

  /** Read from the kernel each time. */
  get info(): ProgramInfo {
    return unwrap(this.#descriptor.site("info"), native.programInfo(this.#descriptor.use("info")));
  }

  get closed(): boolean {
    return this.#descriptor.closed;
  }

  /** Runs the program on the calling thread; the event loop waits for it. EINTR where a signal came in between. */
  testRun(options: TestRunOptions): TestRunResult {
    const handle = this.#descriptor.use("testRun");
    const site = this.#descriptor.site("testRun");
    const numbers = readOptions(site, options);
    return unwrap(site, native.programTestRun(handle, options.data, options.context ?? empty, numbers));
  }

  /** The same off the event loop, for long repeats. */
  async testRunAsync(options: TestRunOptions): Promise<TestRunResult> {
    const handle = this.#descriptor.use("testRunAsync");
    const site = this.#descriptor.site("testRunAsync");
    const numbers = readOptions(site, options);
    return unwrap(
      site,
      await native.programTestRunAsync(handle, options.data, options.context ?? empty, numbers),
    );
  }

  pin(path: string): void {
    this.#descriptor.pin(path);
  }

  /** Throws ARGUMENT where `path` holds another program. */
  unpin(path: string): void {
    const site = this.#descriptor.site("unpin");
    this.#descriptor.unpin(path, (handle) => unwrap(site, native.programInfo(handle)).id);
  }

  /** Idempotent. Links and pins keep the program in the kernel. */
  close(): void {
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function readOptions(site: Site, options: TestRunOptions): RawTestRun {
  checkUint8Array(site, "data", options.data);
  if (options.context !== undefined) checkUint8Array(site, "context", options.context);
  if (options.data.byteLength > dataMax) {
    throw ownError(site, "SIZE", `data may have at most ${dataMax} bytes, got ${options.data.byteLength}`);
  }
  const dataOutSize =
    options.dataOutSize ?? (options.data.byteLength > 0 ? options.data.byteLength + headroom : 0);
  checkInteger(site, "dataOutSize", dataOutSize, { max: dataMax + headroom });
  // Types that take no packet (raw tracepoint, syscall) refuse a repeat count as well.
  const repeat = options.repeat ?? (options.data.byteLength > 0 ? 1 : 0);
  const numbers = { repeat, dataOutSize, flags: options.flags ?? 0, cpu: options.cpu ?? 0 };
  checkInteger(site, "repeat", repeat, { max: 0x7fffffff });
  checkInteger(site, "flags", numbers.flags);
  checkInteger(site, "cpu", numbers.cpu);
  return numbers;
}

/** For the other files of this package: makes a program of the addon's handle, which it then owns. */
export function wrapProgram(handle: Handle, site: Site): BpfProgram {
  return wrap(handle, site);
}

/** For the other files of this package: the handle inside; throws CLOSED, or ARGUMENT for anything but a program. */
export function programHandle(program: BpfProgram, site: Site, verb: string): Handle {
  const descriptor = descriptorOf(program);
  if (!descriptor) throw ownError(site, "ARGUMENT", "a BpfProgram is needed");
  return descriptor.use(verb);
}
