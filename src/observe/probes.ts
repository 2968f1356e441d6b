// The probes of the kubelet: /livez, /healthz and /readyz.

import { type Endpoint, type Page, type PageServer, plainPage, servePages } from "./http-pages.ts";

/** Each gives a reason, or undefined where there is none. */
export interface Probes {
  /** Why the agent does not live. */
  dead(): string | undefined;
  /** Why it is not ready. */
  unready(): string | undefined;
}

/** By path. /healthz is what older tools ask for, and the same as /livez. */
export function probePages(probes: Probes): Readonly<Record<string, () => Page>> {
  const live = () => pageOf(probes.dead());
  return { "/livez": live, "/healthz": live, "/readyz": () => pageOf(probes.unready()) };
}

/** @throws OperationError as servePages() */
export const serveProbes = (at: Endpoint, probes: Probes): Promise<PageServer> =>
  servePages({ at, purpose: "probes", pages: probePages(probes) });

const pageOf = (reason: string | undefined): Page =>
  reason === undefined ? plainPage(200, "ok") : plainPage(503, reason);
