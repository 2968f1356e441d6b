// One measurement between two network namespaces: a flow and what came through of it, requests and their answers, or a flood.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { OperationError } from "../../src/base/errors.ts";

export const KINDS = ["udp", "tcp", "ask", "connect", "flood"] as const;
export type Kind = (typeof KINDS)[number];

export interface Transfer {
  readonly kind: Kind;
  readonly from: string;
  readonly to: string;
  /** Where `to` receives; nobody does at a flood's port. */
  readonly address: string;
  readonly port: number;
  readonly milliseconds: number;
}

export interface Measurement {
  /** Packets (udp: that came through; flood: that were sent), bytes, requests or connections a second. */
  readonly perSecond: number;
  /** Of requests. */
  readonly p50Ns?: number;
  readonly p99Ns?: number;
  /** CPU time of the sender for each packet of a flood, with what the kernel did in its name. */
  readonly cpuNs?: number;
}

/** The compiled flow.c and requests.c. */
export interface Programs {
  readonly flow: string;
  readonly requests: string;
}

/** Payload of datagrams, small so that packets count; what one write gives to TCP, large so that bytes do. */
const SIZES = { udp: 64, tcp: 128 * 1024 } as const;

/** The ends stay on a CPU each, as far as there are two. */
const SENDER_CPU = 0;
const RECEIVER_CPU = 1;

const run = promisify(execFile);

/** @throws OperationError where nothing came through */
export async function transfer(programs: Programs, cpus: number, of: Transfer): Promise<Measurement> {
  const inside = (netns: string, cpu: number, program: string, args: readonly string[]) => [
    ...["netns", "exec", netns, "taskset", "-c", String(cpu % cpus), program],
    ...args,
  ];
  const place = [of.address, String(of.port)];
  const send = async (program: string, args: readonly string[]): Promise<number[]> => {
    const { stdout } = await run("ip", inside(of.from, SENDER_CPU, program, args));
    return stdout.trim().split(" ").map(Number);
  };
  const duration = String(of.milliseconds);
  if (of.kind === "udp" || of.kind === "tcp") {
    const { kind } = of;
    const receiver = inside(of.to, RECEIVER_CPU, programs.flow, ["receive", kind, ...place]);
    return beside(of, receiver, async (nextLine) => {
      await send(programs.flow, ["send", kind, ...place, duration, String(SIZES[kind])]);
      const [bytes = 0, packets = 0, ns = 0] = (await nextLine()).split(" ").map(Number);
      return { perSecond: rateOf(of, kind === "udp" ? packets : bytes, ns) };
    });
  }
  const measure = async (): Promise<Measurement> => {
    const numbers = await send(programs.requests, [of.kind, ...place, duration]);
    const [count = 0, ns = 0, cpu = 0, p50Ns = 0, p99Ns = 0] = numbers;
    const perSecond = rateOf(of, count, ns);
    return of.kind === "flood" ? { perSecond, cpuNs: cpu / count } : { perSecond, p50Ns, p99Ns };
  };
  if (of.kind === "flood") return measure();
  return beside(of, inside(of.to, RECEIVER_CPU, programs.requests, ["serve", ...place]), measure);
}

function rateOf({ kind, address }: Transfer, amount: number, ns: number): number {
  if (amount > 0 && ns > 0) return (amount * 1e9) / ns;
  throw new OperationError("nothing came through", {
    operation: "transfer",
    object: `${kind} to ${address}`,
  });
}

/** Does `work` while a receiver runs, once that has written its first line. */
async function beside<T>(
  { kind, address }: Transfer,
  receiver: readonly string[],
  work: (nextLine: () => Promise<string>) => Promise<T>,
): Promise<T> {
  const child: ChildProcess = spawn("ip", receiver, { stdio: ["ignore", "pipe", "pipe"] });
  const ended = once(child, "close");
  let complaints = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    complaints += text;
  });
  try {
    if (child.stdout === null) throw new Error("assertion failed: a pipe");
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const nextLine = async (): Promise<string> => {
      const { value, done } = await lines.next();
      if (done !== true) return value;
      throw new OperationError(complaints.trim() || "the receiver ended early", {
        operation: "transfer",
        object: `${kind} to ${address}`,
      });
    };
    await nextLine();
    return await work(nextLine);
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}
