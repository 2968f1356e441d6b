// One measurement between two network namespaces: a flow and what came through of it, requests and their answers, or a flood.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { present } from "../../src/base/assert.ts";
import { OperationError } from "../../src/base/errors.ts";

export const KINDS = ["udp", "udp-flows", "tcp", "ask", "connect", "flood"] as const;
export type Kind = (typeof KINDS)[number];

export const TITLES: Readonly<Record<Kind, string>> = {
  udp: "UDP packets",
  "udp-flows": "UDP, 400 flows",
  tcp: "TCP stream",
  ask: "requests",
  connect: "connections",
  flood: "denied flood",
};

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
  /**
   * CPU time for each packet, request or connection, with what the kernel did in the processes' names: of the sender, and of
   * requests and connections also of who answers. A datagram's whole path runs in its sender's name.
   */
  readonly cpuNs?: number;
}

/** The compiled flow.c and requests.c. */
export interface Programs {
  readonly flow: string;
  readonly requests: string;
}

/** Payload of datagrams, small so that packets count; what one write gives to TCP, large so that bytes do. */
const SIZES = { udp: 64, tcp: 128 * 1024 } as const;

/** "udp-flows" sends from as many ports in turn. */
export const FLOWS = 400;

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
  if (of.kind === "udp" || of.kind === "udp-flows" || of.kind === "tcp") {
    const protocol = of.kind === "tcp" ? "tcp" : "udp";
    const flows = of.kind === "udp-flows" ? FLOWS : 1;
    const receiver = inside(of.to, RECEIVER_CPU, programs.flow, ["receive", protocol, ...place]);
    return beside(of, receiver, async ({ nextLine }) => {
      const args = ["send", protocol, ...place, duration, String(SIZES[protocol]), String(flows)];
      const [, sent = 0, cpu = 0] = await send(programs.flow, args);
      const [bytes = 0, packets = 0, ns = 0] = (await nextLine()).split(" ").map(Number);
      if (protocol === "tcp") return { perSecond: rateOf(of, bytes, ns) };
      return { perSecond: rateOf(of, packets, ns), cpuNs: cpu / sent };
    });
  }
  const measure = async (): Promise<Measurement & { readonly count: number; readonly cpuNs: number }> => {
    const numbers = await send(programs.requests, [of.kind, ...place, duration]);
    const [count = 0, ns = 0, cpu = 0, p50Ns = 0, p99Ns = 0] = numbers;
    return { perSecond: rateOf(of, count, ns), count, cpuNs: cpu / count, p50Ns, p99Ns };
  };
  if (of.kind === "flood") {
    const { perSecond, cpuNs } = await measure();
    return { perSecond, cpuNs };
  }
  const server = inside(of.to, RECEIVER_CPU, programs.requests, ["serve", ...place]);
  return beside(of, server, async ({ pid }) => {
    const before = cpuTimeOf(pid);
    const { count, cpuNs, ...measured } = await measure();
    return { ...measured, cpuNs: cpuNs + (cpuTimeOf(pid) - before) / count };
  });
}

/** Nanoseconds that a process had of the CPU. @source proc(5), Documentation/scheduler/sched-stats.rst of Linux */
const cpuTimeOf = (pid: number): number =>
  Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ", 1)[0]);

function rateOf({ kind, address }: Transfer, amount: number, ns: number): number {
  if (amount > 0 && ns > 0) return (amount * 1e9) / ns;
  throw new OperationError("nothing came through", {
    operation: "transfer",
    object: `${kind} to ${address}`,
  });
}

interface Receiver {
  readonly pid: number;
  readonly nextLine: () => Promise<string>;
}

/** Does `work` while a receiver runs, once that has written its first line. */
async function beside<T>(
  { kind, address }: Transfer,
  receiver: readonly string[],
  work: (receiver: Receiver) => Promise<T>,
): Promise<T> {
  const child: ChildProcess = spawn("ip", receiver, { stdio: ["ignore", "pipe", "pipe"] });
  const ended = once(child, "close");
  let complaints = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    complaints += text;
  });
  try {
    if (child.stdout === null) throw new Error("assertion failed: a pipe");
    // `ip netns exec` and taskset become the program, so it is the receiver's own.
    const pid = present(child.pid, "a started receiver");
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
    return await work({ pid, nextLine });
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}
