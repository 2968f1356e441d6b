// Directories that only their owner may read.

import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";

/** The directories above it are passable for everyone: the agent's socket is in one, and a group may be allowed to connect. */
export async function makePrivateDirectory(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  await mkdir(path, { recursive: true, mode: 0o700 });
}
