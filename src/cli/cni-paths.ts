// Paths of the CNI plugin's parts: the agent's second socket, its claims, the built plugin; and the content of its entry.

import { dirname, join } from "node:path";
import type { Entry } from "../cni/conflist.ts";
import type { Env, Settings } from "./environment.ts";

export const CNI_TIMEOUT_S_DEFAULT = 10;

/** Beside the agent's own socket: the plugin's, and the file that keeps what it has said. */
export const cniPaths = ({ socket }: Settings): { readonly socket: string; readonly claims: string } => ({
  socket: join(dirname(socket), "cni.sock"),
  claims: join(dirname(socket), "claims.json"),
});

/** The file that keeps which pod had which interface. */
export const keptPath = ({ socket }: Settings): string => join(dirname(socket), "interfaces.json");

/** The file that keeps emergency bypasses. */
export const bypassPath = ({ socket }: Settings): string => join(dirname(socket), "bypasses.json");

/** The directory that keeps the last good content of manifests. */
export const keptManifests = ({ socket }: Settings): string => join(dirname(socket), "last-good");

/** The file that says how far the kernel's counters were counted. */
export const countersPath = ({ socket }: Settings): string => join(dirname(socket), "counters.json");

/** The directory of the history, if none is configured. */
export const historyPath = ({ socket }: Settings): string => join(dirname(socket), "history");

/** All that an agent keeps beside its socket, which `weir cleanup` removes: whatever else is kept there belongs into this list. */
export const stateFiles = (settings: Settings): readonly string[] => {
  const { socket, claims } = cniPaths(settings);
  const kept = keptPath(settings);
  const files = [claims, kept, countersPath(settings), bypassPath(settings)].flatMap((path) => [
    path,
    `${path}.new`,
  ]);
  return [settings.socket, socket, ...files, keptManifests(settings), historyPath(settings)];
};

export const pluginPath = (env: Env): string => join(env.root, "cni", "build", "weir-cni");

export interface EntryOptions {
  /** In seconds. */
  readonly timeout: number;
  readonly failOpen: boolean;
}

/** Without what is the plugin's default anyway. */
export const cniEntry = (settings: Settings, { timeout, failOpen }: EntryOptions): Entry => ({
  socket: cniPaths(settings).socket,
  ...(timeout === CNI_TIMEOUT_S_DEFAULT ? {} : { timeoutMs: timeout * 1_000 }),
  ...(failOpen ? { failOpen: true as const } : {}),
});
