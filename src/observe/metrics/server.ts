// The HTTP listener of metrics: /metrics, and the probes, for those who have no other listener.

import { type Endpoint, type PageServer, servePages } from "../http-pages.ts";
import { type Probes, probePages } from "../probes.ts";

export interface Pages extends Probes {
  readonly contentType: string;
  metrics(): Promise<string>;
}

/** @throws OperationError as servePages() */
export const serveMetrics = (at: Endpoint, pages: Pages): Promise<PageServer> =>
  servePages({
    at,
    purpose: "metrics",
    pages: {
      "/metrics": async () => ({ status: 200, type: pages.contentType, body: await pages.metrics() }),
      ...probePages(pages),
    },
  });
