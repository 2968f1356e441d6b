// Builds the object whose packets say themselves what the kernel's conntrack knows about them: assigned.bpf.c.

import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileBpf } from "./compile.ts";

/** `enum assigned` in bpf/kernel_conntrack.h, as a packet's priority. */
export const ASSIGNED = { NONE: 0, OPENING: 1, OPEN: 2, ENDED: 3, ERROR: 4 } as const;
/** Beside it: the pod has no socket of the connection. */
export const WITHOUT_SOCKET = 8;

export interface AssignedObject {
  /** Like `object`, with the other objects beside it. */
  readonly path: string;
  close(): void;
}

/** Errors: what the compiler says. */
export function buildAssigned(object: string): AssignedObject {
  const folder = mkdtempSync(join(tmpdir(), "weir-assigned-"));
  const close = () => rmSync(folder, { recursive: true });
  try {
    for (const name of [basename(object), "guard.bpf.o", "guard-ct.bpf.o"])
      copyFileSync(join(dirname(object), name), join(folder, name));
    const source = fileURLToPath(new URL("assigned.bpf.c", import.meta.url));
    compileBpf(source, join(folder, "filter-ct.bpf.o"), ["-DCONNTRACK_EVIDENCE", "-Wno-unused-function"]);
    return { path: join(folder, basename(object)), close };
  } catch (error) {
    close();
    throw error;
  }
}
