// Probes one path through the node with a datagram per millisecond, and reports to the millisecond when it opens and closes.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { present } from "../../src/base/assert.ts";

const CHANGE_MS_MAX = 20_000;

export interface Beat {
  /** When the path next opens (its first answered datagram was sent) or closes (its last one was sent). */
  next(change: "open" | "shut"): Promise<number>;
  close(): void;
}

type Line = { readonly open: number } | { readonly shut: number };

/** Starts it inside a network namespace, to an echo server for UDP. */
export function startBeat(netns: string, address: string, port: number): Beat {
  const program = fileURLToPath(new URL("beat-child.ts", import.meta.url));
  const node = [process.execPath, "--disable-warning=ExperimentalWarning", program, address, String(port)];
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", "ip", "netns", "exec", netns, ...node], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const heard: Line[] = [];
  let wake: (() => void) | undefined;
  createInterface({ input: present(child.stdout, "the child's output") }).on("line", (line) => {
    heard.push(JSON.parse(line) as Line);
    wake?.();
  });
  return {
    async next(change) {
      const deadline = Date.now() + CHANGE_MS_MAX;
      for (;;) {
        const line = heard.shift();
        if (line !== undefined && change in line) return "open" in line ? line.open : line.shut;
        if (line !== undefined) throw new Error(`expected ${change}, heard ${JSON.stringify(line)}`);
        const leftMs = deadline - Date.now();
        if (leftMs <= 0) throw new Error(`not ${change} after ${CHANGE_MS_MAX} ms`);
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, leftMs);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    },
    close: () => child.kill("SIGKILL"),
  };
}
