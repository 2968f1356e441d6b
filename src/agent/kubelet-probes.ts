// What the kubelet's probes are answered, and the listener that answers nothing else.

import type { Log } from "../base/log.ts";
import type { StatusView } from "../observe/api-views.ts";
import {
  type Endpoint,
  type Listener,
  openListener,
  type Probes,
  serveProbes,
} from "../observe/http-pages.ts";
import type { InForce } from "./views.ts";

export interface Probed {
  readonly status: () => StatusView;
  readonly force: () => InForce | undefined;
}

/** A listener of its own: whoever holds or floods the one of metrics is in no probe's way. */
export const openProbes = (probed: Probed, at: Endpoint, log: Log): Listener =>
  openListener("probes", () => serveProbes(at, probesOf(probed)), at, log);

export const probesOf = (probed: Probed): Probes => ({
  // It answers, so its event loop turns.
  dead: () => undefined,
  unready: () => unreadyReason(probed),
});

function unreadyReason({ status, force }: Probed): string | undefined {
  const { generation, following } = status();
  const unlisted = following?.kinds.filter(({ listedAt }) => listedAt === undefined) ?? [];
  if (force() === undefined) {
    const awaited = unlisted.map(({ kind }) => kind).join(", ");
    return `nothing has been brought into force yet; ${awaited === "" ? "weir status says why" : `not listed yet: ${awaited}`}`;
  }
  // How long ago the API server was heard does not count: what is in force stays right to be in force.
  const { wanted, applied } = generation;
  return wanted === applied ? undefined : `generation ${wanted} is wanted, ${applied} is in force`;
}
