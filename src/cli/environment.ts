// The world that the command line runs in, made once in main.ts and passed down; and what every command is given of it.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";

/** A stream, as far as commands write to it. */
export interface Output {
  write(content: string | Uint8Array): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface Env {
  readonly stdout: Output;
  readonly stderr: Output;
  /** The standard input, opened at first use. */
  readonly stdin: () => Readable;
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly now: () => Date;
  /** Aborts at SIGINT and SIGTERM. Until it is called, those end the process at once. */
  readonly stopSignal: () => AbortSignal;
  /** Directory of the installation: holds package.json and the built BPF object. */
  readonly root: string;
}

export const BPFFS_DEFAULT = "/sys/fs/bpf/weir";
export const SOCKET_DEFAULT = "/run/weir/agent.sock";

/** Options that every command takes. */
export interface Settings {
  /** Pin root on a BPF filesystem. */
  readonly bpffs: string;
  /** Path of the agent's Unix socket. */
  readonly socket: string;
}

/** What a command works with. */
export interface Context {
  readonly env: Env;
  readonly settings: Settings;
  /** Runs another command line, without the program's name, to its end. Never rejects. */
  readonly run: (line: readonly string[], env: Env) => Promise<number>;
}

/** Exit codes of all commands, one for one thing. */
export const EXIT = {
  ok: 0,
  error: 1,
  usage: 2,
  /** `trace`: denied; `diff`: decisions would flip. */
  denied: 3,
  notFound: 4,
  differs: 5,
  /** By the kernel, or by the agent's socket. */
  forbidden: 6,
  /** `status`: not everything is enforced. */
  degraded: 7,
  /** `status`: no agent answers. */
  down: 8,
} as const;

/** An unsuccessful outcome, with its exit code and a one-line message. */
export class CommandError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT.error) {
    super(message);
    this.name = "CommandError";
    this.exitCode = exitCode;
  }
}

export const objectPath = (env: Env): string => join(env.root, "bpf", "build", "filter.bpf.o");

// What the installation says of itself.

/** Weir's version, from its package.json. */
export function versionOf(root: string): string {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  return version;
}
