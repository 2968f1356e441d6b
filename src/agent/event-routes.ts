// What can be asked of the agent about events: the latest, and those that come.

import { type EventHub, REMEMBERED_MAX } from "../observe/packet-event-hub.ts";
import { LineStream, RequestError, type Route } from "../observe/socket-routes.ts";

/** Each is a connection of the socket, which has room for few. */
const FOLLOWERS_MAX = 8;

/** `wantFlows` is told whether anybody wants new flows too. */
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
