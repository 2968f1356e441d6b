// The listener of `weir ui`, on loopback only. Data require the token, which a browser keeps in the page and sends in a header: neither
// another site (it cannot set the header), nor another user of the machine, nor a name that resolves to 127.0.0.1 gets more than the
// page without data.

import { randomBytes, timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { codeOf, messageOf, OperationError } from "../../base/errors.ts";
import { type PageData, PageQuestionError } from "./page-data.ts";
import type { PageDocument } from "./page-document.ts";

export interface PageServer {
  /** With the token in its fragment, which browsers send nowhere. */
  readonly url: string;
  close(): Promise<void>;
}

const HOST = "127.0.0.1";
const API = "/api/";
const TOKEN_BYTES = 24;
const CONNECTIONS_MAX = 64;
/** For a request's headers and its whole. */
const REQUEST_MS = 5_000;
const HEADER_BYTES_MAX = 8_192;

/** @throws OperationError if it cannot listen there */
export async function servePage(port: number, page: PageDocument, data: PageData): Promise<PageServer> {
  const token = randomBytes(TOKEN_BYTES).toString("base64url");
  const server = createServer({
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: REQUEST_MS,
    requestTimeout: REQUEST_MS,
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.on("request", (request, response) => {
    void answerTo(request, { page, data, token }).then((answer) =>
      send(request, response, answer, page.policy),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) => {
      const code = codeOf(error);
      const context = { operation: "listen at", object: `${HOST}:${port}`, cause: error };
      reject(new OperationError(messageOf(error), { ...context, ...(code === undefined ? {} : { code }) }));
    });
    server.listen(port, HOST, resolve);
  });
  return {
    url: `http://${HOST}:${(server.address() as AddressInfo).port}/#${token}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const text = (status: number, reason: string): Answer => ({
  status,
  type: "text/plain; charset=utf-8",
  body: `${reason}\n`,
});
const json = (status: number, value: unknown): Answer => ({
  status,
  type: "application/json",
  body: `${JSON.stringify(value)}\n`,
});

interface Served {
  readonly page: PageDocument;
  readonly data: PageData;
  readonly token: string;
}

/** Never rejects. */
async function answerTo(request: IncomingMessage, { page, data, token }: Served): Promise<Answer> {
  // Another name leads here if its DNS says so (DNS rebinding): then a page of that name would be of this origin.
  if (!isLoopback(request.headers.host)) return text(421, "this is not the host of this page");
  if (request.method !== "GET") return text(405, "only GET is allowed");
  const [path = "", query = ""] = (request.url ?? "").split("?", 2);
  if (path === "/") return { status: 200, type: "text/html; charset=utf-8", body: page.html };
  if (!path.startsWith(API)) return text(404, "there is only the page");
  if (!isOwn(request)) return json(403, { error: "only for the page itself" });
  if (!isAuthorized(request.headers.authorization, token))
    return json(401, {
      error: "the token is missing or wrong: open the address that the command has printed",
    });
  const name = path.slice(API.length);
  const answer = Object.hasOwn(data, name) ? data[name] : undefined;
  if (answer === undefined) return json(404, { error: `there are ${Object.keys(data).join(", ")}` });
  try {
    return json(200, await answer(new URLSearchParams(query)));
  } catch (thrown) {
    return json(thrown instanceof PageQuestionError ? 400 : 502, { error: messageOf(thrown) });
  }
}

/** The port may be another one: that of `ssh -L`. */
const isLoopback = (host: string | undefined): boolean =>
  host !== undefined && /^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?$/.test(host);

/** Browsers name the requesting site; other clients name none, and need the token all the same. */
function isOwn({ headers }: IncomingMessage): boolean {
  const site = headers["sec-fetch-site"];
  return (
    (site === undefined || site === "same-origin") &&
    (headers.origin === undefined || headers.origin === `http://${headers.host}`)
  );
}

function isAuthorized(header: string | undefined, token: string): boolean {
  const given = Buffer.from(/^Bearer (\S+)$/.exec(header ?? "")?.[1] ?? "");
  const wanted = Buffer.from(token);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

function send(request: IncomingMessage, response: ServerResponse, answer: Answer, policy: string): void {
  response.writeHead(answer.status, {
    "content-type": answer.type,
    "content-length": Buffer.byteLength(answer.body),
    "content-security-policy": policy,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    // A body would not be read.
    ...(request.method === "GET" ? {} : { connection: "close" }),
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
  });
  response.end(answer.body);
}
