// The test's end of kernel-faults.c: what is written to the shared file takes effect at the agent's next call of bpf(2).

import { closeSync, openSync, readSync, writeSync } from "node:fs";

/** As `struct control`: 64-bit words. */
const WORDS = ["calls", "writes", "fired", "mode", "skip", "times", "error", "clockUs"] as const;
type Word = (typeof WORDS)[number];

const MODES = { nothing: 0, "fail writes": 1, "fail all": 2, "kill at write": 3 } as const;

/** Numbers of errno(3), which differ between architectures for none of these. */
export const ERRNO = { EPERM: 1, E2BIG: 7, ENOMEM: 12, EBUSY: 16, ENOSPC: 28 } as const;

export interface KernelFaults {
  readonly path: string;
  /** After `skip` more calls of that kind, so many fail; or the process dies at one. */
  arm(
    mode: Exclude<keyof typeof MODES, "nothing">,
    options: { readonly skip: number; readonly times?: number; readonly error?: keyof typeof ERRNO },
  ): void;
  disarm(): void;
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
    shiftClock: (seconds) => put("clockUs", seconds * 1_000_000),
    read(word) {
      const bytes = Buffer.alloc(8);
      readSync(fd, bytes, 0, 8, WORDS.indexOf(word) * 8);
      return Number(bytes.readBigInt64LE());
    },
    close: () => closeSync(fd),
  };
}
