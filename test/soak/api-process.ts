// The test's end of the scripted API server: starts it again with the same objects at the same port.

import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Kind } from "../../src/source/apiserver/resource-kinds.ts";
import type { RawObject } from "../unit/source/apiserver/server.ts";
import type { Answer, KindedObject, Order } from "./api-server.ts";

const SERVER = fileURLToPath(new URL("api-server.ts", import.meta.url));
/** A new server's first version is this much beyond the last one's. */
const GAP = 1_000;

export interface ApiServer {
  readonly port: () => number;
  /** What it holds, or will hold when it runs again. */
  readonly objects: ReadonlyMap<string, KindedObject>;
  put(kind: Kind, object: RawObject): Promise<void>;
  remove(kind: Kind, key: string): Promise<void>;
  order(order: Order): Promise<void>;
  kill(): Promise<void>;
  /** At a version that is given, as after a restore from a backup. */
  start(at?: number): Promise<void>;
  signal(signal: "SIGSTOP" | "SIGCONT"): void;
  version(): number;
  close(): void;
}

export const keyIn = ({ metadata: { namespace, name } }: RawObject): string =>
  namespace === undefined ? name : `${namespace}/${name}`;

export async function openApiServer(): Promise<ApiServer> {
  const objects = new Map<string, KindedObject>();
  let child: ChildProcess | undefined;
  let port = 0;
  let version = 1_000;
  const waiting: (() => void)[] = [];

  const start = async (at = version + GAP): Promise<void> => {
    const made = fork(SERVER, {
      execArgv: [],
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      detached: false,
    });
    child = made;
    await new Promise<void>((resolve, reject) => {
      made.once("exit", () => reject(new Error("the API server ended")));
      made.on("message", (answer: Answer) => {
        if ("ready" in answer) {
          port = answer.ready.port;
          resolve();
          return;
        }
        version = answer.done.version;
        waiting.shift()?.();
      });
      made.send({ port, version: at, objects: [...objects.values()] });
    });
    version = at + objects.size;
  };

  const order = (text: Order): Promise<void> => {
    const to = child;
    if (to === undefined || !to.connected) return Promise.resolve();
    return new Promise((resolve) => {
      waiting.push(resolve);
      to.send(text);
    });
  };

  await start();
  return {
    port: () => port,
    objects,
    version: () => version,
    put(kind, object) {
      objects.set(`${kind} ${keyIn(object)}`, { kind, object });
      return order({ do: "put", kind, object });
    },
    remove(kind, key) {
      objects.delete(`${kind} ${key}`);
      return order({ do: "remove", kind, key });
    },
    order,
    async kill() {
      const ended = child;
      child = undefined;
      if (ended === undefined || ended.exitCode !== null || ended.signalCode !== null) return;
      const gone = new Promise<void>((resolve) => ended.once("exit", () => resolve()));
      ended.kill("SIGKILL");
      await gone;
      for (const resolve of waiting.splice(0)) resolve();
    },
    start,
    signal: (signal) => void child?.kill(signal),
    close: () => void child?.kill("SIGKILL"),
  };
}
