// Metrics and probes over HTTP: small pages, connection limits (a slow, silent or greedy client occupies one connection
// for seconds), and a listener that retries while its address is in use.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { pause } from "../base/scheduler.ts";
import { limitConnections } from "./connection-limits.ts";

/** Where to listen. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export interface Page {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

export interface PageServer {
  /** The port in use, also if 0 was configured. */
  readonly port: number;
  /** Number of connections refused since the start. */
  refused(): number;
  close(): Promise<void>;
}

export interface PagesOptions {
  readonly at: Endpoint;
  /** Purpose of the listener, for example "metrics". */
  readonly purpose: string;
  /** By path. */
  readonly pages: Readonly<Record<string, () => Page | Promise<Page>>>;
}

/**
 * Loopback is trusted: the node's own kubelet and Prometheus. A pod whose network reaches the listener has at
 * most `perPeer` of the connections, and never blocks these.
 */
const CONNECTIONS = { perPeer: 8, perTrustedPeer: 32, total: 128 } as const;
const HEADER_BYTES_MAX = 8_192;
/** For the whole of a request, and for its headers. */
const REQUEST_MS = 5_000;
/** From a request to the last byte of its answer: a client that does not read is disconnected. */
const ANSWER_MS = 30_000;

/** @throws OperationError if it cannot listen there ("EADDRINUSE", "EADDRNOTAVAIL", "EACCES") */
export async function servePages({ at, purpose, pages }: PagesOptions): Promise<PageServer> {
  const server = createServer({
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: REQUEST_MS,
    requestTimeout: REQUEST_MS,
    connectionsCheckingInterval: REQUEST_MS / 5,
  });
  const connections = limitConnections(server, {
    limits: CONNECTIONS,
    peerOf: addressOf,
    isTrusted: isLoopback,
    refusal: (reason) => rawAnswer(503, `${reason}\n`),
  });
  const answering = new WeakSet<Socket>();
  server.on("request", (request, response) => {
    // The next request of a pipeline, before the last one is answered: answers would pile up.
    if (answering.has(request.socket)) {
      request.socket.destroy();
      return;
    }
    answering.add(request.socket);
    const late = setTimeout(() => request.socket.destroy(), ANSWER_MS);
    response.once("close", () => {
      clearTimeout(late);
      answering.delete(request.socket);
    });
    void answer(pages, request, response);
  });
  await listen(server, at, purpose);
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : at.port,
    refused: connections.refused,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** IPv4 addresses of a dual-stack socket have the form ::ffff:10.0.0.1. */
const addressOf = ({ remoteAddress }: Socket): string | undefined => remoteAddress?.replace(/^::ffff:/, "");

const isLoopback = (address: string): boolean => address === "::1" || address.startsWith("127.");

const rawAnswer = (status: number, body: string): string =>
  `HTTP/1.1 ${status} Refused\r\ncontent-type: text/plain; charset=utf-8\r\n` +
  `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`;

function listen(server: Server, { host, port }: Endpoint, purpose: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (error: Error): void => {
      const code = codeOf(error);
      reject(
        new OperationError(messageOf(error), {
          operation: `listen for ${purpose} at`,
          object: `${host.includes(":") ? `[${host}]` : host}:${port}`,
          ...(code === undefined ? {} : { code }),
          cause: error,
        }),
      );
    };
    server.once("error", refuse);
    server.listen(port, host, () => {
      server.off("error", refuse);
      resolve();
    });
  });
}

async function answer(
  pages: PagesOptions["pages"],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { status, type, body } = await pageFor(pages, request);
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) });
  response.end(request.method === "HEAD" ? undefined : body);
}

async function pageFor(pages: PagesOptions["pages"], request: IncomingMessage): Promise<Page> {
  if (request.method !== "GET" && request.method !== "HEAD")
    return plainPage(405, "only GET and HEAD are allowed");
  const path = (request.url ?? "").split("?", 1)[0] ?? "";
  const page = Object.hasOwn(pages, path) ? pages[path] : undefined;
  if (page === undefined) return plainPage(404, `there are ${Object.keys(pages).join(", ")}`);
  try {
    return await page();
  } catch (error) {
    return plainPage(500, messageOf(error));
  }
}

export const plainPage = (status: number, text: string): Page => ({
  status,
  type: "text/plain; charset=utf-8",
  body: `${text}\n`,
});

// The probes of the kubelet: /livez, /healthz and /readyz.

/** Each returns a reason, or undefined if there is none. */
export interface Probes {
  /** Why the agent is not live. */
  dead(): string | undefined;
  /** Why it is not ready. */
  unready(): string | undefined;
}

/** By path. /healthz is the path that older tools use, and is the same as /livez. */
export function probePages(probes: Probes): Readonly<Record<string, () => Page>> {
  const live = () => pageOf(probes.dead());
  return { "/livez": live, "/healthz": live, "/readyz": () => pageOf(probes.unready()) };
}

/** @throws OperationError as servePages() */
export const serveProbes = (at: Endpoint, probes: Probes): Promise<PageServer> =>
  servePages({ at, purpose: "probes", pages: probePages(probes) });

const pageOf = (reason: string | undefined): Page =>
  reason === undefined ? plainPage(200, "ok") : plainPage(503, reason);

// The HTTP listener of metrics: /metrics, and the probes, for agents without a separate listener for these.

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

// A listener that is opened now, or later if its address is in use: enforcement does not wait for it.

const LISTEN_AGAIN_MS = 10_000;

export interface Listener {
  /** Connections refused since the start. */
  refused(): number;
  close(): Promise<void>;
}

/** Listens from now on. A failure is logged once, and retried every ten seconds. */
export function openListener(
  name: string,
  open: () => Promise<PageServer>,
  { host }: Endpoint,
  log: Log,
): Listener {
  const ended = new AbortController();
  let listening: PageServer | undefined;
  const listen = async (): Promise<void> => {
    for (let isFirst = true; !ended.signal.aborted; isFirst = false) {
      try {
        listening = await open();
        log.info(name, { host, port: listening.port });
        return;
      } catch (error) {
        if (isFirst) log.error(messageOf(error));
        await pause(LISTEN_AGAIN_MS, ended.signal);
      }
    }
  };
  const opening = listen();
  return {
    refused: () => listening?.refused() ?? 0,
    async close() {
      ended.abort();
      await opening;
      await listening?.close();
    },
  };
}
