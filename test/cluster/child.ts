// A server as a child process: started, killed, frozen and resumed; its output goes to a file.

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { endNow } from "../../src/lab/weir-process.ts";

const END_MS_MAX = 10_000;
const LOG_LINES = 15;

/** `close()` is idempotent and synchronous. */
export class Child {
  readonly #name: string;
  readonly #log: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;

  /** Starts it; it ends with this process, however this one ends. Its output is appended to the file `log`. */
  constructor(command: readonly string[], log: string) {
    this.#name = command[0] ?? "";
    this.#log = log;
    const output = openSync(log, "a");
    // A process group of its own: Ctrl-C is for this process, which ends its servers itself.
    this.#child = spawn("setpriv", ["--pdeathsig", "KILL", "--", ...command], {
      stdio: ["ignore", output, output],
      detached: true,
    });
    closeSync(output);
    this.#ended = new Promise((resolve) => {
      this.#child.once("close", () => resolve());
      this.#child.once("error", () => resolve());
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** @throws Error with the end of its output, if it has ended */
  check(): void {
    if (this.#child.exitCode === null && this.#child.signalCode === null && this.#child.pid !== undefined)
      return;
    throw new Error(`${this.#name} has ended:\n${this.tail()}`);
  }

  tail(): string {
    const text = existsSync(this.#log) ? readFileSync(this.#log, "utf8") : "";
    return text.trimEnd().split("\n").slice(-LOG_LINES).join("\n");
  }

  /** Kills it as a crash would, and waits for its end. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  /** It keeps its connections and answers nothing, until `thaw`. */
  freeze(): void {
    this.#child.kill("SIGSTOP");
  }

  thaw(): void {
    this.#child.kill("SIGCONT");
  }

  close(): void {
    endNow(this.#child, END_MS_MAX);
  }
}
