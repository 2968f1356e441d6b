// The agent's end of its Unix socket: HTTP and JSON, four paths to read, nothing to change.

import { lstatSync, mkdirSync, type Stats, unlinkSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { dirname } from "node:path";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";
import { ask } from "./client.ts";
import { API_VERSION, type EndpointView, type NamesView, type PolicyView, type StatusView } from "./view.ts";

/** What the agent can be asked, each read when it is asked. */
export interface Views {
  status(): StatusView;
  endpoints(): readonly EndpointView[];
  policies(): readonly PolicyView[];
  names(): NamesView;
}

export interface LocalApi {
  /** Stops answering and removes the socket; may be called twice. */
  close(): Promise<void>;
}

/** Enough for every command of one operator; a request has a line, a few headers and no body. */
const LIMITS = { connections: 32, headerBytes: 4_096, requestMs: 2_000, pathBytes: 107 } as const;

/**
 * Listens at `socketPath`, for root alone (mode 0600); its directory is made where it is missing. A socket file that a
 * dead agent left is replaced. @throws OperationError: "EADDRINUSE" where another agent answers there, "EEXIST" where
 * something that is no socket stands there
 */
export async function serve(socketPath: string, views: Views): Promise<LocalApi> {
  if (Buffer.byteLength(socketPath) > LIMITS.pathBytes) {
    throw failure(socketPath, `a socket's path has at most ${LIMITS.pathBytes} bytes`, "ENAMETOOLONG");
  }
  try {
    mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 });
  } catch (thrown) {
    throw failure(socketPath, messageOf(thrown), codeOf(thrown), thrown);
  }
  await removeStale(socketPath);
  const server = createApi(views);
  await listen(server, socketPath);
  let closed: Promise<void> | undefined;
  return {
    close() {
      closed ??= new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      return closed;
    },
  };
}

function createApi(views: Views): Server {
  const paths: ReadonlyMap<string, () => unknown> = new Map<string, () => unknown>([
    [`/${API_VERSION}/status`, views.status],
    [`/${API_VERSION}/endpoints`, views.endpoints],
    [`/${API_VERSION}/policies`, views.policies],
    [`/${API_VERSION}/names`, views.names],
  ]);
  const server = createServer({
    maxHeaderSize: LIMITS.headerBytes,
    headersTimeout: LIMITS.requestMs,
    requestTimeout: LIMITS.requestMs,
    connectionsCheckingInterval: LIMITS.requestMs / 2,
  });
  server.maxConnections = LIMITS.connections;
  const answerTo = (request: IncomingMessage, response: ServerResponse): void => {
    const { status, value, headers } = handle(request, paths, views);
    const body = Buffer.from(`${JSON.stringify(value)}\n`);
    // One question for each connection: what follows on it (a body that was refused, for one) is not read.
    response.writeHead(status, {
      "content-type": "application/json",
      "content-length": body.length,
      connection: "close",
      ...headers,
    });
    response.end(request.method === "HEAD" ? undefined : body);
  };
  server.on("request", answerTo);
  // Without this, Node would ask for the body before the request is looked at.
  server.on("checkContinue", answerTo);
  server.on("clientError", refuseMalformed);
  return server;
}

interface Answer {
  readonly status: number;
  readonly value: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

const refusal = (status: number, error: string, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  value: { error },
  headers,
});

function handle(request: IncomingMessage, paths: ReadonlyMap<string, () => unknown>, views: Views): Answer {
  if (request.method !== "GET")
    return refusal(405, `${request.method} is not allowed, only GET`, { allow: "GET" });
  const { "content-length": length, "transfer-encoding": encoding } = request.headers;
  if (encoding !== undefined || (length !== undefined && length !== "0"))
    return refusal(413, "no body is allowed");
  const view = paths.get(request.url ?? "");
  if (view === undefined) {
    return refusal(404, `no such path: ${request.url}; there are ${[...paths.keys()].join(", ")}`);
  }
  try {
    return { status: 200, value: view.call(views) };
  } catch (thrown) {
    return refusal(500, messageOf(thrown));
  }
}

/** What is not HTTP, or too long, or too slow. */
function refuseMalformed(error: Error, socket: Socket): void {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const [status, reason] =
    codeOf(error) === "HPE_HEADER_OVERFLOW"
      ? ["431 Request Header Fields Too Large", `more than ${LIMITS.headerBytes} bytes of headers`]
      : codeOf(error) === "ERR_HTTP_REQUEST_TIMEOUT"
        ? ["408 Request Timeout", `no whole request within ${LIMITS.requestMs} ms`]
        : ["400 Bad Request", "not an HTTP request"];
  const body = `${JSON.stringify({ error: reason })}\n`;
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n` +
      `connection: close\r\n\r\n${body}`,
  );
}

function listen(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (error: Error): void =>
      reject(failure(socketPath, messageOf(error), codeOf(error), error));
    server.once("error", refuse);
    // The file is made in this very call, and must at no moment be open to others than its owner.
    const mask = process.umask(0o177);
    try {
      server.listen(socketPath, () => {
        server.off("error", refuse);
        resolve();
      });
    } finally {
      process.umask(mask);
    }
  });
}

/** Removes the socket that a dead agent left, if there is one. @throws OperationError where it is not that */
async function removeStale(socketPath: string): Promise<void> {
  const before = statOf(socketPath);
  if (before === undefined) return;
  if (!before.isSocket()) throw failure(socketPath, "there is something that is no socket", "EEXIST");
  if (await answers(socketPath)) {
    const pid = await pidOf(socketPath);
    throw failure(socketPath, `another agent runs${pid === undefined ? "" : ` (pid ${pid})`}`, "EADDRINUSE");
  }
  // Two agents that start at once find the same stale file; whoever comes second must not remove the first one's.
  const now = statOf(socketPath);
  if (now !== undefined && now.ino === before.ino && now.ctimeMs === before.ctimeMs) unlinkSync(socketPath);
}

function statOf(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (thrown) {
    throw failure(path, messageOf(thrown), codeOf(thrown), thrown);
  }
}

/** Whether a process listens there: only a refusal says that none does. */
function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socketPath);
    const end = (alive: boolean): void => {
      probe.destroy();
      resolve(alive);
    };
    probe.once("connect", () => end(true));
    probe.once("error", (error) => end(!["ECONNREFUSED", "ENOENT"].includes(codeOf(error) ?? "")));
  });
}

async function pidOf(socketPath: string): Promise<number | undefined> {
  try {
    return (await ask<Partial<StatusView>>(socketPath, `/${API_VERSION}/status`, 1_000))?.pid;
  } catch {
    // It listens, which is all that counts; who it is would only have been a help.
    return undefined;
  }
}

function failure(
  socketPath: string,
  reason: string,
  code: string | undefined,
  cause?: unknown,
): OperationError {
  return new OperationError(reason, {
    operation: "listen at",
    object: socketPath,
    ...(code === undefined ? {} : { code }),
    cause,
  });
}
