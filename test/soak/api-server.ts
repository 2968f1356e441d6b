// The scripted API server of the soak test, in a process of its own, so that it can be killed and stopped. The test holds the objects,
// and gives them to each new server.

import { Buffer } from "node:buffer";
import type { ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { present } from "../../src/base/assert.ts";
import { KINDS, type Kind } from "../../src/source/apiserver/resource-kinds.ts";
import {
  type Asked,
  type Fault,
  line,
  openObjects,
  openServer,
  type RawObject,
  refuse,
} from "../unit/source/apiserver/server.ts";

/** How requests are answered: as they should be, or not. */
export const BEHAVIOURS = [
  "healthy",
  "slow",
  "refusing",
  "overloaded",
  "cutting",
  "garbage",
  "forbidden",
] as const;
export type Behaviour = (typeof BEHAVIOURS)[number];

export interface ServerSpec {
  readonly port: number;
  /** The version that it starts from. */
  readonly version: number;
  readonly objects: readonly KindedObject[];
}

export interface KindedObject {
  readonly kind: Kind;
  readonly object: RawObject;
}

export type Order =
  | ({ readonly do: "put" } & KindedObject)
  | { readonly do: "remove"; readonly kind: Kind; readonly key: string }
  | { readonly do: "behave"; readonly how: Behaviour }
  | { readonly do: "compact" }
  | { readonly do: "end watches"; readonly how: "ends" | "breaks" }
  /** Raw bytes into every watch of a kind. */
  | { readonly do: "write"; readonly kind: Kind; readonly base64: string }
  /** A line that does not end. */
  | { readonly do: "write without end"; readonly kind: Kind; readonly mib: number }
  /** Events that a healthy server never sends. */
  | {
      readonly do: "lie";
      readonly how: "garbage" | "half a line" | "no version" | "other kind" | "unknown event" | "error";
    };

export type Answer =
  | { readonly ready: { readonly port: number } }
  | { readonly done: { readonly version: number } };

const SLOW_MS = 700;
const MEBIBYTE = Buffer.alloc(1 << 20, "x");

const LIES: Readonly<Record<Extract<Order, { do: "lie" }>["how"], string | Buffer>> = {
  garbage: Buffer.from([0xff, 0xfe, 0x00, 0x7b, 0x0a]),
  "half a line": '{"type":"MODIFIED","object":{"kind":"Pod","metadata":{"na',
  "no version": line({ type: "DELETED", object: { metadata: { name: "x", namespace: "ns0" } } }),
  "other kind": line({
    type: "ADDED",
    object: { kind: "Secret", metadata: { name: "x", resourceVersion: "9" } },
  }),
  "unknown event": line({ type: "REPLACED", object: {} }),
  error: line({
    type: "ERROR",
    object: { kind: "Status", code: 500, reason: "InternalError", message: "etcd" },
  }),
};

function faultOf(how: Behaviour): Fault {
  switch (how) {
    case "healthy":
      return () => false;
    case "slow":
      return () => false;
    case "refusing":
      return (_, response) => refuse(response, 500, "etcdserver: leader changed");
    case "overloaded":
      return (_, response) => refuse(response, 429, "too many requests", { "retry-after": "1" });
    case "forbidden":
      return (_, response) => refuse(response, 403, "pods is forbidden");
    case "cutting":
      return cut;
    case "garbage":
      return (_, response) => {
        response.writeHead(200, { "content-type": "application/json" });
        response.end(
          '{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":7}},',
        );
        return true;
      };
  }
}

/** A connection that breaks in the middle of an answer. */
function cut({ kind }: Asked, response: ServerResponse): boolean {
  response.writeHead(200, { "content-type": "application/json" });
  response.write(`{"kind":"${kind}List","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[`);
  setTimeout(() => response.destroy(), 20);
  return true;
}

async function serve(spec: ServerSpec): Promise<void> {
  const objects = openObjects(spec.version);
  for (const { kind, object } of spec.objects) objects.put(kind, object);
  // It knows of no deletion before its start, so a watch must not go on from there.
  objects.compact();
  const server = await openServer(objects, { port: spec.port });
  let delayMs = 0;
  const obey = async (order: Order): Promise<void> => {
    switch (order.do) {
      case "put":
        if (delayMs > 0) await sleep(delayMs);
        server.put(order.kind, order.object);
        break;
      case "remove":
        if (delayMs > 0) await sleep(delayMs);
        server.remove(order.kind, order.key);
        break;
      case "behave":
        delayMs = order.how === "slow" ? SLOW_MS : 0;
        server.script(faultOf(order.how));
        break;
      case "compact":
        objects.compact();
        break;
      case "end watches":
        for (const kind of KINDS) server.end(kind, order.how);
        break;
      case "write":
        server.write(order.kind, Buffer.from(order.base64, "base64"));
        break;
      case "write without end":
        for (let index = 0; index < order.mib; index += 1) server.write(order.kind, MEBIBYTE);
        break;
      case "lie":
        for (const kind of KINDS) server.write(kind, LIES[order.how]);
        break;
    }
  };
  // One after the other, whatever each takes.
  let last = Promise.resolve();
  process.on("message", (order: Order) => {
    last = last
      .then(() => obey(order))
      .then(() => void process.send?.({ done: { version: objects.version() } }));
  });
  process.on("disconnect", () => process.exit());
  setInterval(() => {
    for (const kind of KINDS) server.bookmark(kind);
  }, 1_000).unref();
  process.send?.({ ready: { port: server.port } });
}

process.once("message", (spec: ServerSpec) => void serve(present(spec, "the server's specification")));
