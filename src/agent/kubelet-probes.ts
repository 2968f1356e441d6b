// The answers to the kubelet's probes, and a listener for these alone.

import type { Log } from "../base/log.ts";
import type { StatusView } from "../observe/api-views.ts";
import {
  type Endpoint,
  type Listener,
  openListener,
  type Probes,
  serveProbes,
} from "../observe/http-pages.ts";
import type { InForce } from "./agent-views.ts";

export interface Probed {
  readonly status: () => StatusView;
  readonly force: () => InForce | undefined;
}

/** A listener of its own: a client that holds or floods the metrics listener cannot block a probe. */
export const openProbes = (probed: Probed, at: Endpoint, log: Log): Listener =>
  openListener("probes", () => serveProbes(at, probesOf(probed)), at, log);

export const probesOf = (probed: Probed): Probes => ({
  // An answer proves that the event loop runs.
  dead: () => undefined,
  unready: () => unreadyReason(probed),
});

function unreadyReason({ status, force }: Probed): string | undefined {
  const { generation, following } = status();
  const unlisted = following?.kinds.filter(({ listedAt }) => listedAt === undefined) ?? [];
  if (force() === undefined) {
    const awaited = unlisted.map(({ kind }) => kind).join(", ");
    return `no state has been applied yet; ${awaited === "" ? "weir status says why" : `not listed yet: ${awaited}`}`;
  }
  // The time of the last contact with the API server does not count: the state in force stays valid.
  const { wanted, applied } = generation;
  return wanted === applied ? undefined : `generation ${wanted} is desired, ${applied} is active`;
}
