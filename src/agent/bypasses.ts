// The emergency bypass: for a limited time, all policies on a pod or on the node are in audit mode. Kept in a file, so that it
// outlives the agent, and its end too: docs/decisions/0031-emergency-bypass.md.

import { rmSync } from "node:fs";
import * as z from "zod";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { bootId, readKept, unreadableFile, writeKept } from "../base/state-file.ts";
import type { ClusterSnapshot } from "../model/cluster-snapshot.ts";
import type { Problem } from "../model/problem.ts";
import type { BypassView } from "../observe/api-views.ts";
import { RequestError, type Route } from "../observe/socket-routes.ts";

/** Longer than any shift: what should last is a change of policies. */
export const BYPASS_SECONDS_MAX = 86_400;
const BYPASSES_MAX = 64;
const REASON_CHARACTERS_MAX = 200;

/** Timers are set at most this far ahead, so that a clock that was set is noticed. */
const LOOK_MS_MAX = 10_000;

const VERSION = 1;
const KEPT = z.array(
  z.object({
    target: z.string(),
    since: z.iso.datetime(),
    until: z.iso.datetime(),
    reason: z.string(),
  }),
);

export const NODE_TARGET = "node";

export interface Bypasses {
  /** Those in force, by target; also those that are over, until the kernel no longer has them. */
  views(): readonly BypassView[];
  /** The snapshot under the bypasses in force, with a problem for each. */
  applied(reading: ClusterSnapshot): ClusterSnapshot;
  /** To be called when the kernel has what `applied` has returned last. */
  settled(): void;
  /** Called when one begins or ends. */
  onChange(listener: () => void): void;
  routes(options: BypassRouteOptions): readonly Route[];
  /** Ends no bypass. Idempotent. */
  close(): void;
}

export interface BypassRouteOptions {
  /** Whether the node has this pod (`namespace/name`). */
  readonly isHere: (pod: string) => boolean;
  /** Resolves when the kernel has what is decided now. */
  readonly applied: () => Promise<unknown>;
}

export interface BypassEnv {
  readonly log: Log;
  readonly now: () => Date;
}

