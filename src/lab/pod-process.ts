// The process inside a namespace of a lab: serves on its addresses, and probes others on command. Ends with its stdin.

import { connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import type { Probe, ProcessConfig, Reply, Request, Response, Sample } from "./pod-protocol.ts";
import { attempt, echoOnce, listen, run, socketOptions } from "./pod-sockets.ts";

interface Watch {
  readonly timer: NodeJS.Timeout;
  readonly samples: Promise<Sample>[];
}

const flows = new Map<number, Socket>();
const watches = new Map<number, Watch>();
let lastNumber = 0;

const send = (response: Response): void => {
  process.stdout.write(`${JSON.stringify(response)}\n`);
};

async function obey(request: Request): Promise<Reply> {
  switch (request.command) {
    case "probe":
      return { reply: "outcome", outcome: await run(request.probe) };
    case "open":
      return open(request.probe);
    case "say": {
      const socket = flows.get(request.flow);
      if (socket === undefined) return { reply: "error", reason: `no flow ${request.flow}` };
      return { reply: "outcome", outcome: await echoOnce(socket, request.timeoutMs, request.bytes) };
    }
    case "shut":
      flows.get(request.flow)?.destroy();
      flows.delete(request.flow);
      return { reply: "done" };
    case "watch":
      return { reply: "watching", watch: watch(request.probe, request.everyMs) };
    case "unwatch": {
      const watched = watches.get(request.watch);
      if (watched === undefined) return { reply: "error", reason: `no watch ${request.watch}` };
      clearInterval(watched.timer);
      watches.delete(request.watch);
      return { reply: "samples", samples: await Promise.all(watched.samples) };
    }
  }
}

async function open(probe: Probe): Promise<Reply> {
  const socket = connect(socketOptions(probe));
  socket.setNoDelay(true);
  // An error shows as a closed socket at the next word; unheard it would end the process.
  socket.on("error", () => socket.destroy());
  const outcome = await attempt(probe.timeoutMs, (attempt) => {
    socket.once("connect", () => attempt.reached()).once("error", attempt.failed);
    return () => socket.off("error", attempt.failed);
  });
  if (outcome.result !== "reached") {
    socket.destroy();
    return { reply: "outcome", outcome };
  }
  lastNumber += 1;
  flows.set(lastNumber, socket);
  return { reply: "opened", flow: lastNumber };
}

function watch(probe: Probe, everyMs: number): number {
  const samples: Promise<Sample>[] = [];
  const sample = async (): Promise<Sample> => {
    const sentAtMs = Date.now();
    return { sentAtMs, result: (await run(probe)).result };
  };
  lastNumber += 1;
  watches.set(lastNumber, { timer: setInterval(() => samples.push(sample()), everyMs), samples });
  return lastNumber;
}

async function answer(line: string): Promise<void> {
  const request = JSON.parse(line) as Request;
  // Node.js throws for some arguments (an invalid address): the reason goes to the lab.
  const reply = await obey(request).catch(
    (thrown: unknown): Reply => ({ reply: "error", reason: String(thrown) }),
  );
  send({ ...reply, id: request.id });
}

const lines = createInterface({ input: process.stdin });
let configured = false;
lines.on("line", (line) => {
  if (configured) {
    void answer(line);
    return;
  }
  configured = true;
  listen(JSON.parse(line) as ProcessConfig).then(
    () => send({ id: 0, reply: "done" }),
    (thrown: unknown) => send({ id: 0, reply: "error", reason: String(thrown) }),
  );
});
// The parent process has finished or died.
lines.on("close", () => process.exit(0));
process.stdout.on("error", () => process.exit(0));
