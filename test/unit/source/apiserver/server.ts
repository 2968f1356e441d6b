// A scripted API server: it holds objects and their history as a real one does, and on demand does what a healthy one never does.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { KINDS, type Kind, SERVED } from "../../../../src/source/apiserver/resource-kinds.ts";

export interface RawObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: Readonly<Record<string, unknown>> & {
    readonly name: string;
    readonly namespace?: string;
  };
  readonly [field: string]: unknown;
}

export interface Asked {
  readonly kind: Kind;
  readonly type: "list" | "watch" | "stream";
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly path: string;
}

/** Answers in place of the server; false leaves the answer to the server. */
export type Fault = (asked: Asked, response: ServerResponse) => boolean;

interface Change {
  readonly version: number;
  readonly kind: Kind;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: RawObject;
}

interface Watcher {
  readonly kind: Kind;
  readonly response: ServerResponse;
}

export interface ServerOptions {
  readonly streams?: boolean;
  readonly tls?: { readonly key: string; readonly cert: string };
  readonly port?: number;
}

export type TestServer = Awaited<ReturnType<typeof openServer>>;

const GONE = {
  kind: "Status",
  apiVersion: "v1",
  code: 410,
  reason: "Expired",
  message: "too old resource version",
};

const keyOf = ({ metadata: { namespace, name } }: RawObject): string =>
  namespace === undefined ? name : `${namespace}/${name}`;

/** The objects of a server, as etcd keeps them. */
export function openObjects(first = 100) {
  let version = first;
  let compacted = 0;
  let uids = 0;
  let changes: Change[] = [];
  const held = new Map<Kind, Map<string, RawObject>>(KINDS.map((kind) => [kind, new Map()]));
  const of = (kind: Kind) => held.get(kind) as Map<string, RawObject>;
  const record = (kind: Kind, type: Change["type"], object: RawObject): Change => {
    version += 1;
    const metadata = { ...object.metadata, resourceVersion: String(version) };
    const change = { version, kind, type, object: { ...object, metadata } };
    changes.push(change);
    return change;
  };
  return {
    of,
    version: () => version,
    compacted: () => compacted,
    put(kind: Kind, object: RawObject): Change {
      const known = of(kind).get(keyOf(object));
      uids += known === undefined ? 1 : 0;
      const uid = known?.metadata["uid"] ?? object.metadata["uid"] ?? `uid-${uids}`;
      const metadata = { ...object.metadata, uid };
      const { apiVersion } = SERVED[kind][0];
      const whole = { apiVersion, kind, ...object, metadata };
      const change = record(kind, known === undefined ? "ADDED" : "MODIFIED", whole);
      of(kind).set(keyOf(object), change.object);
      return change;
    },
    remove(kind: Kind, key: string): Change | undefined {
      const known = of(kind).get(key);
      if (known === undefined) return undefined;
      of(kind).delete(key);
      return record(kind, "DELETED", known);
    },
    /** Forgets everything older than now. */
    compact() {
      compacted = version;
      changes = [];
    },
    /** As a backup that was restored: the objects are given, the version is an old one. */
    restoreAt(older: number) {
      version = older;
      compacted = 0;
      changes = [];
    },
    since: (kind: Kind, after: number) =>
      changes.filter((change) => change.kind === kind && change.version > after),
  };
}

export type Objects = ReturnType<typeof openObjects>;

