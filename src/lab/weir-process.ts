// Weir as a child process, driven by its command line alone.

import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { OperationError } from "../base/errors.ts";

/** Where one installation of the product lives, so that several can run on a machine. */
export interface ProductPaths {
  /** The `weir` command. */
  readonly bin: string;
  /** The directory for pins, in a BPF filesystem. */
  readonly bpffs: string;
  /** The agent's socket. */
  readonly socket: string;
  /** What the agent and the commands may do, as in ["BPF", "NET_ADMIN"]; all that this process may, if not given. */
  readonly capabilities?: readonly string[];
}

export interface CommandResult {
  /** The exit status; -1 where a signal ended it. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What `weir status -o json` says, as far as the lab needs it. */
export interface Status {
  readonly agent: { readonly running: boolean; readonly pid?: number };
  /** Only a running agent has `wanted`. */
  readonly generation: { readonly wanted?: number; readonly applied: number };
  /** ISO 8601; absent until the running agent has applied something itself. */
  readonly appliedAt?: string;
  readonly endpoints: number;
  readonly problems: readonly { readonly text: string }[];
}

const POLL_MS = 30;
const START_MS_MAX = 60_000;
const CHANGE_MS_MAX = 60_000;
const STOP_MS_MAX = 30_000;

const argumentsOf = (paths: ProductPaths, args: readonly string[]): string[] => [
  ...args,
  "--bpffs",
  paths.bpffs,
  "--socket",
  paths.socket,
];

/** A command as a container with the installation's capabilities runs it: none but them, and no way to more. */
export function commandOf(
  paths: ProductPaths,
  args: readonly string[],
): readonly [command: string, args: readonly string[]] {
  const { bin, capabilities } = paths;
  if (capabilities === undefined) return [bin, argumentsOf(paths, args)];
  const set = ["-all", ...capabilities.map((each) => `+${each.toLowerCase()}`)].join(",");
  const confined = ["--no-new-privs", `--bounding-set=${set}`, `--inh-caps=${set}`, "--", bin];
  return ["setpriv", [...confined, ...argumentsOf(paths, args)]];
}

/** Runs one command to its end, whatever its exit status. */
export function weir(paths: ProductPaths, args: readonly string[]): Promise<CommandResult> {
  const [command, all] = commandOf(paths, args);
  return new Promise((resolve) => {
    execFile(command, all, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      resolve({ status, stdout, stderr: stderr === "" && status !== 0 ? String(error?.message) : stderr });
    });
  });
}

/** As `weir`, for a command that must end with the expected status: its stdout. @throws OperationError with its stderr */
export async function weirOutput(
  paths: ProductPaths,
  args: readonly string[],
  expected = 0,
): Promise<string> {
  const done = await weir(paths, args);
  if (done.status === expected) return done.stdout;
  throw new OperationError(done.stderr.trim() || `exit status ${done.status}`, {
    operation: "run",
    object: `\`weir ${args.join(" ")}\``,
  });
}

/** What the product says of itself. Its exit status only repeats that. @throws OperationError where it says nothing */
export async function statusOf(paths: ProductPaths): Promise<Status> {
  const done = await weir(paths, ["status", "-o", "json"]);
  if (done.stdout.startsWith("{")) return JSON.parse(done.stdout) as Status;
  throw new OperationError(done.stderr.trim() || `exit status ${done.status}`, {
    operation: "run",
    object: "`weir status`",
  });
}

/**
 * Takes the installation's programs and pins away, synchronously: `weir cleanup`, and then by hand whatever that left,
 * which is reported. @throws OperationError where the product did not clean up after itself
 */
export function cleanUp(paths: ProductPaths): void {
  if (!existsSync(paths.bpffs)) return;
  const [command, args] = commandOf(paths, ["cleanup"]);
  const done = spawnSync(command, args, { encoding: "utf8" });
  if (!existsSync(paths.bpffs)) return;
  rmSync(paths.bpffs, { recursive: true });
  throw new OperationError(`left ${paths.bpffs} (exit status ${done.status}) ${done.stderr?.trim() ?? ""}`, {
    operation: "run",
    object: "`weir cleanup`",
  });
}

/** A running agent. Its end is `stop` or `kill`; enforcement goes on after either, until `cleanUp`. */
export class Agent {
  readonly paths: ProductPaths;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #output = "";
  #errors = "";

  private constructor(paths: ProductPaths, child: ChildProcess) {
    this.paths = paths;
    this.#child = child;
    child.stdout?.on("data", (chunk: Buffer) => {
      this.#output += chunk.toString();
    });
    child.stderr?.on("data", (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
    this.#ended = new Promise((resolve) => {
      child.once("close", () => resolve());
      child.once("error", (error) => {
        this.#errors += error.message;
        resolve();
      });
    });
  }

