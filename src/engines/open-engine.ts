// Opening an engine by its name: what it holds of the machine is one thing to close.

import type { Engine } from "../source/conformance/case-runner.ts";
import type { EngineName, EngineOptions } from "./engine-names.ts";
import { preflightOf } from "./engine-preflight.ts";

/** An engine with all that it holds of the machine. */
export interface Session {
  /** The engine for one more case. */
  engine(): Engine;
  /** Idempotent. */
  close(): Promise<void>;
}

/**
 * Opens an engine. @throws ObstacleError where this process or machine lacks something that the engine needs, with all
 * that it lacks; OperationError and BpfError where the kernel refuses
 */
export async function openSession(name: EngineName, options: EngineOptions): Promise<Session> {
  const obstacles = preflightOf(name, options);
  if (obstacles.length > 0) throw new ObstacleError(name, obstacles);
  switch (name) {
    case "oracle": {
      const { oracle } = await import("./oracle-engine.ts");
      return { engine: () => oracle, close: async () => undefined };
    }
    case "plan": {
      const { planEngine } = await import("./plan-engine.ts");
      return { engine: planEngine, close: async () => undefined };
    }
    case "kernel": {
      const { kernelEngine, openBench } = await import("./kernel-engine.ts");
      const bench = await openBench({ ...options, xdp: options.fromPodHook === "xdp" });
      const engine = kernelEngine(bench, options.fromPodHook ?? "tc");
      return { engine: () => engine, close: async () => bench.close() };
    }
    case "live": {
      const { openLive } = await import("./live-engine.ts");
      const live = await openLive(options);
      return { engine: () => live.engine, close: () => live.close() };
    }
  }
}

/** What keeps an engine from running here. */
export class ObstacleError extends Error {
  constructor(name: EngineName, obstacles: readonly string[]) {
    super(`engine ${name} cannot run here: ${obstacles.join("; ")}`);
    this.name = "ObstacleError";
  }
}
