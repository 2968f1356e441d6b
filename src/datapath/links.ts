// Links by their pins: what they run, and ending them.

import { codeOf } from "../base/errors.ts";
import { openPin, remove } from "./bpffs.ts";

/** The device went away: nothing is left to attach to or to detach from. */
export const isGone = (error: unknown): boolean =>
  ["ENODEV", "ENOLINK", "ENOENT"].includes(codeOf(error) ?? "");

/** Id of the program that a pinned link has on an interface; undefined where there is no such link, or it is detached. */
export function linkedProgram(path: string, ifindex: number): number | undefined {
  using link = openPin("link", path);
  const info = link?.info;
  return info?.ifindex === ifindex ? info.programId : undefined;
}

/** Detaches a pinned link, and removes its pin. Idempotent. Errors: BpfError, OperationError. */
export async function detachLink(path: string): Promise<void> {
  using link = openPin("link", path);
  await link?.detach().catch((error: unknown) => {
    if (!isGone(error)) throw error;
  });
  remove(path);
}
