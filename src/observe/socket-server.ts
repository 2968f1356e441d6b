// The agent's end of its Unix socket: who may connect, limits on requests, and takeover from an earlier
// agent.

import { chmodSync, chownSync, lstatSync, mkdirSync, type Stats, unlinkSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { dirname } from "node:path";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";
import { API_VERSION, type StatusView } from "./api-views.ts";
import { type ConnectionLimits, limitConnections, type PeerOptions } from "./connection-limits.ts";
import { ask } from "./socket-client.ts";
import {
  answerTo,
  type LineStream,
  type Route,
  type Routes,
  tableOf,
  type Views,
  viewRoutes,
} from "./socket-routes.ts";

export type { Route, Views } from "./socket-routes.ts";

/**
 * Enough for every command of some operators. Members of the group share connections by user, and root always
 * gets an answer: root alone may have more than the others leave.
 */
const CONNECTIONS: ConnectionLimits = { perPeer: 16, perTrustedPeer: 48, total: 64 };

export interface ServeOptions {
  /** Routes besides the views. */
  readonly routes?: readonly Route[];
  /** Number of a group whose members may connect too (mode 0660); without it, root alone may. */
  readonly group?: number;
  /** Name of the client, as in "uid 1000", so that each user has a share of the connections. */
  readonly peerOf?: PeerOptions["peerOf"];
}

export interface LocalApi {
  /** Connections refused since the start, or closed to free a slot. */
  refused(): number;
  /** Stops answering and removes the socket; may be called twice. */
  close(): Promise<void>;
}

/** A request has a line, a few headers and usually no body. */
const LIMITS = {
  headerBytes: 4_096,
  requestMs: 2_000,
  pathBytes: 107,
  unreadBytes: 1_000_000,
} as const;

/**
 * Listens at `socketPath`, for root alone (mode 0600) or a group with it (0660); creates its directory if
 * missing. A socket file left by a dead agent is replaced. @throws OperationError: "EADDRINUSE" if another
 * agent answers there, "EEXIST" if the path is not a socket
 */
export function serve(
  socketPath: string,
  views: Views,
  { routes = [], ...options }: ServeOptions = {},
): Promise<LocalApi> {
  return serveRoutes(socketPath, [...viewRoutes(views), ...routes], options);
}

export interface RoutesOptions extends Omit<ServeOptions, "routes"> {
  readonly limits?: ConnectionLimits;
}

const ROOT = "uid 0";

/** Like `serve`, with any routes. */
export async function serveRoutes(
  socketPath: string,
  routes: readonly Route[],
  { group, peerOf = () => ROOT, limits = CONNECTIONS }: RoutesOptions = {},
): Promise<LocalApi> {
  if (Buffer.byteLength(socketPath) > LIMITS.pathBytes) {
    throw failure(socketPath, `a socket's path has at most ${LIMITS.pathBytes} bytes`, "ENAMETOOLONG");
  }
  try {
    mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 });
  } catch (thrown) {
    throw failure(socketPath, messageOf(thrown), codeOf(thrown), thrown);
  }
  await removeStale(socketPath);
  const server = createApi(tableOf(routes), (socket) => peerOf(socket) === ROOT);
  const connections = limitConnections(server, {
    limits,
    peerOf,
    isTrusted: (peer) => peer === ROOT,
    refusal: (reason) => rawRefusal("503 Service Unavailable", reason),
  });
  await listen(server, socketPath);
  try {
    if (group !== undefined) admit(socketPath, group);
  } catch (thrown) {
    server.close();
    throw thrown;
  }
  let closed: Promise<void> | undefined;
  return {
    refused: connections.refused,
    close() {
      closed ??= new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      return closed;
    },
  };
}

/** Not earlier: until here the socket was for its owner alone. */
function admit(socketPath: string, group: number): void {
  try {
    chownSync(socketPath, process.getuid?.() ?? 0, group);
    chmodSync(socketPath, 0o660);
  } catch (thrown) {
    throw failure(socketPath, messageOf(thrown), codeOf(thrown), thrown);
  }
}

function createApi(routes: Routes, isRoot: (socket: Socket) => boolean): Server {
  const server = createServer({
    maxHeaderSize: LIMITS.headerBytes,
    headersTimeout: LIMITS.requestMs,
    requestTimeout: LIMITS.requestMs,
    connectionsCheckingInterval: LIMITS.requestMs / 2,
  });
  const respond = (request: IncomingMessage, response: ServerResponse): void => {
    void answerTo(request, routes, isRoot).then(({ status, body, headers, stream }) => {
      if (stream !== undefined) {
        writeLines(stream, response);
        return;
      }
      // One request for each connection: anything after it (such as a body that was refused) is not read.
      response.writeHead(status, {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(body),
        connection: "close",
        ...headers,
      });
      response.end(body);
    });
  };
  server.on("request", respond);
  // Without this, Node would send "100 Continue" before the request is checked.
  server.on("checkContinue", respond);
  server.on("clientError", refuseMalformed);
  return server;
}

/** Until the client disconnects. A client that reads too slowly misses lines, and gets their number. */
function writeLines(stream: LineStream, response: ServerResponse): void {
  response.writeHead(200, { "content-type": "application/x-ndjson", connection: "close" });
  // At once, so that the client gets the connection confirmed even if no event occurs.
  response.flushHeaders();
  let missed = 0;
  const end = stream.open((line) => {
    if (response.writableLength > LIMITS.unreadBytes) {
      missed += 1;
      return;
    }
    if (missed > 0) response.write(`${JSON.stringify({ missed })}\n`);
    missed = 0;
    response.write(line);
  });
  if (response.destroyed) end();
  else response.once("close", end);
}

/** Requests that are not HTTP, too long, or too slow. */
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
  socket.end(rawRefusal(status, reason));
}

function rawRefusal(status: string, reason: string): string {
  const body = `${JSON.stringify({ error: reason })}\n`;
  const head = `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close`;
  return `HTTP/1.1 ${status}\r\n${head}\r\n\r\n${body}`;
}

function listen(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (error: Error): void =>
      reject(failure(socketPath, messageOf(error), codeOf(error), error));
    server.once("error", refuse);
    // This very call creates the file, which must at no moment be open to anyone but its owner.
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

/**
 * Removes the socket that a dead agent left, if there is one. @throws OperationError if it is something else
 */
async function removeStale(socketPath: string): Promise<void> {
  const before = statOf(socketPath);
  if (before === undefined) return;
  if (!before.isSocket()) throw failure(socketPath, "exists and is not a socket", "EEXIST");
  if (await answers(socketPath)) {
    const pid = await pidOf(socketPath);
    throw failure(socketPath, `another agent runs${pid === undefined ? "" : ` (pid ${pid})`}`, "EADDRINUSE");
  }
  // Two agents that start at once find the same stale file; the second must not remove the first one's new
  // socket.
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

/** Whether a process listens there: only a refused connection proves that none does. */
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
    return (await ask<Partial<StatusView>>(socketPath, `/${API_VERSION}/status`, { timeoutMs: 1_000 }))?.pid;
  } catch {
    // It listens, which is all that counts; its pid would only have been a help.
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
