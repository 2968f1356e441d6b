// Counts events of this process, such as instructions in the kernel, by perf(1), between start and stop.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { messageOf, OperationError } from "../../src/base/errors.ts";

/** What a BPF program executes, and the little that starts it. */
export const INSTRUCTIONS = "instructions:k";

export interface Meter {
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Ends it. All that was counted; undefined where the processor or perf_event cannot count that here. */
  end(): Promise<number | undefined>;
}

/** Whether the event can be counted here at all. */
export async function canCount(event: string): Promise<boolean> {
  try {
    const meter = await openMeter(event);
    await meter.start();
    await meter.stop();
    return (await meter.end()) !== undefined;
  } catch (thrown) {
    if (thrown instanceof OperationError) return false;
    throw thrown;
  }
}

/** Errors: OperationError, where there is no perf, or it may not. */
export async function openMeter(event: string): Promise<Meter> {
  const options = [
    "stat",
    "-x",
    ",",
    "-e",
    event,
    "-D",
    "-1",
    "--control",
    "fd:3,4",
    "-p",
    String(process.pid),
  ];
  const perf = spawn("perf", options, { stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"] });
  try {
    await once(perf, "spawn");
  } catch (thrown) {
    throw new OperationError(messageOf(thrown), { operation: "run", object: "perf stat", cause: thrown });
  }
  return meterOf(perf);
}

function meterOf(perf: ChildProcess): Meter {
  const [, , complaints, control, answers] = perf.stdio as unknown as [
    null,
    null,
    Readable,
    Writable,
    Readable,
  ];
  const exited = once(perf, "exit");
  let text = "";
  complaints.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  const acknowledged = createInterface({ input: answers })[Symbol.asyncIterator]();
  const command = async (word: string): Promise<void> => {
    control.write(`${word}\n`);
    const { done } = await acknowledged.next();
    if (done === true)
      throw new OperationError(text.trim() || "it ended early", { operation: word, object: "perf stat" });
  };
  // Where perf has ended, so has its end of the pipe: command() tells of it.
  control.on("error", () => undefined);
  return {
    start: () => command("enable"),
    stop: () => command("disable"),
    async end() {
      perf.kill("SIGINT");
      await exited;
      return countIn(text);
    },
  };
}

/** Of perf's comma-separated output: the number, or words such as "<not supported>" in its place. */
export function countIn(text: string): number | undefined {
  const [, count] = /^(\d+(?:\.\d+)?),/m.exec(text) ?? [];
  return count === undefined ? undefined : Number(count);
}
