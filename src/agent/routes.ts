// What the agent can be asked besides its views, and told: the state that it wants, its log, a resync.

import { type AdjustableLog, isLogLevel, LOG_LEVELS } from "../base/log.ts";
import type { LogLevelView, LogView, StateView } from "../observe/api-views.ts";
import { RequestError, type Route } from "../observe/socket-routes.ts";
import { EMPTY_STATE } from "../state/desired-state.ts";
import { plainState } from "../state/state-json.ts";
import type { Kernel } from "./datapath-handle.ts";
import type { Progress } from "./reconcile.ts";
import type { Resyncs } from "./resync.ts";

export interface Asked {
  readonly resyncs: Resyncs;
  readonly progress?: Progress;
  readonly kernel?: Pick<Kernel, "maps">;
}

export function routesOf(asked: Asked, log: AdjustableLog): Route[] {
  const level = (): LogLevelView => ({ level: log.level() });
  return [
    { method: "GET", path: "state", answer: () => stateView(asked) },
    { method: "GET", path: "log", answer: (): LogView => ({ lines: log.recent() }) },
    { method: "GET", path: "log-level", answer: level },
    {
      method: "POST",
      path: "log-level",
      parameters: ["level"],
      answer: (parameters) => {
        const wanted = parameters.get("level");
        if (!isLogLevel(wanted)) throw new RequestError(`level: expected one of ${LOG_LEVELS.join(", ")}`);
        log.setLevel(wanted);
        return level();
      },
    },
    { method: "POST", path: "resync", answer: () => asked.resyncs.request() },
  ];
}

/** What is in force as far as the agent knows; before its first round nothing is wanted yet, and the generation is 0. */
const stateView = ({ progress, kernel }: Asked): StateView => ({
  generation: progress?.force === undefined ? 0 : progress.applied,
  settled:
    progress?.force !== undefined && progress.busySince === undefined && progress.wanted === progress.applied,
  settings: kernel?.maps.settings().wanted ?? {},
  state: plainState(progress?.force?.compiled.state ?? EMPTY_STATE),
});
