// Sockets for the tests of the agent's server and its client: each test has a directory of its own, and all is closed after it.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import type { StatusView } from "../../../src/observe/api-views.ts";
import { type LocalApi, type ServeOptions, serve, type Views } from "../../../src/observe/socket-server.ts";

export const STATUS: StatusView = {
  version: "1.2.3",
  pid: 4711,
  startedAt: "2025-01-01T00:00:00.000Z",
  generation: { wanted: 2, applied: 2 },
  endpoints: 0,
  policies: 0,
  problems: [],
  audited: 0,
  repairs: { attached: 0, pinned: 0 },
  capacity: [],
  hook: "tcx",
  fromPodHook: "tc",
  source: "/etc/weir",
};

export const VIEWS: Views = {
  status: () => STATUS,
  endpoints: () => [],
  policies: () => [],
  names: () => ({
    endpoints: { "7": "alpha/a" },
    addresses: {},
    services: {},
    identities: {},
    cidrs: {},
    policies: {},
    rows: {},
    classes: {},
  }),
  cluster: () => ({ generation: 2, cluster: {} }),
};

export interface Sockets {
  /** Where `open` listens, in a directory that does not exist yet. */
  readonly socket: string;
  pathOf(...names: readonly string[]): string;
  open(views?: Views, path?: string, options?: ServeOptions): Promise<LocalApi>;
  /** A server that is not ours: passes each connection to `speak` when it has received something. Returns its path. */
  openOther(speak: (send: Send) => void): Promise<string>;
  /** Called after the test. */
  defer(close: () => unknown): void;
}

/** The last text ends the connection. */
export type Send = (text: string, last?: "last") => void;

/** Call it once in a file: returns the sockets of the current test. */
export function useSockets(): Sockets {
  let directory = "";
  const toClose: (() => unknown)[] = [];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "wt-api-"));
  });
  afterEach(async () => {
    for (const close of toClose.splice(0)) await close();
    rmSync(directory, { recursive: true, force: true });
  });
  const pathOf = (...names: readonly string[]): string => join(directory, ...names);
  const defer = (close: () => unknown): void => {
    toClose.push(close);
  };
  return {
    get socket() {
      return pathOf("run", "agent.sock");
    },
    pathOf,
    defer,
    async open(views = VIEWS, path = pathOf("run", "agent.sock"), options = {}) {
      const api = await serve(path, views, options);
      defer(() => api.close());
      return api;
    },
    async openOther(speak) {
      const path = pathOf(`other-${toClose.length}.sock`);
      const server: Server = createServer((connection) => {
        connection.on("error", () => connection.destroy());
        const send: Send = (text, last) =>
          last === undefined ? connection.write(text) : connection.end(text);
        connection.once("data", () => speak(send));
        defer(() => connection.destroy());
      });
      defer(() => server.close());
      await new Promise<void>((resolve) => server.listen(path, resolve));
      return path;
    },
  };
}
