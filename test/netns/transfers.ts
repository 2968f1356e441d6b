// Many TCP connections at once between two endpoints of a lab, and how many of them go on.

import { createInterface } from "node:readline";
import type { Lab } from "../../src/lab/netns-lab.ts";
import { openScripts } from "./scripts.ts";

/** Either the client speaks and the server answers, or the server speaks all the time and the client only listens. */
export type Kind = "echo" | "push";

const EVERY_MS = 50;

const SERVER = `
  const [address, port, kind] = process.argv.slice(1);
  const server = require("node:net").createServer((socket) => {
    socket.setNoDelay(); socket.on("error", () => {});
    if (kind === "echo") return socket.pipe(socket);
    socket.resume();
    const timer = setInterval(() => socket.write(Buffer.alloc(2000)), ${EVERY_MS});
    socket.on("close", () => clearInterval(timer));
  });
  server.listen(Number(port), address, 4096, () => console.log("ready"));`;

/** Commands by line: "open COUNT", then "count", then "progress": how many get something new until all do or the next line comes. */
const CLIENT = `
  const [address, port, kind] = process.argv.slice(1);
  const connections = [];
  let asked;
  const answer = () => { const done = asked; asked = undefined; if (done) console.log(connections.filter((each) => each.got > each.before).length); };
  const check = () => { if (asked && connections.every((each) => each.got > each.before)) answer(); };
  const open = () => new Promise((resolve) => {
    const each = { got: 0, before: 0 };
    const socket = require("node:net").connect({ host: address, port: Number(port) }, () => {
      socket.setNoDelay(); connections.push(each); resolve();
      if (kind === "echo") setInterval(() => socket.write("x"), ${EVERY_MS});
    });
    socket.on("data", (data) => { each.got += data.length; check(); });
    socket.on("error", () => {});
  });
  require("node:readline").createInterface({ input: process.stdin }).on("line", async (line) => {
    const [command, count] = line.split(" ");
    if (command === "open") { for (let i = 0; i < Number(count); i++) await open(); console.log("opened"); }
    if (command === "count") console.log(connections.length);
    if (command === "progress") { for (const each of connections) each.before = each.got; asked = true; }
    if (command === "answer") answer();
  });
  console.log("ready");`;

export interface Transfers {
  /** Opens so many more, one after the other. */
  open(count: number): Promise<void>;
  count(): Promise<number>;
  /**
   * How many connections get something from now on, at most in this time. "settled": from half of it on, when what was on its way
   * has arrived.
   */
  progress(withinMs: number, from?: "settled"): Promise<number>;
  close(): Promise<void>;
}

interface Between {
  readonly client: string;
  readonly server: string;
  /** The server's. */
  readonly address: string;
  readonly port: number;
  readonly kind: Kind;
  /** At which port the server listens, if not at that to which clients connect. */
  readonly listens?: number;
}

export async function transfer(
  lab: Lab,
  { client, server, address, port, kind, listens = port }: Between,
): Promise<Transfers> {
  const scripts = openScripts(lab);
  const start = (name: string, script: string, at: number) => {
    const child = scripts.start(name, script, [address, String(at), kind]);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    return {
      say: (line: string) => child.stdin.write(`${line}\n`),
      async hear(): Promise<string> {
        const { value, done } = await lines.next();
        if (done) throw new Error(`${name} has ended`);
        return value;
      },
    };
  };
  try {
    await start(server, SERVER, listens).hear();
    const from = start(client, CLIENT, port);
    await from.hear();
    const ask = (line: string): Promise<string> => {
      from.say(line);
      return from.hear();
    };
    const advanced = async (withinMs: number): Promise<number> => {
      const timer = setTimeout(() => from.say("answer"), withinMs);
      const count = Number(await ask("progress"));
      clearTimeout(timer);
      return count;
    };
    return {
      async open(count) {
        await ask(`open ${count}`);
      },
      count: async () => Number(await ask("count")),
      async progress(withinMs, when) {
        if (when === undefined) return advanced(withinMs);
        await advanced(withinMs / 2);
        return advanced(withinMs / 2);
      },
      close: scripts.close,
    };
  } catch (error) {
    await scripts.close();
    throw error;
  }
}
