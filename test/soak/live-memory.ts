// What an agent's memory is made of once its garbage is collected, by the inspector of Node.js, which SIGUSR1 opens.

import { setTimeout as sleep } from "node:timers/promises";
import { heldBy } from "./leaks.ts";

const INSPECTOR = "http://127.0.0.1:9229/json/list";
const OPEN_MS_MAX = 20_000;
/** The first collection lets finalizers run, whose objects the next one collects. */
const COLLECTIONS = 2;

export interface LiveMemory {
  /** Objects of JavaScript. */
  readonly heapMiB: number;
  /** Buffers, and what native code holds for objects. */
  readonly externalMiB: number;
  /** Of the process, after that. */
  readonly rssMiB: number;
}

interface Answer {
  readonly id?: number;
  readonly result?: { readonly result?: { readonly value?: string } };
}

async function debuggerUrl(pid: number): Promise<string> {
  process.kill(pid, "SIGUSR1");
  for (const deadline = Date.now() + OPEN_MS_MAX; ; await sleep(50)) {
    const [target] = await fetch(INSPECTOR)
      .then((answer) => answer.json() as Promise<{ readonly webSocketDebuggerUrl: string }[]>)
      .catch(() => []);
    if (target !== undefined) return target.webSocketDebuggerUrl;
    if (Date.now() > deadline) throw new Error("the agent's inspector does not answer");
  }
}

/** Collects the garbage of a running agent, whose inspector stays open, with its descriptors. One agent at a time in a network namespace: the inspector has one port. */
export async function liveMemory(pid: number): Promise<LiveMemory> {
  const socket = new WebSocket(await debuggerUrl(pid));
  const waiting = new Map<number, (answer: Answer) => void>();
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve, { once: true });
    socket.addEventListener("error", () => reject(new Error("the agent's inspector refuses")), {
      once: true,
    });
  });
  socket.addEventListener("message", ({ data }) => {
    const answer = JSON.parse(String(data)) as Answer;
    if (answer.id !== undefined) waiting.get(answer.id)?.(answer);
  });
  const ask = (method: string, params: object = {}): Promise<Answer> => {
    const id = waiting.size + 1;
    return new Promise((resolve) => {
      waiting.set(id, resolve);
      socket.send(JSON.stringify({ id, method, params }));
    });
  };
  for (let count = 0; count < COLLECTIONS; count += 1) {
    await ask("HeapProfiler.collectGarbage");
    await sleep(200);
  }
  const { result } = await ask("Runtime.evaluate", { expression: "JSON.stringify(process.memoryUsage())" });
  const used = JSON.parse(result?.result?.value ?? "{}") as NodeJS.MemoryUsage;
  socket.close();
  return {
    heapMiB: used.heapUsed / 2 ** 20,
    externalMiB: used.external / 2 ** 20,
    rssMiB: heldBy(pid).rssMiB,
  };
}

export const memoryText = ({ heapMiB, externalMiB, rssMiB }: LiveMemory): string =>
  `${heapMiB.toFixed(1)} MiB of live objects, ${externalMiB.toFixed(1)} MiB beside the heap, ${rssMiB.toFixed(0)} MiB resident`;
