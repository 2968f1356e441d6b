// The agent's part in events: takes them from the programs, names them by the state of their generation, and passes them on.

import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { type EventTotals, openEvents, readEventTotals } from "../datapath/packet-event-ring.ts";
import type { Event } from "../gen/layout.ts";
import { type EventFileOptions, openEventFile } from "../observe/events/file.ts";
import { openEventHub } from "../observe/packet-event-hub.ts";
import type { Route } from "../observe/socket-routes.ts";
import type { Kernel } from "./datapath-handle.ts";
import { eventRoutes } from "./event-routes.ts";
import { type Namer, namerOf } from "./event-views.ts";
import type { InForce } from "./views.ts";

export interface AgentEvents {
  readonly routes: readonly Route[];
  /** Once the kernel is open. May be called once. */
  start(kernel: Kernel): void;
  /** What is in force from now on: events of its generation wait for it. */
  settle(generation: number, force: InForce | undefined): void;
  totals(): Promise<EventTotals & { readonly unwritten: number }>;
  close(): void;
}

/** States that events which were under way may still be named by. */
const STATES_MAX = 4;
const NOTHING_WRITTEN: EventTotals = { written: 0n, dropsWritten: 0n, lost: 0n };
/** Events that wait for the state of their generation; and how long. */
const WAITING_MAX = 1_000;
const WAIT_MS = 5_000;

export function openAgentEvents(file: EventFileOptions | undefined, log: Log): AgentEvents {
  const hub = openEventHub(file === undefined ? undefined : openEventFile(file), (error) =>
    log.error("events cannot be written to their file", { reason: messageOf(error) }),
  );
  const states = new Map<number, Namer>();
  let newest = 0;
  let waiting: Event[] = [];
  let patience: NodeJS.Timeout | undefined;
  let stream: ReturnType<typeof openEvents> | undefined;
  let kernel: Kernel | undefined;

  const namerFor = (generation: number): Namer =>
    states.get(generation) ?? states.get(newest) ?? namerOf(undefined);
  const publish = (events: readonly Event[]): void =>
    hub.publish(events.map((event) => namerFor(event.generation)(event, wallTime(event.time))));
  function release(all: boolean): void {
    const ready = all ? waiting : waiting.filter(({ generation }) => generation <= newest);
    waiting = all ? [] : waiting.filter(({ generation }) => generation > newest);
    if (waiting.length === 0) {
      clearTimeout(patience);
      patience = undefined;
    }
    if (ready.length > 0) publish(ready);
  }
  return {
    routes: eventRoutes(hub, (wanted) => stream?.wantFlows(wanted)),
    start(opened) {
      kernel = opened;
      stream = openEvents(opened.datapath, (events) => {
        waiting.push(...events);
        // A round that takes longer than this has other troubles than the names of its events.
        patience ??= setTimeout(() => release(true), WAIT_MS).unref();
        release(waiting.length > WAITING_MAX);
      });
    },
    settle(generation, force) {
      if (force === undefined) return;
      states.delete(generation);
      states.set(generation, namerOf(force));
      for (const old of [...states.keys()].slice(0, -STATES_MAX)) states.delete(old);
      newest = generation;
      release(false);
    },
    async totals() {
      const totals = kernel === undefined ? NOTHING_WRITTEN : await readEventTotals(kernel.datapath);
      return { ...totals, unwritten: hub.lost() };
    },
    close() {
      clearTimeout(patience);
      stream?.wantFlows(false);
      stream?.close();
      stream = undefined;
    },
  };
}

/** The programs' clock and process.hrtime are one (CLOCK_MONOTONIC). */
function wallTime(ns: bigint): Date {
  return new Date(Date.now() - Number((process.hrtime.bigint() - ns) / 1_000_000n));
}
