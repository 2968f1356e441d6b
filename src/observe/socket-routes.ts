// Requests to the agent and their answers: HTTP methods, paths and query parameters; JSON in return.

import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { messageOf } from "../base/errors.ts";
import {
  API_VERSION,
  type ClusterView,
  type EndpointView,
  type NamesView,
  type PolicyView,
  type StatusView,
} from "./api-views.ts";

/** The agent's views, each computed at its request. */
export interface Views {
  status(): StatusView | Promise<StatusView>;
  endpoints(): readonly EndpointView[] | Promise<readonly EndpointView[]>;
  policies(): readonly PolicyView[];
  names(): NamesView;
  cluster(): ClusterView;
}

/** One request that the agent answers, or one action that it performs. */
export interface Route {
  /** GET reads and changes nothing, POST performs an action. */
  readonly method: "GET" | "POST";
  /** Below the version: the path of "log-level" is "/v1/log-level". */
  readonly path: string;
  /** Accepted query parameters, each at most once; others are refused. */
  readonly parameters?: readonly string[];
  /** Only for root, whichever group may use the socket. */
  readonly forRoot?: true;
  /** Maximum size of the body; without this no body is accepted. */
  readonly bodyBytesMax?: number;
  /**
   * Returns a JSON value, or a LineStream. A RequestError is the client's mistake, a Refused contains its own
   * answer, and anything else thrown is the agent's mistake.
   */
  readonly answer: (parameters: URLSearchParams, body: string) => unknown;
}

/** An unsuccessful answer with more than a reason. */
export class Refused extends Error {
  readonly status: number;
  /** Plain JSON. */
  readonly value: unknown;

  constructor(status: number, value: unknown) {
    super(`refused with status ${status}`);
    this.name = "Refused";
    this.status = status;
    this.value = value;
  }
}

/** The request cannot be answered as it is: the client's mistake, answered with status 400. */
export class RequestError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "RequestError";
  }
}

/** An answer that continues as long as the client reads: lines of JSON, each with its line break. */
export class LineStream {
  /** Begins to write; returns the function that ends it. */
  readonly open: (write: (line: string) => void) => () => void;

  constructor(open: LineStream["open"]) {
    this.open = open;
  }
}

export interface Answer {
  readonly status: number;
  /** JSON, and a line break. */
  readonly body: string;
  /** Instead of the body. */
  readonly stream?: LineStream;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Full path to method to route. */
export type Routes = ReadonlyMap<string, ReadonlyMap<string, Route>>;

/** A route for each view. */
export function viewRoutes(views: Views): Route[] {
  return [
    { method: "GET", path: "status", answer: () => views.status() },
    { method: "GET", path: "endpoints", answer: () => views.endpoints() },
    { method: "GET", path: "policies", answer: () => views.policies() },
    { method: "GET", path: "names", answer: () => views.names() },
    { method: "GET", path: "cluster", answer: () => views.cluster() },
  ];
}

/** Of two routes with one path and method the last applies. */
export function tableOf(all: readonly Route[]): Routes {
  const routes = new Map<string, Map<string, Route>>();
  for (const route of all) {
    const path = `/${API_VERSION}/${route.path}`;
    routes.set(path, (routes.get(path) ?? new Map<string, Route>()).set(route.method, route));
  }
  return routes;
}

const jsonLine = (value: unknown): string => `${JSON.stringify(value)}\n`;

const refusal = (status: number, error: string, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  body: jsonLine({ error }),
  headers,
});

/** Never throws: a failure is an answer too. */
export async function answerTo(
  request: IncomingMessage,
  routes: Routes,
  isRoot: (socket: Socket) => boolean = () => true,
): Promise<Answer> {
  const [path = "", query = ""] = (request.url ?? "").split("?", 2);
  const methods = routes.get(path);
  if (methods === undefined)
    return refusal(404, `no such path: ${path}; there are ${[...routes.keys()].join(", ")}`);
  const route = methods.get(request.method ?? "");
  if (route === undefined) {
    const allowed = [...methods.keys()].join(", ");
    return refusal(405, `${request.method} is not allowed, only ${allowed}`, { allow: allowed });
  }
  if (route.forRoot === true && !isRoot(request.socket)) return refusal(403, "only root may do this");
  const tooLong = bodyTooLong(request, route.bodyBytesMax);
  if (tooLong !== undefined) return refusal(413, tooLong);
  const parameters = new URLSearchParams(query);
  const wrong = wrongParameter(parameters, route.parameters ?? []);
  if (wrong !== undefined) return refusal(400, wrong);
  try {
    const value = await route.answer(
      parameters,
      route.bodyBytesMax === undefined ? "" : await bodyOf(request),
    );
    return value instanceof LineStream
      ? { status: 200, body: "", stream: value }
      : { status: 200, body: jsonLine(value) };
  } catch (thrown) {
    if (thrown instanceof Refused) return { status: thrown.status, body: jsonLine(thrown.value) };
    return refusal(thrown instanceof RequestError ? 400 : 500, messageOf(thrown));
  }
}

/** A client must declare the length of a body: then a body that is too long need not be read. */
function bodyTooLong({ headers }: IncomingMessage, max: number | undefined): string | undefined {
  const { "content-length": length, "transfer-encoding": encoding } = headers;
  if (max === undefined)
    return encoding !== undefined || (length ?? "0") !== "0" ? "no body is allowed" : undefined;
  if (length === undefined) return "a body is sent with its content-length";
  return Number(length) > max ? `a body of at most ${max} bytes is allowed` : undefined;
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

function wrongParameter(parameters: URLSearchParams, known: readonly string[]): string | undefined {
  for (const name of parameters.keys()) {
    if (!known.includes(name))
      return `unknown parameter ${name}; expected ${known.length === 0 ? "none" : known.join(", ")}`;
    if (parameters.getAll(name).length > 1) return `parameter ${name} is given more than once`;
  }
  return undefined;
}
