// What a lab has to undo, undone however the process ends: close, exception, Ctrl-C, SIGTERM. Only SIGKILL leaves anything.

import { constants } from "node:os";
import { messageOf } from "../base/errors.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * A stack of things to undo. They are synchronous on purpose: on the way out of a process nothing else still runs.
 * Reads as: `defer` after each thing made, `close` at the end.
 */
export class Teardown {
  readonly #undo: (() => void)[] = [];
  readonly #onExit = (): void => {
    for (const reason of this.#run()) process.stderr.write(`tear down: ${reason}\n`);
  };
  /** Undoes first: a host such as a test runner may have its own idea of `exit`. */
  readonly #onSignal = (signal: NodeJS.Signals): void => {
    this.#onExit();
    process.exit(128 + constants.signals[signal]);
  };

  constructor() {
    process.on("exit", this.#onExit);
    for (const signal of SIGNALS) process.on(signal, this.#onSignal);
  }

  defer(undo: () => void): void {
    this.#undo.push(undo);
  }

  /** Undoes everything, newest first, each whatever became of the others. Idempotent. @throws Error with every reason */
  close(): void {
    const reasons = this.#run();
    process.off("exit", this.#onExit);
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
    if (reasons.length > 0) throw new Error(`tear down: ${reasons.join("; ")}`);
  }

  #run(): string[] {
    const reasons: string[] = [];
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) {
      try {
        undo();
      } catch (thrown) {
        reasons.push(messageOf(thrown));
      }
    }
    return reasons;
  }
}
