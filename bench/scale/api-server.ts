// A scripted API server in a process of its own: lists in pages, streaming lists and watches with bookmarks, as a real one has them, for
// an agent alone. Its cluster is generated, and changes on command.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { present } from "../../src/base/assert.ts";
import { KINDS, type Kind, SERVED } from "../../src/source/apiserver/resource-kinds.ts";
import type { Stored } from "./cluster-objects.ts";
import { type CrowdSize, openCrowd, type Sink } from "./crowd.ts";

export interface ServerSpec extends CrowdSize {
  /** Whether lists are served as the beginning of a watch; an older server refuses that. */
  readonly streaming: boolean;
}

/** What the bench asks of it, by messages between processes. Each is answered in order. */
export type Command =
  | { readonly do: "put client" | "remove client"; readonly number: number }
  /** Pod events a second; 0 stops. */
  | { readonly do: "churn"; readonly rate: number }
  | { readonly do: "traffic" };

export type Answer =
  | { readonly ready: { readonly port: number; readonly locals: readonly string[] } }
  /** When it was written to the watches, in nanoseconds of the machine's monotonic clock. */
  | { readonly at: string }
  | { readonly traffic: Traffic };

/** Bytes sent so far, by kind. */
export type Traffic = Readonly<Record<Kind, { listed: number; watched: number; events: number }>>;

type EventType = "ADDED" | "MODIFIED" | "DELETED";

interface Change {
  readonly version: number;
  readonly kind: Kind;
  readonly line: Buffer;
}

interface Watcher {
  readonly kind: Kind;
  readonly response: ServerResponse;
}

const HISTORY_MAX = 20_000;
const TICK_MS = 10;
const BOOKMARK_MS = 60_000;
/** Nodes report once in so many seconds. */
const HEARTBEAT_S = 300;
const CHUNK_BYTES = 1 << 17;

const bodyOf = (kind: Kind, { text }: Stored): string =>
  `{"kind":"${kind}","apiVersion":"${SERVED[kind][0].apiVersion}",${text().slice(1)}`;

