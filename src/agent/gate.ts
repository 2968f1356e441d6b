// Shutting interfaces of which nobody knows whose they are, the moment they are there: ahead of the round that they lead to.

import { codeOf, messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { attach, standDown, standIn } from "../datapath/attach.ts";
import type { Mode } from "../model/mode.ts";
import type { Kernel } from "./kernel.ts";

/** Runs what is done to one interface one after another. */
export type InTurn = <T>(ifindex: number, work: () => Promise<T>) => Promise<T>;

interface GateEnv {
  /** The interface passes nothing from now on. */
  readonly onShut: (ifindex: number) => void;
  readonly onError: (error: unknown) => void;
}

export interface Gate {
  readonly inTurn: InTurn;
  /**
   * Attaches the programs, which drop everything where the endpoints' table has no entry. What has one keeps it: after a
   * restart that of its pod, or that of an unknown one.
   */
  shut(ifindex: number): void;
  /** Whether it was shut since the last release: no round has decided on it yet. */
  holds(ifindex: number): boolean;
  /** A round begins, which decides on all that were shut until now. */
  release(): void;
}

function openGate(kernel: Kernel, { onShut, onError }: GateEnv): Gate {
  const shut = new Set<number>();
  const inTurn = openTurns();
  const { datapath, hook, fromPodHook, guard } = kernel;
  const xdp = fromPodHook === "xdp" ? guard?.programs.fromPod : undefined;
  async function shutNow(ifindex: number): Promise<void> {
    // A kernel without clsact has nothing to stand in.
    const isShut = await standIn(datapath, ifindex).then(
      () => true,
      () => false,
    );
    if (isShut) onShut(ifindex);
    await attach(datapath, ifindex, hook, xdp);
    if (!isShut) onShut(ifindex);
    await standDown(ifindex, hook);
  }
  return {
    inTurn,
    shut(ifindex) {
      shut.add(ifindex);
      inTurn(ifindex, () => shutNow(ifindex)).catch((error: unknown) => {
        // It has gone already. All else the next round tries again, and tells.
        if (codeOf(error) !== "ENODEV") onError(error);
      });
    },
    holds: (ifindex) => shut.has(ifindex),
    release: () => shut.clear(),
  };
}

/** In audit mode nothing is dropped, so nothing is shut. */
export function gateOf(
  kernel: Kernel,
  { mode, denyUnknown }: { readonly mode: Mode; readonly denyUnknown?: unknown },
  log: Log,
): { readonly gate?: Gate } {
  if (denyUnknown === undefined || mode === "audit") return {};
  const env: GateEnv = {
    onShut: (ifindex) => log.debug("an unknown interface is shut", { ifindex }),
    onError: (error) => log.warn("an unknown interface is not shut", { error: messageOf(error) }),
  };
  return { gate: openGate(kernel, env) };
}

function openTurns(): InTurn {
  const last = new Map<number, Promise<unknown>>();
  return async (ifindex, work) => {
    const before = last.get(ifindex);
    const mine = Promise.resolve(before).then(work, work);
    last.set(ifindex, mine);
    try {
      return await mine;
    } finally {
      if (last.get(ifindex) === mine) last.delete(ifindex);
    }
  };
}
