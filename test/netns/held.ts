// A TCP connection between two endpoints of a lab that lasts, on which either side may send first.

import { setTimeout as sleep } from "node:timers/promises";
import type { Lab } from "../../src/lab/netns-lab.ts";
import { openScripts } from "./scripts.ts";

/** Sends each line of its stdin to the other side, and writes what it receives to its stdout. */
const PIPE =
  "socket.setNoDelay(); process.stdin.pipe(socket); socket.pipe(process.stdout); socket.on('error', () => {});";
const SERVER = `
  const server = require("node:net").createServer((socket) => { ${PIPE} });
  server.listen(Number(process.argv[2]), process.argv[1], () => console.log("listening"));`;
const CLIENT = `
  const socket = require("node:net").connect(
    { host: process.argv[1], port: Number(process.argv[2]), localPort: Number(process.argv[3] ?? 0) },
    () => { console.log("connected"); ${PIPE} });
  socket.on("error", () => {});`;

export type Side = "client" | "server";

export interface Held {
  /** Has a side send a line: whether the other one gets it in time. TCP resends lost lines. */
  send(from: Side, withinMs: number): Promise<"reached" | "silent">;
  /** Waits until both processes have ended: the next one may listen at the same port. */
  close(): Promise<void>;
}

interface Between {
  readonly client: string;
  readonly server: string;
  /** The server's. */
  readonly address: string;
  readonly port: number;
  /** Where the client connects to, if not to the server itself: a Service. */
  readonly by?: { readonly address: string; readonly port: number };
  /** The client's port; any if not given. */
  readonly localPort?: number;
}

export async function hold(lab: Lab, between: Between): Promise<Held> {
  const { client, server, address, port, localPort } = between;
  const to = between.by ?? { address, port };
  const scripts = openScripts(lab);
  const start = (name: string, script: string, args: readonly string[]) => {
    const child = scripts.start(name, script, args);
    let heard = "";
    child.stdout.on("data", (data: Buffer) => {
      heard += data.toString();
    });
    return {
      say: (line: string) => child.stdin.write(`${line}\n`),
      async hears(line: string, withinMs: number): Promise<boolean> {
        const end = performance.now() + withinMs;
        while (!heard.split("\n").includes(line)) {
          if (performance.now() > end) return false;
          await sleep(20);
        }
        return true;
      },
    };
  };
  try {
    const at = start(server, SERVER, [address, String(port)]);
    if (!(await at.hears("listening", 20_000))) throw new Error(`${server} does not listen at ${port}`);
    const ports = [to.port, ...(localPort === undefined ? [] : [localPort])].map(String);
    const from = start(client, CLIENT, [to.address, ...ports]);
    if (!(await from.hears("connected", 20_000)))
      throw new Error(`${client} does not reach ${to.address}:${to.port}`);
    const sides = { client: from, server: at };
    let lines = 0;
    return {
      async send(side, withinMs) {
        lines += 1;
        const line = `line ${lines} of the ${side}`;
        sides[side].say(line);
        const other = sides[side === "client" ? "server" : "client"];
        return (await other.hears(line, withinMs)) ? "reached" : "silent";
      },
      close: scripts.close,
    };
  } catch (error) {
    await scripts.close();
    throw error;
  }
}
