// Scripts of Node.js in the network namespaces of a lab's endpoints.

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import type { Lab } from "../../src/lab/netns-lab.ts";

type Script = ChildProcessByStdio<Writable, Readable, null>;

export interface Scripts {
  /** Starts one in an endpoint's namespace, or as "node" in the node's. */
  start(endpoint: string, script: string, args: readonly string[]): Script;
  /** Ends all, and waits until they have ended: the next one may listen at the same port. */
  close(): Promise<void>;
}

export function openScripts(lab: Lab): Scripts {
  const children: Script[] = [];
  return {
    start(endpoint, script, args) {
      const node = [process.execPath, "-e", script, ...args];
      const inside = endpoint === "node" ? [] : ["ip", "netns", "exec", lab.wire(endpoint).netns];
      const [command, ...rest] = [...inside, ...node] as [string, ...string[]];
      const child = spawn(command, rest, { stdio: ["pipe", "pipe", "inherit"] });
      children.push(child);
      return child;
    },
    async close() {
      for (const child of children.splice(0)) {
        const ended = child.exitCode !== null || child.signalCode !== null || once(child, "exit");
        child.kill("SIGKILL");
        await ended;
      }
    },
  };
}