export async function openServer(objects: Objects, options: ServerOptions = {}) {
  const watchers = new Set<Watcher>();
  const sockets = new Set<Socket>();
  const asked: Asked[] = [];
  let fault: Fault = () => false;
  let elsewhere: (path: string, response: ServerResponse) => boolean = () => false;
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const what = askedOf(request);
    if (what === undefined) {
      if (elsewhere(request.url ?? "", response)) return;
      refuse(response, 404, "the server could not find the requested resource");
      return;
    }
    asked.push(what);
    if (fault(what, response)) return;
    if (what.type === "list") list(objects, what, response);
    else if (what.type === "stream" && options.streams === false)
      refuse(response, 422, "sendInitialEvents: Forbidden");
    else watch(objects, what, { response, watchers });
  };
  const server: Server =
    options.tls === undefined ? createServer(answer) : createTlsServer(options.tls, answer);
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `${options.tls === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    asked,
    sockets,
    /** What to do with every request from now on. */
    script(next: Fault) {
      fault = next;
    },
    /** What to do with requests for paths that the server does not have. */
    scriptUnknown(next: typeof elsewhere) {
      elsewhere = next;
    },
    ...tellers(objects, watchers),
    close() {
      watchers.clear();
      for (const socket of sockets) socket.destroy();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** Changes the objects and sends events, or sends events that are wrong. */
function tellers(objects: Objects, watchers: Set<Watcher>) {
  const tell = (change: Change | undefined): void => {
    for (const { kind, response } of watchers)
      if (kind === change?.kind) response.write(line({ type: change.type, object: change.object }));
  };
  return {
    put: (kind: Kind, object: RawObject) => tell(objects.put(kind, object)),
    remove: (kind: Kind, key: string) => tell(objects.remove(kind, key)),
    bookmark(kind: Kind) {
      const metadata = { resourceVersion: String(objects.version()) };
      for (const each of watchers)
        if (each.kind === kind) each.response.write(line({ type: "BOOKMARK", object: { kind, metadata } }));
    },
    watches: (kind: Kind) =>
      watchers
        .values()
        .filter((each) => each.kind === kind)
        .toArray().length,
    /** Writes raw bytes into every watch of a kind. */
    write(kind: Kind, bytes: string | Buffer) {
      for (const each of watchers) if (each.kind === kind) each.response.write(bytes);
    },
    /** Ends every watch: cleanly, or by cutting the connection. */
    end(kind: Kind, how: "ends" | "breaks" = "ends") {
      for (const each of watchers) {
        if (each.kind !== kind) continue;
        watchers.delete(each);
        if (how === "ends") each.response.end();
        else each.response.destroy();
      }
    },
    /** Sends nothing any more, and keeps the connections: as if the process were stopped. */
    freeze: () => watchers.clear(),
  };
}

export const line = (event: unknown): string => `${JSON.stringify(event)}\n`;

function askedOf({ url = "", headers }: IncomingMessage): Asked | undefined {
  const { pathname, searchParams: query } = new URL(url, "http://server");
  const kind = KINDS.find((each) => SERVED[each][0].path === pathname);
  if (kind === undefined) return undefined;
  const type = !query.has("watch") ? "list" : query.has("sendInitialEvents") ? "stream" : "watch";
  return { kind, type, query, headers, path: pathname };
}

/** As an API server refuses: a status with a Status as its body. */
export function refuse(
  response: ServerResponse,
  code: number,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): true {
  response.writeHead(code, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", code, message }));
  return true;
}

/** Continue tokens are "VERSION:START"; a page of a compacted version has expired. */
function list(objects: Objects, { kind, query }: Asked, response: ServerResponse): void {
  const [at = String(objects.version()), start = "0"] = query.get("continue")?.split(":") ?? [];
  if (query.has("continue") && Number(at) < objects.compacted()) {
    refuse(response, 410, "the provided continue parameter is too old");
    return;
  }
  const limit = Number(query.get("limit") ?? Number.MAX_SAFE_INTEGER);
  const all = selected(objects, kind, query);
  const from = Number(start);
  const next = from + limit < all.length ? `${at}:${from + limit}` : "";
  const items = all.slice(from, from + limit).map(({ apiVersion: _, kind: __, ...item }) => item);
  response.writeHead(200, { "content-type": "application/json" });
  const metadata = { resourceVersion: at, ...(next === "" ? {} : { continue: next }) };
  response.end(JSON.stringify({ kind: `${kind}List`, metadata, items: items.length === 0 ? null : items }));
}

function selected(objects: Objects, kind: Kind, query: URLSearchParams): RawObject[] {
  const [, name] = query.get("fieldSelector")?.split("metadata.name=") ?? [];
  // Of the selectors there are, only that a label is absent.
  const absent = query.get("labelSelector")?.split(",") ?? [];
  const isSelected = ({ metadata }: RawObject): boolean => {
    const labels = Object(metadata["labels"] ?? {});
    return absent.every((each) => each.startsWith("!") && !Object.hasOwn(labels, each.slice(1)));
  };
  return [...objects.of(kind).values()].filter(
    (object) => isSelected(object) && (name === undefined || object.metadata.name === name),
  );
}

interface Watching {
  readonly response: ServerResponse;
  readonly watchers: Set<Watcher>;
}

function watch(objects: Objects, { kind, type, query }: Asked, { response, watchers }: Watching): void {
  response.writeHead(200, { "content-type": "application/json" });
  response.flushHeaders();
  const from = Number(query.get("resourceVersion"));
  if (type === "watch" && from < objects.compacted()) {
    response.end(line({ type: "ERROR", object: GONE }));
    return;
  }
  if (type === "stream") {
    for (const object of selected(objects, kind, query)) response.write(line({ type: "ADDED", object }));
    const annotations = { "k8s.io/initial-events-end": "true" };
    const metadata = { resourceVersion: String(objects.version()), annotations };
    response.write(line({ type: "BOOKMARK", object: { kind, metadata } }));
  } else {
    for (const change of objects.since(kind, from))
      response.write(line({ type: change.type, object: change.object }));
  }
  const watcher = { kind, response };
  watchers.add(watcher);
  response.once("close", () => watchers.delete(watcher));
}
