// The agent's handle on the kernel: programs and maps, loaded or taken over, and their attachments.

import type { FromPodHook } from "../base/direction.ts";
import type { RootLock } from "../datapath/agent-lock.ts";
import { type Attachments, openAttachments } from "../datapath/attachments.ts";
import { type Maps, openMaps } from "../datapath/policy-maps.ts";
import { type Datapath, dropGuard, openDatapath, openGuard } from "../datapath/program-loader.ts";

export interface Kernel {
  /** While this agent holds the lock, no other agent touches the pins. */
  readonly lock: RootLock;
  readonly datapath: Datapath;
  readonly maps: Maps;
  readonly attachments: Attachments;
  /** Creates missing pins. Returns how many. Errors: OperationError, BpfError. */
  pin(): number;
  close(): void;
}

export interface KernelOptions {
  /** Pin root on a BPF filesystem. */
  readonly bpffs: string;
  /** The built BPF object. */
  readonly object: string;
  readonly fromPodHook: FromPodHook;
  /** IPv4 flows that the flow table is sized for; the default if not given. */
  readonly conntrackFlows?: number;
  /** Whether there are uplinks to screen; false if not given. */
  readonly screens?: boolean;
}

/** Closing the kernel closes the lock, and so does a failure to open it. Errors: OperationError, BpfError. */
export async function openKernel(lock: RootLock, options: KernelOptions): Promise<Kernel> {
  const { bpffs, object, fromPodHook, screens = false, conntrackFlows } = options;
  const opened: { close(): void }[] = [lock];
  const close = (): void => {
    for (const each of opened.splice(0).reverse()) each.close();
  };
  const keep = <T extends { close(): void }>(each: T): T => {
    opened.push(each);
    return each;
  };
  try {
    const datapath = keep(await openDatapath(bpffs, object, conntrackFlows));
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
