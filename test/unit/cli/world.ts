// A world for commands run in the test's own process: streams that are read back, an agent's socket with given views.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Env } from "../../../src/cli/environment.ts";
import { runCommand } from "../../../src/cli/program.ts";
import { type LocalApi, type Route, serve, type Views } from "../../../src/observe/socket-server.ts";

export const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** For tests that only read the table of commands. */
export const ENV_OF_NOTHING: Env = {
  stdout: { write: () => undefined },
  stderr: { write: () => undefined },
  stdin: () => Readable.from([]),
  variables: {},
  now: () => new Date(0),
  stopSignal: () => new AbortController().signal,
  root: ROOT,
};

export interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CommandWorld {
  /** Where the agent listens, if one does; and a directory without pins. */
  readonly socket: string;
  readonly bpffs: string;
  /** Runs `weir ARGS` with --socket and --bpffs of this world. */
  weir(...args: readonly string[]): Promise<Outcome>;
  /** Opens the agent's socket. */
  serve(views: Views, routes?: readonly Route[]): Promise<LocalApi>;
  close(): Promise<void>;
}

/** `change` alters the environment that commands see: a terminal, variables. */
export function openCommandWorld(change: Partial<Env> & { readonly terminal?: boolean } = {}): CommandWorld {
  const directory = mkdtempSync(join(tmpdir(), "wt-cli-"));
  const socket = join(directory, "agent.sock");
  const bpffs = join(directory, "pins");
  const apis: LocalApi[] = [];
  return {
    socket,
    bpffs,
    weir: (...args) => runIn([...args, "--socket", socket, "--bpffs", bpffs], change),
    async serve(views, routes = []) {
      const api = await serve(socket, views, { routes });
      apis.push(api);
      return api;
    },
    async close() {
      for (const api of apis) await api.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Runs one command line in this process. */
export async function runIn(
  args: readonly string[],
  { terminal = false, ...change }: Partial<Env> & { readonly terminal?: boolean } = {},
): Promise<Outcome> {
  let stdout = "";
  let stderr = "";
  const env: Env = {
    stdout: {
      write: (text) => {
        stdout += text;
      },
      isTTY: terminal,
    },
    stderr: {
      write: (text) => {
        stderr += text;
      },
      isTTY: terminal,
    },
    stdin: () => Readable.from([]),
    variables: {},
    now: () => new Date("2025-06-01T12:05:00Z"),
    stopSignal: () => new AbortController().signal,
    root: ROOT,
    ...change,
  };
  const exitCode = await runCommand(args, env);
  return { exitCode, stdout, stderr };
}
