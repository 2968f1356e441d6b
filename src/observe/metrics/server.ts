// The HTTP listener of metrics and probes: /metrics, /livez and /readyz.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { codeOf, messageOf, OperationError } from "../../base/errors.ts";

/** Where to listen. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export interface Pages {
  readonly contentType: string;
  metrics(): Promise<string>;
  /** Why the agent does not live, or is not ready; undefined where it does, or is. */
  dead(): string | undefined;
  unready(): string | undefined;
}

export interface MetricsServer {
  /** The port in use, also where 0 was asked for. */
  readonly port: number;
  close(): Promise<void>;
}

const LIMITS = { connections: 32, headerBytes: 8_192, requestMs: 5_000 } as const;

/** @throws OperationError where nobody can listen there ("EADDRINUSE", "EADDRNOTAVAIL", "EACCES") */
export async function serveMetrics(at: Endpoint, pages: Pages): Promise<MetricsServer> {
  const server = createServer({
    maxHeaderSize: LIMITS.headerBytes,
    headersTimeout: LIMITS.requestMs,
    requestTimeout: LIMITS.requestMs,
  });
  server.maxConnections = LIMITS.connections;
  server.on("request", (request, response) => void answer(pages, request, response));
  await listen(server, at);
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : at.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, { host, port }: Endpoint): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (error: Error): void => {
      const code = codeOf(error);
      reject(
        new OperationError(messageOf(error), {
          operation: "listen for metrics at",
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

async function answer(pages: Pages, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { status, type, body } = await pageFor(pages, request);
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) });
  response.end(request.method === "HEAD" ? undefined : body);
}

interface Page {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

async function pageFor(pages: Pages, request: IncomingMessage): Promise<Page> {
  if (request.method !== "GET" && request.method !== "HEAD")
    return plain(405, "only GET and HEAD are allowed");
  const path = (request.url ?? "").split("?", 1)[0];
  switch (path) {
    case "/metrics":
      try {
        return { status: 200, type: pages.contentType, body: await pages.metrics() };
      } catch (error) {
        return plain(500, messageOf(error));
      }
    case "/livez":
      return probe(pages.dead());
    case "/readyz":
      return probe(pages.unready());
    default:
      return plain(404, "there are /metrics, /livez and /readyz");
  }
}

const probe = (reason: string | undefined): Page =>
  reason === undefined ? plain(200, "ok") : plain(503, reason);

const plain = (status: number, text: string): Page => ({
  status,
  type: "text/plain; charset=utf-8",
  body: `${text}\n`,
});
