// Real sockets as an engine for conformance cases: pods are network namespaces, and Weir is in force between them.

import { type ChildProcess, fork } from "node:child_process";
import { assert } from "../base/assert.ts";
import { programPath } from "../base/child-program.ts";
import { OperationError } from "../base/errors.ts";
import type { Engine } from "../source/conformance/case-runner.ts";
import type { Case } from "../source/conformance/case-types.ts";
import { byTheApi } from "./cell-verdict.ts";
import type { EngineOptions } from "./engine-names.ts";
import type { Reply, Request } from "./live-protocol.ts";

export interface Live {
  readonly engine: Engine;
  /** Resolves when nothing is left of the world. Idempotent. */
  close(): Promise<void>;
}

const CLOSE_MS_MAX = 10_000;

/**
 * Starts the world in a process of its own, on a node of its own: network namespace, routes, names of namespaces and BPF
 * filesystem are the process's, so that no address of a case can clash with the machine's, and no firewall of the
 * machine has a say. @throws OperationError
 */
export async function openLive({
  object,
  fromPodHook = "tc",
}: Pick<EngineOptions, "object" | "fromPodHook">): Promise<Live> {
  const node = [process.execPath, "--disable-warning=ExperimentalWarning", "--enable-source-maps"];
  const child = fork(programPath("engines/live-worker"), [object, fromPodHook], {
    execPath: "unshare",
    execArgv: ["--net", "--mount", "--", ...node],
    // Cases hold maps and big integers.
    serialization: "advanced",
    // Ctrl-C is for this process; the other ends with it.
    detached: true,
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  const talk = conversation(child);
  const close = closer(child);
  try {
    const { kind } = await talk.next();
    assert(kind === "ready", "the live world is ready");
  } catch (thrown) {
    await close();
    throw thrown;
  }
  return { engine: engineOver(talk), close };
}

function engineOver(talk: Conversation): Engine {
  let current: Case | undefined;
  return {
    name: "live",
    async judge(step, of) {
      if (current !== of) talk.send({ kind: "case", case: of });
      current = of;
      talk.send({ kind: "step", index: of.steps.indexOf(step) });
      const reply = await talk.next();
      assert(reply.kind === "verdicts", "the verdicts of a step");
      return reply.verdicts.map(({ outcome, what }, index) => ({
        outcome,
        why: () => {
          const cell = step.cells[index];
          return outcome === "unable" || cell === undefined
            ? what
            : [what, ...byTheApi(step, cell)].join("\n");
        },
      }));
    },
  };
}

interface Conversation {
  send(request: Request): void;
  /** The next reply, never one of kind "error". @throws OperationError also where the process ends */
  next(): Promise<Reply>;
}

/** One question, one answer: there is at most one reply to wait for. */
function conversation(child: ChildProcess): Conversation {
  let waiting: PromiseWithResolvers<Reply> | undefined;
  let ended: Error | undefined;
  let errors = "";
  const failure = (reason: string) =>
    new OperationError(reason, { operation: "test", object: "with real sockets" });
  const end = (how: string): void => {
    ended ??= failure(errors.trim() === "" ? how : `${how}: ${errors.trim()}`);
    waiting?.reject(ended);
  };
  child.stderr?.on("data", (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-2000);
  });
  child.on("error", (error) => end(error.message));
  child.on("close", (code, signal) => end(`its process ended with ${signal ?? `status ${code}`}`));
  child.on("message", (reply: Reply) => {
    if (reply.kind === "error") waiting?.reject(failure(reply.reason));
    else waiting?.resolve(reply);
  });
  return {
    send: (request) => {
      if (child.connected) child.send(request);
    },
    next: async () => {
      if (ended !== undefined) throw ended;
      waiting = Promise.withResolvers();
      return waiting.promise;
    },
  };
}

function closer(child: ChildProcess): () => Promise<void> {
  return async () => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    if (child.connected) child.disconnect();
    const late = setTimeout(() => child.kill("SIGKILL"), CLOSE_MS_MAX);
    await ended;
    clearTimeout(late);
  };
}
