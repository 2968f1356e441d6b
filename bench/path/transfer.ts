// One transfer between two network namespaces: a receiver, a sender, and what came through.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { OperationError } from "../../src/base/errors.ts";

export type Kind = "udp" | "tcp";

export interface Transfer {
  readonly kind: Kind;
  readonly from: string;
  readonly to: string;
  /** Where `to` receives. */
  readonly address: string;
  readonly port: number;
  readonly milliseconds: number;
}

/** Payload of datagrams, small so that packets count; what one write gives to TCP, large so that bytes do. */
const SIZES: Readonly<Record<Kind, number>> = { udp: 64, tcp: 128 * 1024 };

/** The ends stay on a CPU each, as far as there are two. */
const SENDER_CPU = 0;
const RECEIVER_CPU = 1;

const run = promisify(execFile);

/** Of UDP, packets a second; of TCP, bytes a second. `program` is the compiled flow.c. */
export async function transfer(program: string, cpus: number, of: Transfer): Promise<number> {
  const place = [of.kind, of.address, String(of.port)];
  const inside = (netns: string, cpu: number) => [
    "netns",
    "exec",
    netns,
    "taskset",
    "-c",
    String(cpu % cpus),
    program,
  ];
  const receiver = spawn("ip", [...inside(of.to, RECEIVER_CPU), "receive", ...place]);
  const ended = once(receiver, "close");
  let complaints = "";
  receiver.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaints += text;
  });
  try {
    const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
    await lines.next();
    const course = [String(of.milliseconds), String(SIZES[of.kind])];
    await run("ip", [...inside(of.from, SENDER_CPU), "send", ...place, ...course]);
    const { value } = await lines.next();
    const [bytes, packets, ns] = String(value).split(" ").map(Number);
    const amount = of.kind === "udp" ? packets : bytes;
    if (amount === undefined || ns === undefined || !(amount > 0 && ns > 0))
      throw new OperationError(complaints.trim() || "nothing came through", {
        operation: "transfer",
        object: `${of.kind} to ${of.address}`,
      });
    return (amount * 1e9) / ns;
  } finally {
    receiver.kill("SIGKILL");
    await ended;
  }
}
