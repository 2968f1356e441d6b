// The test's end of kernel-faults.c: what is written to the shared file takes effect at the agent's next call of bpf(2).

import { closeSync, openSync, readSync, writeSync } from "node:fs";

/** As `struct control`: 64-bit words. */
const WORDS = [
  "calls",
  "writes",
  "fired",
  "mode",
  "skip",
  "times",
  "error",
  "clockUs",
  "isWithoutTcx",
] as const;
type Word = (typeof WORDS)[number];

const MODES = { nothing: 0, "fail writes": 1, "fail all": 2, "kill at write": 3, "fail netlink": 4 } as const;

/** Numbers of errno(3), which differ between architectures for none of these. */
export const ERRNO = {
  EPERM: 1,
  E2BIG: 7,
  ENOMEM: 12,
  EBUSY: 16,
  EMFILE: 24,
  ENOSPC: 28,
  ENOBUFS: 105,
} as const;
export type FaultError = keyof typeof ERRNO;

/** Those that bpf(2) fails with, and those of sockets. */
export const BPF_ERRORS = [
  "EPERM",
  "E2BIG",
  "ENOMEM",
  "EBUSY",
  "ENOSPC",
] as const satisfies readonly FaultError[];
export const NETLINK_ERRORS = [
  "EPERM",
  "ENOMEM",
  "EBUSY",
  "EMFILE",
  "ENOBUFS",
] as const satisfies readonly FaultError[];

export interface KernelFaults {
  readonly path: string;
  /** After `skip` more calls of that kind, so many fail; or the process dies at one. */
  arm(
    mode: Exclude<keyof typeof MODES, "nothing">,
    options: { readonly skip: number; readonly times?: number; readonly error?: FaultError },
  ): void;
  disarm(): void;
  /** To all agents from now on, the kernel has no tcx, as before Linux 6.6: they use clsact. */
  hideTcx(): void;
  /** Shifts the agent's wall clock. */
  shiftClock(seconds: number): void;
  read(word: Word): number;
  close(): void;
}

export function openKernelFaults(path: string): KernelFaults {
  const fd = openSync(path, "w+");
  const put = (word: Word, value: number): void => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(value));
    writeSync(fd, bytes, 0, 8, WORDS.indexOf(word) * 8);
  };
  for (const word of WORDS) put(word, 0);
  return {
    path,
    arm(mode, { skip, times = 1, error = "ENOMEM" }) {
      put("mode", MODES.nothing);
      put("skip", skip);
      put("times", times);
      put("error", ERRNO[error]);
      put("fired", 0);
      put("mode", MODES[mode]);
    },
    disarm: () => put("mode", MODES.nothing),
    hideTcx: () => put("isWithoutTcx", 1),
    shiftClock: (seconds) => put("clockUs", seconds * 1_000_000),
    read(word) {
      const bytes = Buffer.alloc(8);
      readSync(fd, bytes, 0, 8, WORDS.indexOf(word) * 8);
      return Number(bytes.readBigInt64LE());
    },
    close: () => closeSync(fd),
  };
}
