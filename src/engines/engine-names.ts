// The engines by name, and what they are given to open with.

import type { FromPodHook } from "../base/direction.ts";

export const ENGINE_NAMES = ["oracle", "plan", "kernel", "live"] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

export interface EngineOptions {
  /** The built BPF object. */
  readonly object: string;
  /** A directory on a BPF filesystem, for pins of the engine's own. */
  readonly bpffs: string;
  /** Which program filters what pods send, of engines that run programs; "tc" if not given. */
  readonly fromPodHook?: FromPodHook;
}
