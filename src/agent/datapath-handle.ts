// The kernel as the agent holds it: programs and maps, loaded or taken up, and what is attached.

import type { FromPodHook } from "../base/direction.ts";
import type { RootLock } from "../datapath/agent-lock.ts";
import { type Attachments, openAttachments } from "../datapath/attachments.ts";
import { type Maps, openMaps } from "../datapath/policy-maps.ts";
import { type Datapath, dropGuard, openDatapath, openGuard } from "../datapath/program-loader.ts";

export interface Kernel {
  /** While this agent holds it, no other one touches what is pinned. */
  readonly lock: RootLock;
  readonly datapath: Datapath;
  readonly maps: Maps;
  readonly attachments: Attachments;
  /** Makes the pins that are missing. Returns how many were. Errors: OperationError, BpfError. */
  pin(): number;
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

/** The lock is closed with the kernel, and where it cannot be opened. Errors: OperationError, BpfError. */
export async function openKernel(lock: RootLock, options: KernelOptions): Promise<Kernel> {
  const { bpffs, object, fromPodHook, screens = false } = options;
  const opened: { close(): void }[] = [lock];
  const close = (): void => {
    for (const each of opened.splice(0).reverse()) each.close();
  };
  const keep = <T extends { close(): void }>(each: T): T => {
    opened.push(each);
    return each;
  };
  try {
    const datapath = keep(await openDatapath(bpffs, object));
    const needsGuard = fromPodHook === "xdp" || screens;
    if (!needsGuard) dropGuard(bpffs);
    const guard = needsGuard ? keep(await openGuard(datapath, object)) : undefined;
    const attachments = keep(
      openAttachments(datapath, {
        ...(guard === undefined ? {} : { fromUplink: guard.programs.fromUplink }),
        ...(guard === undefined || fromPodHook === "tc" ? {} : { fromPodXdp: guard.programs.fromPod }),
      }),
    );
    return {
      lock,
      datapath,
      maps: openMaps(datapath),
      attachments,
      pin: () => datapath.pin() + (guard?.pin() ?? 0) + attachments.pin(),
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}
