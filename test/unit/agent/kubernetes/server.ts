// A small API server for tests: objects by path, Events that are kept by name, and answers that a test prescribes.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type Client, openClient } from "../../../../src/source/apiserver/http-client.ts";
import { TIMING } from "../../../../src/source/apiserver/request-timing.ts";

export interface StoredEvent {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly eventTime: string;
  readonly type: string;
  readonly reason: string;
  readonly action: string;
  readonly note: string;
  readonly regarding: Readonly<Record<string, string>>;
  readonly reportingController: string;
  readonly reportingInstance: string;
}

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly type: string | undefined;
  readonly body: unknown;
}

export interface FakeServer {
  readonly client: Client;
  /** By path. */
  readonly objects: Map<string, unknown>;
  /** In the order in which they were created. */
  readonly events: Map<string, StoredEvent>;
  readonly asked: Asked[];
  /** Sets the status of the next answers, or "silence": none at all. Undefined leaves it to the server. */
  answer: ((asked: Asked) => number | "silence" | undefined) | undefined;
  close(): Promise<void>;
}

export async function startServer(): Promise<FakeServer> {
  const server = createServer((request, response) => {
    void answerTo(request, response, fake);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const access = { server: `http://127.0.0.1:${port}`, headers: {}, agent: false as unknown as never };
  const credentials = {
    text: access.server,
    access: () => Promise.resolve(access),
    renew: () => undefined,
    close: () => undefined,
  };
  const fake: FakeServer = {
    client: openClient(credentials, TIMING, "weir/test"),
    objects: new Map(),
    events: new Map(),
    asked: [],
    answer: undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return fake;
}

async function answerTo(request: IncomingMessage, response: ServerResponse, fake: FakeServer): Promise<void> {
  let text = "";
  for await (const chunk of request) text += String(chunk);
  const { method = "", url: path = "", headers } = request;
  const asked = {
    method,
    path,
    type: headers["content-type"],
    body: text === "" ? undefined : JSON.parse(text),
  };
  fake.asked.push(asked);
  const prescribed = fake.answer?.(asked);
  if (prescribed === "silence") return;
  const [status, body] =
    prescribed === undefined ? resultOf(asked, fake) : [prescribed, { message: "as told" }];
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

function resultOf({ method, path, body }: Asked, { objects, events }: FakeServer): [number, unknown] {
  if (method === "POST" && path.endsWith("/events")) {
    const event = body as StoredEvent;
    const key = `${event.metadata.namespace}/${event.metadata.name}`;
    if (!path.includes(`/namespaces/${event.metadata.namespace}/`))
      return [400, { message: "namespaces differ" }];
    if (events.has(key)) return [409, { message: "already exists" }];
    events.set(key, event);
    return [201, event];
  }
  if (method === "PATCH") return [200, {}];
  // Lists of one object, as the agent requests them.
  const [, collection, name] = /^([^?]*)\?fieldSelector=metadata\.name%3D([^&]*)$/.exec(path) ?? [];
  const object = objects.get(`${collection}/${name}`);
  return collection === undefined ? [400, {}] : [200, { items: object === undefined ? [] : [object] }];
}
