// Finds what benches of killed processes left behind: pins and devices whose names have the process's id.

import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ipBatch, ipJson } from "../lab/iproute.ts";

/** Directory of one bench's pins, on a BPF filesystem. */
export const benchDirectory = (pid: number, number: number): string => `weir-test-${pid}-${number}`;

/** What the names of its devices begin with: at most 9 characters, since process ids have at most five in base 36. */
export const devicePrefix = (pid: number, number: number): string =>
  `wk${pid.toString(36).padStart(5, "0")}${(number % 1296).toString(36)}`;

/** Removes what belongs to no process that still runs. */
export function removeLeftovers(bpffs: string): void {
  if (!existsSync(bpffs)) return;
  for (const name of readdirSync(bpffs)) {
    const [, pid, number] = /^weir-test-(\d+)-(\d+)$/.exec(name) ?? [];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    const prefix = `${devicePrefix(Number(pid), Number(number))}-`;
    const devices = ipJson(["link", "show", "type", "veth"]).map((link) => String(link["ifname"]));
    // Removing one end removes the other: those with even numbers were made first.
    const first = devices.filter((device) => device.startsWith(prefix) && /[02468]$/.test(device));
    ipBatch(first.map((device) => `link del ${device}`));
    rmSync(join(bpffs, name), { recursive: true, force: true });
  }
}
