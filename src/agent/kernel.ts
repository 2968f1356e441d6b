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
  /** Which of the programs for what pods send is attached; "tc" if not given. */
  readonly fromPodHook?: FromPodHook;
  /** The XDP programs, where any of them is wanted. */
  readonly guard?: Guard;
  close(): void;
}

export interface KernelOptions {
  /** Pin root on a BPF filesystem. */
  readonly bpffs: string;
  /** The built BPF object. */
  readonly object: string;
  readonly fromPodHook: FromPodHook;
  /** Whether there are uplinks to screen; false if not given. */
  readonly screens?: boolean;
}

/** Errors: OperationError, BpfError. */
export async function openKernel(options: KernelOptions): Promise<Kernel> {
  const { bpffs, object, fromPodHook, screens = false } = options;
  const datapath = await openDatapath(bpffs, object);
  const opened = { datapath, maps: openMaps(datapath), hook: hookOf(), fromPodHook };
  if (fromPodHook === "tc" && !screens) {
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