/** Without a path nothing is kept. */
export function openBypasses(path: string | undefined, { log, now }: BypassEnv): Bypasses {
  let active: readonly BypassView[] = [];
  /** Over, but the kernel may still have them; and those of them that `applied` has left out last. */
  let ending: readonly BypassView[] = [];
  let leftOut: readonly BypassView[] = [];
  let unreadable: Problem | undefined;
  let listener: () => void = () => undefined;
  let timer: NodeJS.Timeout | undefined;
  /** The same map for as long as it is the same, so that nothing is compiled again. */
  let pods: ReadonlyMap<string, string> = new Map();

  /** In the time since the machine's start, so that a clock that is set back prolongs none. */
  const deadlines = new WeakMap<BypassView, number>();

  /** Milliseconds that are left of a bypass, by both clocks; 0 or less if it is over. */
  function leftOf(bypass: BypassView): number {
    const [since, until] = [Date.parse(bypass.since), Date.parse(bypass.until)];
    const left = Math.min(until - now().getTime(), until - since, BYPASS_SECONDS_MAX * 1_000);
    const deadline = deadlines.get(bypass) ?? performance.now() + left;
    deadlines.set(bypass, deadline);
    return Math.min(left, deadline - performance.now());
  }

  const isOver = (bypass: BypassView): boolean => leftOf(bypass) <= 0;

  function set(next: readonly BypassView[]): void {
    active = next.toSorted((a, b) => (a.target < b.target ? -1 : 1));
    pods = new Map(
      active.flatMap(({ target, until }) => (target === NODE_TARGET ? [] : [[target, until] as const])),
    );
  }

  /** With those that are ending: the next agent must know that the kernel may have them. @throws OperationError; then nothing has changed */
  function keep(next: readonly BypassView[]): void {
    if (path !== undefined)
      writeKept(path, { version: VERSION, boot: bootId(), bypasses: [...next, ...ending] });
    set(next);
  }

  /** Without the file the next agent bypasses nothing. */
  function forgetFile(): void {
    try {
      if (path !== undefined) rmSync(path, { force: true });
    } catch (error) {
      log.error("the file of bypasses cannot be removed", { reason: messageOf(error) });
    }
  }

  /** Ends must not need space on a disk. */
  function endThose(over: readonly BypassView[]): void {
    const rest = active.filter((each) => !over.includes(each));
    ending = [...ending, ...over];
    try {
      keep(rest);
    } catch (error) {
      set(rest);
      log.warn("the end of a bypass cannot be recorded", { reason: messageOf(error) });
      forgetFile();
    }
    schedule();
    listener();
  }

  function schedule(): void {
    clearTimeout(timer);
    if (active.length === 0) return;
    const next = Math.min(...active.map(leftOf));
    timer = setTimeout(endDue, Math.max(0, Math.min(next, LOOK_MS_MAX))).unref();
  }

  function endDue(): void {
    const over = active.filter(isOver);
    if (over.length === 0) {
      schedule();
      return;
    }
    for (const { target } of over) log.warn("bypass is over, and is being ended", { target });
    endThose(over);
  }

  function read(): readonly BypassView[] {
    if (path === undefined) return [];
    const kept = readKept(path, [VERSION]);
    // A restart of the machine ends all: the kernel has nothing of them any more.
    if (kept === undefined || (kept["boot"] !== undefined && kept["boot"] !== bootId())) return [];
    const found = KEPT.safeParse(kept["bypasses"]);
    if (!found.success)
      throw unreadableFile(path, `bypasses: ${found.error.issues[0]?.message ?? "malformed"}`);
    return found.data;
  }

  try {
    const kept = read();
    ending = kept.filter(isOver);
    for (const { target, until } of ending)
      log.warn("bypass is over since no agent ran, and is being ended", { target, until });
    set(kept.filter((each) => !ending.includes(each)));
    for (const { target, until, reason } of active)
      log.warn("policies are bypassed", { target, until, reason });
  } catch (thrown) {
    const effect = "no pod is bypassed any more";
    unreadable = { severity: "warning", reason: messageOf(thrown), effect, topic: "bypass" };
  }
  schedule();

  function begin({ target, seconds, reason }: BypassRequest): BypassView {
    const others = active.filter((each) => each.target !== target);
    if (others.length >= BYPASSES_MAX) throw new RequestError(`${BYPASSES_MAX} bypasses are the maximum`);
    const since = now();
    const until = new Date(since.getTime() + seconds * 1_000);
    const bypass = { target, since: since.toISOString(), until: until.toISOString(), reason };
    const endingBefore = ending;
    ending = ending.filter((each) => each.target !== target);
    try {
      keep([...others, bypass]);
    } catch (thrown) {
      ending = endingBefore;
      throw thrown;
    }
    unreadable = undefined;
    log.warn("policies are bypassed", { target, until: bypass.until, reason });
    schedule();
    listener();
    return bypass;
  }

  function end(target: string | undefined): readonly BypassView[] {
    const over = active.filter((each) => target === undefined || each.target === target);
    if (over.length === 0) return [];
    for (const each of over) log.warn("bypass is being ended on request", { target: each.target });
    endThose(over);
    return over;
  }

  const views = (): readonly BypassView[] => [...active, ...ending];

  return {
    views,
    applied(reading) {
      leftOut = ending;
      const problems = [...active.map(problemOf), ...(unreadable === undefined ? [] : [unreadable])];
      if (problems.length === 0) return reading;
      const isNode = active.some(({ target }) => target === NODE_TARGET);
      const { cluster } = reading;
      return {
        ...reading,
        cluster: {
          ...cluster,
          ...(isNode ? { mode: "audit" } : {}),
          ...(pods.size > 0 ? { bypassed: pods } : {}),
        },
        problems: [...reading.problems, ...problems],
      };
    },
    settled() {
      if (leftOut.length === 0) return;
      for (const { target } of leftOut) log.warn("bypass ended: policies are enforced again", { target });
      ending = ending.filter((each) => !leftOut.includes(each));
      leftOut = [];
      try {
        keep(active);
      } catch {
        // What is over is so in the file, too.
      }
    },
    onChange(next) {
      listener = next;
    },
    routes: ({ isHere, applied }) => [
      { method: "GET", path: "bypasses", answer: views },
      {
        method: "POST",
        path: "bypass",
        forRoot: true,
        bodyBytesMax: 4_096,
        answer: async (_, body) => {
          const request = requestIn(body);
          if (request.target !== NODE_TARGET && !isHere(request.target))
            throw new RequestError(`no pod ${request.target} on this node`);
          const bypass = begin(request);
          await applied();
          return bypass;
        },
      },
      {
        method: "POST",
        path: "bypass-end",
        forRoot: true,
        parameters: ["target"],
        answer: async (parameters) => {
          const over = end(parameters.get("target") ?? undefined);
          if (over.length > 0) await applied();
          return over;
        },
      },
    ],
    close() {
      clearTimeout(timer);
    },
  };
}

const problemOf = ({ target, until, reason }: BypassView): Problem => ({
  severity: "warning",
  ...(target === NODE_TARGET ? {} : { object: `Pod ${target}` }),
  reason: `emergency bypass until ${until}: ${reason}`,
  effect:
    target === NODE_TARGET
      ? "no policy drops anything on this node, what would be denied is reported"
      : "its policies drop nothing, what they would deny is reported",
  topic: "bypass",
});

interface BypassRequest {
  readonly target: string;
  readonly seconds: number;
  readonly reason: string;
}

const REQUEST = z.object({
  target: z.string().regex(/^(?:node|[a-z0-9.-]{1,253}\/[a-z0-9.-]{1,253})$/),
  seconds: z.int().min(1).max(BYPASS_SECONDS_MAX),
  reason: z.string().trim().min(1).max(REASON_CHARACTERS_MAX),
});

/** @throws RequestError */
function requestIn(body: string): BypassRequest {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw new RequestError("the body is not JSON");
  }
  const found = REQUEST.safeParse(value);
  if (found.success) return found.data;
  const [issue] = found.error.issues;
  throw new RequestError(`${issue?.path.join(".") ?? "body"}: ${issue?.message ?? "malformed"}`);
}
