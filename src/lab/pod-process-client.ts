// The lab's side of one pod process: starts it inside its namespace, sends commands, receives replies.

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { programPath } from "../base/child-program.ts";
import { OperationError } from "../base/errors.ts";
import type { Command, ProcessConfig, Reply, Request, Response } from "./pod-protocol.ts";

interface Waiting {
  resolve(reply: Reply): void;
  reject(error: Error): void;
}

/**
 * A new namespace copies the machine's IPv4 settings; on a machine that forwards its pods would be routers. Whatever the machine
 * has set, a pod forwards nothing and accepts answers by any of its interfaces, as the kernel's defaults have it.
 */
const AS_A_HOST =
  'for at in /proc/sys/net/ipv4/conf/*; do for setting in forwarding rp_filter; do echo 0 >"$at/$setting"; done; done; exec "$@"';

/** A running pod process. `close()` is idempotent and synchronous; commands after it are refused. */
export class PodProcess {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #ended: string | undefined;
  #errors = "";

  private constructor(name: string, child: ChildProcess) {
    this.#name = name;
    this.#child = child;
    const ended = (how: string): void =>
      this.#end(`${how}${this.#errors === "" ? "" : `: ${this.#errors.trim()}`}`);
    child.on("error", (error) => ended(error.message));
    child.on("close", (code, signal) => ended(`ended with ${signal ?? `status ${code}`}`));
    child.stdin?.on("error", (error) => ended(error.message));
    child.stderr?.on("data", (chunk: Buffer) => {
      this.#errors = (this.#errors + chunk.toString()).slice(-2000);
    });
    if (child.stdout !== null)
      createInterface({ input: child.stdout }).on("line", (line) => this.#hear(line));
  }

  /** Starts it in a namespace (undefined: the node's own). */
  static spawn(netns: string | undefined, config: ProcessConfig): PodProcess {
    const node = [process.execPath, "--disable-warning=ExperimentalWarning", programPath("lab/pod-process")];
    const inside = ["ip", "netns", "exec", netns ?? "", "sh", "-c", AS_A_HOST, "sh"];
    const [command = "", ...args] = netns === undefined ? node : [...inside, ...node];
    // A group of its own: Ctrl-C is for the lab, which then ends its processes itself, after what depends on them.
    const pod = new PodProcess(config.name, spawn(command, args, { stdio: "pipe", detached: true }));
    pod.#child.stdin?.write(`${JSON.stringify(config)}\n`);
    return pod;
  }

  /** Resolves when its servers listen; to be called once, right after `spawn`. @throws OperationError */
  async ready(): Promise<void> {
    const reply = await this.#expect(0);
    if (reply.reply === "error") throw this.#failure(reply.reason);
  }

  /** The reply to a command, never one of kind "error". @throws OperationError also where the process has ended */
  async command(command: Command): Promise<Exclude<Reply, { reply: "error" }>> {
    this.#lastId += 1;
    const request: Request = { ...command, id: this.#lastId };
    const answer = this.#expect(request.id);
    this.#child.stdin?.write(`${JSON.stringify(request)}\n`);
    const reply = await answer;
    if (reply.reply === "error") throw this.#failure(reply.reason);
    return reply;
  }

  close(): void {
    this.#end("closed");
    this.#child.kill("SIGKILL");
  }

  #expect(id: number): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#ended === undefined) this.#waiting.set(id, { resolve, reject });
      else reject(this.#failure(this.#ended));
    });
  }

  #hear(line: string): void {
    const { id, ...reply } = JSON.parse(line) as Response;
    this.#waiting.get(id)?.resolve(reply);
    this.#waiting.delete(id);
  }

  #end(how: string): void {
    this.#ended ??= how;
    for (const { reject } of this.#waiting.values()) reject(this.#failure(this.#ended));
    this.#waiting.clear();
  }

  #failure(reason: string): OperationError {
    return new OperationError(reason, { operation: "command", object: `pod process ${this.#name}` });
  }
}
