// The one error class, and what turns results of the addon into it.
import { constants } from "node:os";
import { native } from "./native.ts";
import { lastUsefulLine, verifierLogOf } from "./verifier.ts";

/** Codes of errors found before the system call. */
export type OwnCode = "CLOSED" | "BUSY" | "SIZE" | "SHAPE" | "ARGUMENT" | "UNSUPPORTED";

/** Which call failed on what: `operation` as "map.update", `object` a name or a path. */
export type Site = { readonly operation: string; readonly object: string };

type Details = {
  readonly code: string;
  readonly errno?: number;
  readonly reason?: string;
  readonly verifierLog?: string | undefined;
  readonly done?: number | undefined;
};

/** Every failure of the kernel, of libbpf, or of an argument. */
export class BpfError extends Error {
  override readonly name = "BpfError";
  /** The call, for example "map.update", "object.load", "link.attach". */
  readonly operation: string;
  /** Name or path of what the call was on. */
  readonly object: string;
  /** Positive; 0 without a system call. */
  readonly errno: number;
  /** "EPERM", "E2BIG", ..., or one of {@link OwnCode}. */
  readonly code: string;
  /** The whole log of the verifier, of a failed load. */
  declare readonly verifierLog?: string;
  /** Of a batch: how many elements were through before the failure. */
  declare readonly done?: number;

  constructor(site: Site, details: Details) {
    const reason = details.reason === undefined ? "" : `: ${details.reason}`;
    super(`${site.operation} ${site.object}: ${details.code}${reason}`);
    this.operation = site.operation;
    this.object = site.object;
    this.errno = details.errno ?? 0;
    this.code = details.code;
    if (details.verifierLog !== undefined) this.verifierLog = details.verifierLog;
    if (details.done !== undefined) this.done = details.done;
  }
}

// Beyond the C library's numbers: the kernel's own, and libbpf's from 4000 on.
const moreErrors: Readonly<Record<number, readonly [code: string, text: string]>> = {
  524: ["ENOTSUPP", "operation is not supported by the kernel for this object"],
  4000: ["LIBELF", "libelf failed"],
  4001: ["FORMAT", "BPF object format invalid"],
  4002: ["KVERSION", "kernel version section missing or wrong"],
  4003: ["ENDIAN", "endianness of the object is not the machine's"],
  4004: ["INTERNAL", "internal error in libbpf"],
  4005: ["RELOC", "relocation failed"],
  4006: ["LOAD", "the kernel refused the object"],
  4007: ["VERIFY", "the verifier refused the program"],
  4008: ["PROG2BIG", "program too big"],
  4009: ["KVER", "kernel version mismatch"],
  4010: ["PROGTYPE", "unknown program type"],
  4011: ["WRNGPID", "wrong process id in a netlink message"],
  4012: ["INVSEQ", "invalid netlink sequence"],
  4013: ["NLPARSE", "netlink message could not be parsed"],
};

// Of two names for one number, the one that the kernel uses.
const names = new Map([
  ...Object.entries(constants.errno).map(([name, errno]) => [errno, name] as const),
  [constants.errno.EAGAIN, "EAGAIN"],
  [constants.errno.EOPNOTSUPP, "EOPNOTSUPP"],
]);

function describeErrno(errno: number): readonly [code: string, text: string] {
  return moreErrors[errno] ?? [names.get(errno) ?? `ERRNO_${errno}`, native.errorText(errno)];
}

/** The error for a negative errno, with what libbpf printed, if anything. */
export function kernelError(site: Site, rc: number, more: { log?: string; done?: number } = {}): BpfError {
  const [code, text] = describeErrno(-rc);
  const verifierLog = verifierLogOf(more.log ?? "");
  const line = lastUsefulLine(more.log ?? "");
  const reason = line === undefined ? text : `${text}: ${line}`;
  return new BpfError(site, { code, errno: -rc, reason, verifierLog, done: more.done });
}

export function ownError(site: Site, code: OwnCode, reason: string): BpfError {
  return new BpfError(site, { code, reason });
}

/** Throws for a negative result, gives back any other. */
export function check(site: Site, rc: number): number {
  if (rc < 0) throw kernelError(site, rc);
  return rc;
}

/** For calls that give a value or a negative errno. */
export function unwrap<T>(site: Site, result: T | number): T {
  if (typeof result === "number") throw kernelError(site, result);
  return result;
}

/** Numbers by name, for the few results that are answers and not failures. */
export const errno = constants.errno;