function openServer(spec: ServerSpec) {
  let version = 1_000;
  const objects = new Map<Kind, Map<string, Stored>>(KINDS.map((kind) => [kind, new Map()]));
  const of = (kind: Kind) => present(objects.get(kind), kind);
  let history: Change[] = [];
  let oldest = version;
  let live = false;
  const watchers = new Set<Watcher>();
  const traffic = Object.fromEntries(
    KINDS.map((kind) => [kind, { listed: 0, watched: 0, events: 0 }]),
  ) as Traffic;

  /** Before anybody watches, there is nothing to be told. */
  function record(kind: Kind, type: EventType, object: Stored): void {
    if (!live) return;
    const line = Buffer.from(`{"type":"${type}","object":${bodyOf(kind, object)}}\n`);
    history.push({ version: object.version, kind, line });
    if (history.length > 2 * HISTORY_MAX) {
      history = history.slice(-HISTORY_MAX);
      oldest = history[0]?.version ?? version;
    }
    for (const { kind: watched, response } of watchers) if (watched === kind) sendEvent(kind, response, line);
  }

  function sendEvent(kind: Kind, response: ServerResponse, line: Buffer): void {
    traffic[kind].watched += line.length;
    traffic[kind].events += 1;
    response.write(line);
  }

  const sink: Sink = {
    put(kind, make) {
      version += 1;
      const object = make(version);
      const type = of(kind).has(object.key) ? "MODIFIED" : "ADDED";
      of(kind).set(object.key, object);
      record(kind, type, object);
    },
    remove(kind, key) {
      const known = of(kind).get(key);
      if (known === undefined) return;
      version += 1;
      of(kind).delete(key);
      const at = version;
      const text = () => known.text().replace(/"resourceVersion":"\d+"/, `"resourceVersion":"${at}"`);
      record(kind, "DELETED", { key, version: at, text });
    },
  };
  const crowd = openCrowd(spec, sink);
  live = true;

  /** Pages of one list show the objects as they were when it began. */
  const lists = new Map<string, { readonly at: number; readonly all: readonly Stored[] }>();

  async function list(kind: Kind, query: URLSearchParams, response: ServerResponse): Promise<void> {
    const [id = `${kind}-${version}`, start = "0"] = query.get("continue")?.split(":") ?? [];
    const known = lists.get(id) ?? { at: version, all: [...of(kind).values()] };
    const from = Number(start);
    const to = Math.min(known.all.length, from + Number(query.get("limit") ?? known.all.length));
    const isLast = to >= known.all.length;
    if (isLast) lists.delete(id);
    else lists.set(id, known);
    response.writeHead(200, { "content-type": "application/json" });
    const next = isLast ? "" : `,"continue":"${id}:${to}"`;
    const send = sender(kind, response);
    send(`{"kind":"${kind}List","metadata":{"resourceVersion":"${known.at}"${next}},"items":[`);
    for (let index = from; index < to; index += 1) {
      const ready = send(`${index === from ? "" : ","}${present(known.all[index], "an object").text()}`);
      if (ready !== undefined) await ready;
    }
    send("]}");
    send.flush();
    response.end();
  }

  /** Collects texts into chunks, and says when the connection takes no more for the moment. */
  function sender(kind: Kind, response: ServerResponse) {
    let texts: string[] = [];
    let length = 0;
    const flush = (): boolean => {
      const chunk = Buffer.from(texts.join(""));
      texts = [];
      length = 0;
      traffic[kind].listed += chunk.length;
      return response.write(chunk);
    };
    const send = (text: string): Promise<unknown> | undefined => {
      texts.push(text);
      length += text.length;
      if (length < CHUNK_BYTES || flush()) return undefined;
      return new Promise<void>((resolve) => {
        const done = (): void => {
          response.off("drain", done);
          response.off("close", done);
          resolve();
        };
        response.once("drain", done);
        response.once("close", done);
      });
    };
    return Object.assign(send, { flush });
  }

  async function watch(kind: Kind, query: URLSearchParams, response: ServerResponse): Promise<void> {
    const begins = query.has("sendInitialEvents");
    if (begins && !spec.streaming) {
      refuse(response, 422, "sendInitialEvents: Forbidden");
      return;
    }
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    let from = Number(query.get("resourceVersion"));
    if (begins) {
      from = version;
      const send = sender(kind, response);
      for (const object of [...of(kind).values()]) {
        const ready = send(`{"type":"ADDED","object":${bodyOf(kind, object)}}\n`);
        if (ready !== undefined) await ready;
      }
      send(bookmark(kind, from, true));
      send.flush();
    } else if (from < oldest) {
      const gone = { kind: "Status", apiVersion: "v1", code: 410, reason: "Expired", message: "too old" };
      response.end(`${JSON.stringify({ type: "ERROR", object: gone })}\n`);
      return;
    }
    for (const change of history)
      if (change.kind === kind && change.version > from) sendEvent(kind, response, change.line);
    const watcher = { kind, response };
    watchers.add(watcher);
    response.once("close", () => watchers.delete(watcher));
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? "", "http://server");
    const kind = KINDS.find((each) => SERVED[each][0].path === pathname);
    if (kind === undefined || request.method !== "GET") refuse(response, 404, "not found");
    else if (searchParams.has("watch")) await watch(kind, searchParams, response);
    else await list(kind, searchParams, response);
  }

  const server = createServer((request, response) => void answer(request, response));
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  setInterval(() => {
    for (const { kind, response } of watchers) response.write(bookmark(kind, version, false));
  }, BOOKMARK_MS).unref();

  const nodes = of("Node").size;
  let rate = 0;
  let due = 0;
  let beats = 0;
  let last = performance.now();
  setInterval(() => {
    const now = performance.now();
    const seconds = (now - last) / 1_000;
    last = now;
    due += rate * seconds;
    const whole = Math.floor(due);
    due -= whole;
    if (whole > 0) crowd.churn(whole);
    if (rate === 0) return;
    beats += (nodes / HEARTBEAT_S) * seconds;
    const count = Math.floor(beats);
    beats -= count;
    crowd.heartbeats(count);
  }, TICK_MS);

  return {
    crowd,
    traffic: () => traffic,
    churn(next: number) {
      rate = next;
      due = 0;
    },
    listen: () =>
      new Promise<number>((resolve) => {
        server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
      }),
  };
}

const bookmark = (kind: Kind, version: number, isEnd: boolean): string => {
  const annotations = isEnd ? { annotations: { "k8s.io/initial-events-end": "true" } } : {};
  const metadata = { resourceVersion: String(version), ...annotations };
  return `${JSON.stringify({ type: "BOOKMARK", object: { kind, metadata } })}\n`;
};

function refuse(response: ServerResponse, code: number, message: string): void {
  response.writeHead(code, { "content-type": "application/json" });
  response.end(JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", code, message }));
}

async function serve(spec: ServerSpec): Promise<void> {
  const tell = (answer: Answer): void => void process.send?.(answer);
  const server = openServer(spec);
  const { crowd } = server;
  process.on("message", (command: Command) => {
    switch (command.do) {
      case "put client":
        crowd.putClient(command.number);
        break;
      case "remove client":
        crowd.removeClient(command.number);
        break;
      case "churn":
        server.churn(command.rate);
        break;
      case "traffic":
        tell({ traffic: server.traffic() });
        return;
    }
    tell({ at: String(process.hrtime.bigint()) });
  });
  // Without its parent it serves nobody.
  process.on("disconnect", () => process.exit());
  tell({ ready: { port: await server.listen(), locals: crowd.locals } });
}

await serve(JSON.parse(present(process.argv[2], "the server's specification")) as ServerSpec);
