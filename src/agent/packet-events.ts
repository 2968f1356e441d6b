// Packet events in the agent: from the ring buffer, with names of both ends, to the hub, the file and the socket.

import type { Direction } from "../base/direction.ts";
import { messageOf } from "../base/errors.ts";
import { addressOf } from "../base/ip.ts";
import type { Log } from "../base/log.ts";
import { type EventTotals, openEvents, readEventTotals } from "../datapath/packet-event-ring.ts";
import { type AddressV6, type Event, REASON_NAMES, Reason } from "../gen/layout.ts";
import { keyOf } from "../model/cluster.ts";
import { hasPorts, isIcmp, protocolText } from "../model/protocol.ts";
import type { EventVerdict } from "../observe/filter-choices.ts";
import { type EventEnd, type EventView, whyText } from "../observe/packet-event.ts";
import {
  type EventFileOptions,
  type EventHub,
  openEventFile,
  openEventHub,
  REMEMBERED_MAX,
} from "../observe/packet-event-hub.ts";
import { LineStream, RequestError, type Route } from "../observe/socket-routes.ts";
import { localText } from "../policy/local-endpoints.ts";
import type { Kernel } from "./datapath-handle.ts";
import type { InForce } from "./views.ts";

// The agent's handling of packet events: reads them from the programs, adds names from the state of their
// generation, and passes them on.

export interface AgentEvents {
  readonly routes: readonly Route[];
  /** Once the kernel is open. May be called once. */
  start(kernel: Kernel): void;
  /** The state in force from now on: events of its generation wait for it. */
  settle(generation: number, force: InForce | undefined): void;
  totals(): Promise<EventTotals & { readonly unwritten: number }>;
  close(): void;
}

/** Past states kept to name events that were under way. */
const STATES_MAX = 4;
const NOTHING_WRITTEN: EventTotals = { written: 0n, dropsWritten: 0n, lost: 0n };
/** Events that wait for the state of their generation, and how long. */
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
        // If a reconciliation takes longer than this, missing names in events are the smaller problem.
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

/** The programs' clock and process.hrtime are the same (CLOCK_MONOTONIC). */
function wallTime(ns: bigint): Date {
  return new Date(Date.now() - Number((process.hrtime.bigint() - ns) / 1_000_000n));
}

// Events with names: the programs write numbers, which the state that was in force then translates.

/** Reasons that occur only if policies isolate. */
const BY_POLICY: ReadonlySet<number> = new Set([
  Reason.POLICY,
  Reason.AUDIT,
  Reason.DENIED,
  Reason.REVOKED,
  Reason.UNTRACKED,
  Reason.MALFORMED,
  Reason.FRAGMENT,
  Reason.UNSUPPORTED,
]);

/** Converts events into views by one state. */
export type Namer = (event: Event, time: Date) => EventView;

const WORD_BITS = 64n;
/** An IPv4 address is in the first bytes of the low half. */
const V4_SHIFT = 32n;

/** Created once for each state, since it walks all endpoints. */
export function namerOf(force: InForce | undefined): Namer {
  const sides = new Map(force?.compiled.meaning.sides.map((entry) => [entry.local.ifindex, entry]));
  const podAt = (address: string): string | undefined =>
    force?.compiled.meaning.classified.addresses.get(address)?.pod;
  return (event, time) => {
    const entry = sides.get(event.ifindex);
    const name = force?.interfaces.get(event.ifindex)?.name;
    const opener = directionOf(event.opener);
    const policies = BY_POLICY.has(event.reason) ? (entry?.sides[opener]?.policies ?? []).map(keyOf) : [];
    const isRead = event.protocol !== 0;
    const end = (address: AddressV6, port: number): EventEnd => {
      const text = addressText(address, event.family);
      const pod = text === undefined ? undefined : podAt(text);
      return {
        ...(text === undefined ? {} : { address: text }),
        ...(hasPorts(event.protocol) ? { port } : {}),
        ...(pod === undefined ? {} : { pod }),
      };
    };
    const view = {
      time: time.toISOString(),
      verdict: verdictOf(event.reason),
      reason: REASON_NAMES[event.reason] ?? String(event.reason),
      direction: directionOf(event.direction),
      ...(entry === undefined ? {} : { endpoint: localText(entry.local) }),
      ...(name === undefined ? {} : { interface: name }),
      ifindex: event.ifindex,
      from: end(event.source, event.sourcePort),
      to: isRead ? end(event.destination, event.destinationPort) : {},
      ...(isRead ? { protocol: protocolText(event.protocol) } : {}),
      ...(isIcmp(event.protocol) ? { icmp: { type: event.icmpType, code: event.icmpCode } } : {}),
      bytes: event.bytes,
      generation: event.generation,
      identity: event.identity,
      opener,
      policies: [...new Set(policies)],
    } as const satisfies Omit<EventView, "text">;
    return { ...view, text: whyText(view) };
  };
}

function verdictOf(reason: Reason): EventVerdict {
  if (reason === Reason.AUDIT) return "audit";
  return reason >= Reason.DROPS ? "dropped" : "passed";
}

const directionOf = (number: number): Direction => (number === 0 ? "ingress" : "egress");

function addressText({ high, low }: AddressV6, family: number): string | undefined {
  switch (family) {
    case 1:
      return addressOf(4, low >> V4_SHIFT).text;
    case 2:
      return addressOf(6, (high << WORD_BITS) | low).text;
    default:
      return undefined;
  }
}

// The socket's routes for events: the latest, and a stream of new ones.

/** Each is a connection of the socket, which allows only a few. */
const FOLLOWERS_MAX = 8;

/** `wantFlows` is called with whether any client has requested new flows too. */
export function eventRoutes(hub: EventHub, wantFlows: (wanted: boolean) => void): Route[] {
  let asking = 0;
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
      path: "events/follow",
      parameters: ["last", "flows"],
      answer(asked) {
        const last = lastIn(asked);
        const flows = asked.get("flows") === "true";
        if (hub.followers() >= FOLLOWERS_MAX)
          throw new RequestError(`${FOLLOWERS_MAX} follow already, and no more may`);
        return new LineStream((write) => {
          for (const event of hub.last(last)) write(`${JSON.stringify(event)}\n`);
          const end = hub.follow(write);
          if (flows && asking++ === 0) wantFlows(true);
          return () => {
            end();
            if (flows && --asking === 0) wantFlows(false);
          };
        });
      },
    },
  ];
}