  /** Starts `weir run` on a directory, with `more` arguments; it is to be waited for with `ready`. */
  static spawn(paths: ProductPaths, manifests: string, more: readonly string[] = []): Agent {
    return Agent.run(paths, ["--manifests", manifests, ...more]);
  }

  /** As `spawn`, with all arguments of `weir run`, and more variables in its environment. */
  static run(
    paths: ProductPaths,
    options: readonly string[],
    environment: Readonly<Record<string, string>> = {},
  ): Agent {
    const [command, args] = commandOf(paths, ["run", ...options]);
    // A process group of its own, since Ctrl-C is for the parent; killed if the parent is.
    const guarded = ["--pdeathsig", "KILL", "--", command, ...args];
    const env = { ...process.env, ...environment };
    return new Agent(
      paths,
      spawn("setpriv", guarded, { stdio: ["ignore", "pipe", "pipe"], detached: true, env }),
    );
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get stdout(): string {
    return this.#output;
  }

  get stderr(): string {
    return this.#errors;
  }

  /** Resolves when the agent's desired state is applied for the first time. @throws OperationError */
  async ready(): Promise<Status> {
    const deadline = Date.now() + START_MS_MAX;
    for (;;) {
      // The socket exists when the agent answers; the pid distinguishes it from one that a killed agent left.
      const status = existsSync(this.paths.socket) ? await statusOf(this.paths) : undefined;
      const isOurs = status?.agent.running === true && status.agent.pid === this.pid;
      if (status !== undefined && isOurs && isSettled(status)) return status;
      await this.#pause(deadline, "start");
    }
  }

  /**
   * Makes a change to the manifests and waits until the agent reports that it is enforced: a later generation is in
   * the kernel, and none is pending. Only for changes of what is enforced: others make no new generation. Returns the
   * status. @throws OperationError
   */
  async change(make: () => void): Promise<Status> {
    const before = (await statusOf(this.paths)).generation.applied;
    const madeAt = Date.now();
    make();
    const deadline = Date.now() + CHANGE_MS_MAX;
    for (;;) {
      const status = await statusOf(this.paths);
      // The kernel flips to the new generation a moment before the agent has put everything away and says when.
      const isDone = Date.parse(status.appliedAt ?? "") >= madeAt && status.generation.applied > before;
      if (isSettled(status) && isDone) return status;
      await this.#pause(deadline, "apply a change");
    }
  }

  /** Ends it as an operator would, and waits. */
  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    const late = sleep(STOP_MS_MAX, "late" as const, { ref: false });
    if ((await Promise.race([this.#ended, late])) !== "late") return;
    await this.kill();
    throw this.#failure(`did not end within ${STOP_MS_MAX} ms of SIGTERM`, "stop");
  }

  /** Ends it as a crash would, and waits. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  /** As `kill`, but waits without letting anything else run: for the way out of a process. */
  killNow(): void {
    endNow(this.#child, STOP_MS_MAX);
  }

  async #pause(deadline: number, operation: string): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) {
      throw this.#failure(`it ended: ${this.#errors.trim()}`, operation);
    }
    if (Date.now() > deadline)
      throw this.#failure(`nothing after a long time: ${this.#errors.trim()}`, operation);
    await sleep(POLL_MS);
  }

  #failure(reason: string, operation: string): OperationError {
    return new OperationError(reason, { operation, object: "`weir run`" });
  }
}

/** The kernel has this agent's desired state, not only what it found there. */
const isSettled = ({ appliedAt, generation }: Status): boolean =>
  appliedAt !== undefined && generation.applied === generation.wanted;

// Ends a child process on the way out of this one, when nothing else may run any more.

const WAIT_MS = 5;
/** To wait on: never changes. */
const NOTHING = new Int32Array(new SharedArrayBuffer(4));

/** Kills it, and waits, at most so long, without letting anything else run. */
export function endNow(child: ChildProcess, waitMsMax: number): void {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  const deadline = Date.now() + waitMsMax;
  while (isRunning(child.pid) && Date.now() < deadline) Atomics.wait(NOTHING, 0, 0, WAIT_MS);
}

/**
 * Whether a child still runs code or holds files; one that has ended stays as a zombie until the event loop comes to reap it. It
 * is one as soon as its first thread has ended, while others may still hold its locks.
 */
function isRunning(pid: number | undefined): boolean {
  if (pid === undefined || !existsSync(`/proc/${pid}/stat`)) return false;
  const state = readFileSync(`/proc/${pid}/stat`, "latin1").replace(/^.*\) /, "")[0];
  return (state !== "Z" && state !== "X") || readdirSync(`/proc/${pid}/task`).length > 1;
}
