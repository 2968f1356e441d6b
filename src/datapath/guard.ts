// Loading the XDP programs over the maps of a loaded datapath. Only where an option needs them.

import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import type { BpfObject, BpfProgram } from "bpf-ts";
import { ensurePinned } from "./bpffs.ts";
import { checkLayout } from "./layout-checks.ts";
import { GUARD_PROGRAMS, type GuardProgram, MAP_NAMES, programPath } from "./pins.ts";
import { adopt, type Datapath, loadVariant } from "./program-loader.ts";

/** The XDP programs, pinned beside the others. */
export interface Guard {
  readonly programs: { readonly [name in GuardProgram]: BpfProgram };
  /** As Datapath.pin. */
  pin(): number;
  close(): void;
}

/** Their object is built beside that of the tc programs. */
export const guardPathOf = (objectPath: string): string => join(dirname(objectPath), "guard.bpf.o");

/** As openDatapath, of the object beside `objectPath`. Errors: OperationError, BpfError. */
export async function openGuard(datapath: Datapath, objectPath: string): Promise<Guard> {
  const path = guardPathOf(objectPath);
  const prepare = (object: BpfObject, file: string): void => {
    checkLayout(object, file);
    for (const name of MAP_NAMES) object.reuseMap(name, datapath.map(name));
  };
  using object = (await loadVariant(path, prepare)).object;
  const opened: BpfProgram[] = [];
  const close = (): void => {
    for (const program of opened) program.close();
  };
  try {
    const open = (name: GuardProgram): BpfProgram => {
      const program = adopt(object, datapath.root, GUARD_PROGRAMS[name]);
      opened.push(program);
      return program;
    };
    const programs = { fromPod: open("fromPod"), fromUplink: open("fromUplink") };
    const pin = (): number =>
      (Object.keys(programs) as GuardProgram[]).filter((name) =>
        ensurePinned("program", programs[name], programPath(datapath.root, GUARD_PROGRAMS[name])),
      ).length;
    return { programs, pin, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Removes the pins that an earlier agent left, where no option needs the guard any more. Links keep their programs. */
export function dropGuard(root: string): void {
  for (const name of Object.values(GUARD_PROGRAMS)) rmSync(programPath(root, name), { force: true });
}
