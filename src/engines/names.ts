// The engines by name, and what they are given to open with.

export const ENGINE_NAMES = ["oracle", "plan", "kernel", "live"] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

export interface EngineOptions {
  /** The built BPF object. */
  readonly object: string;
  /** A directory on a BPF filesystem, for pins of the engine's own. */
  readonly bpffs: string;
}
