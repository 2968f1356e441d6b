// The kernel as the agent holds it: programs and maps, loaded or taken up.

import type { FromPodHook } from "../base/hooks.ts";
import { type Hook, hookOf } from "../datapath/attach.ts";
import { dropGuard, type Guard, openGuard } from "../datapath/guard.ts";
import { type Maps, openMaps } from "../datapath/maps.ts";
import { type Datapath, openDatapath } from "../datapath/object.ts";

export interface Kernel {
  readonly datapath: Datapath;
  readonly maps: Maps;
  readonly hook: Hook;
  /** The XDP programs, where they are to filter what pods send. */
  readonly guard?: Guard;
  close(): void;
}

export interface KernelOptions {
  /** Pin root on a BPF filesystem. */
  readonly bpffs: string;
  /** The built BPF object. */
  readonly object: string;
  readonly fromPodHook: FromPodHook;
}

/** Errors: OperationError, BpfError. */
export async function openKernel({ bpffs, object, fromPodHook }: KernelOptions): Promise<Kernel> {
  const datapath = await openDatapath(bpffs, object);
  const opened = { datapath, maps: openMaps(datapath), hook: hookOf() };
  if (fromPodHook === "tc") {
    dropGuard(bpffs);
    return { ...opened, close: () => datapath.close() };
  }
  const guard = await openGuard(datapath, object).catch((error: unknown) => {
    datapath.close();
    throw error;
  });
  const close = (): void => {
    guard.close();
    datapath.close();
  };
  return { ...opened, guard, close };
}
