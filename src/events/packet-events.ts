// Packet events in the agent, from the ring buffer to the subscribers: each gets names from the state of its
// generation, and goes to the hub, which serves the socket's routes and the file.

import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { namesOfAddress } from "../datapath/domain-names.ts";
import type { Datapath } from "../datapath/program-loader.ts";
import { type KeyOf, type Table, tableOf, type ValueOf } from "../datapath/typed-maps.ts";
import type { Event } from "../gen/layout.ts";
import type { LeftOutView } from "../observe/api-views.ts";
import { LineStream, RequestError, type Route } from "../observe/socket-routes.ts";
import type { EventView } from "./packet-event.ts";
import {
  type EventFileOptions,
  type EventHub,
  openEventFile,
  openEventHub,
  REMEMBERED_MAX,
} from "./packet-event-hub.ts";
import { type Namer, type NamingState, namerOf } from "./packet-event-names.ts";
import { type EventTotals, openEvents, readEventTotals, readLeftOut } from "./packet-event-ring.ts";

export interface AgentEvents {
  readonly routes: readonly Route[];
  /** Once the programs are loaded. May be called once. */
  start(datapath: Datapath): void;
  /** The state in force from now on: events of its generation wait for it. */
  settle(generation: number, force: NamingState | undefined): void;
  totals(): Promise<EventTotals & { readonly unwritten: number }>;
  close(): void;
}

/** Past states kept to name events that were under way, and how long: each has all policies and tables of its time. */
const STATES_MAX = 16;
const PAST_MS = 1_000;
const NOTHING_WRITTEN: EventTotals = { map: 0, written: 0n, dropsWritten: 0n, lost: 0n };
/** Events that wait for the state of their generation, and how long. */
const WAITING_MAX = 1_000;
const WAIT_MS = 5_000;

/** `onEvents` gets all events, those of new flows too; the subscribers get these while one of them follows them. */
export function openAgentEvents(
  file: EventFileOptions | undefined,
  log: Log,
  onEvents: (events: readonly EventView[]) => void,
): AgentEvents {
  const hub = openEventHub(file === undefined ? undefined : openEventFile(file), (error) =>
    log.error("events cannot be written to their file", { reason: messageOf(error) }),
  );
  const states = new Map<number, Namer>();
  let newest = 0;
  let waiting: Event[] = [];
  let timeout: NodeJS.Timeout | undefined;
  let stream: ReturnType<typeof openEvents> | undefined;
  let datapath: Datapath | undefined;
  let names: Table<KeyOf<"names">, ValueOf<"names">> | undefined;

  const namerFor = (generation: number): Namer =>
    states.get(generation) ?? states.get(newest) ?? namerOf(undefined);
  let wantsFlows = false;
  function publish(events: readonly Event[]): void {
    const views = events.map((event) => namerFor(event.generation)(event, wallTime(event.time)));
    onEvents(views);
    hub.publish(wantsFlows ? views : views.filter(({ verdict }) => verdict !== "passed"));
  }
  function release(all: boolean): void {
    const ready = all ? waiting : waiting.filter(({ generation }) => generation <= newest);
    waiting = all ? [] : waiting.filter(({ generation }) => generation > newest);
    if (waiting.length === 0) {
      clearTimeout(timeout);
      timeout = undefined;
    }
    if (ready.length > 0) publish(ready);
  }
  return {
    routes: eventRoutes(hub, {
      wantFlows: (wanted) => {
        wantsFlows = wanted;
      },
      leftOut: async () => (datapath === undefined ? 0 : readLeftOut(datapath)),
    }),
    start(opened) {
      datapath = opened;
      names = tableOf("names", opened.map("names"));
      stream = openEvents(opened, (events) => {
        waiting.push(...events);
        // If a reconciliation takes longer than this, missing names in events are the smaller problem.
        timeout ??= setTimeout(() => release(true), WAIT_MS).unref();
        release(waiting.length > WAITING_MAX);
      });
      stream.wantFlows(true);
    },
    settle(generation, force) {
      if (force === undefined) return;
      states.delete(generation);
      states.set(
        generation,
        namerOf(force, (asked) => (names === undefined ? [] : namesOfAddress({ names }, asked))),
      );
      for (const old of [...states.keys()].slice(0, -STATES_MAX)) states.delete(old);
      const past = newest;
      if (past !== generation) setTimeout(() => past !== newest && states.delete(past), PAST_MS).unref();
      newest = generation;
      release(false);
    },
    async totals() {
      const totals = datapath === undefined ? NOTHING_WRITTEN : await readEventTotals(datapath);
      return { ...totals, unwritten: hub.lost() };
    },
    close() {
      clearTimeout(timeout);
      stream?.wantFlows(false);
      stream?.close();
      stream = undefined;
    },
  };
}

/** The programs' clock and process.hrtime are the same (CLOCK_MONOTONIC). */
function wallTime(ns: bigint): Date {
  return new Date(Date.now() - Number((process.hrtime.bigint() - ns) / 1_000_000n));
}

/** Each is a connection of the socket, which allows only a few. */
const FOLLOWERS_MAX = 8;

export interface EventRouteOptions {
  /** Called with whether any client has requested new flows too. */
  readonly wantFlows: (wanted: boolean) => void;
  /** Dropped packets without an event so far. */
  readonly leftOut: () => Promise<number>;
}

/** The socket's routes for events: the latest, a stream of new ones, and how many there are not. */
export function eventRoutes(hub: EventHub, { wantFlows, leftOut }: EventRouteOptions): Route[] {
  let flowClients = 0;
  const lastIn = (parameters: URLSearchParams): number => {
    const text = parameters.get("last") ?? String(REMEMBERED_MAX);
    const last = Number(text);
    if (!/^\d{1,6}$/.test(text)) throw new RequestError("last: expected a number of events");
    return Math.min(last, REMEMBERED_MAX);
  };
  return [
    { method: "GET", path: "events", parameters: ["last"], answer: (asked) => hub.last(lastIn(asked)) },
    {
      method: "GET",
      path: "events/left-out",
      answer: async (): Promise<LeftOutView> => ({ packets: await leftOut() }),
    },
    {
      method: "GET",
      path: "events/follow",
      parameters: ["last", "flows"],
      answer(asked) {
        const last = lastIn(asked);
        const flows = asked.get("flows") === "true";
        if (hub.followers() >= FOLLOWERS_MAX)
          throw new RequestError(`${FOLLOWERS_MAX} clients follow already, the maximum`);
        return new LineStream((write) => {
          for (const event of hub.last(last)) write(`${JSON.stringify(event)}\n`);
          const end = hub.follow(write);
          if (flows && flowClients++ === 0) wantFlows(true);
          return () => {
            end();
            if (flows && --flowClients === 0) wantFlows(false);
          };
        });
      },
    },
  ];
}
