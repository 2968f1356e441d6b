// The events of a watch: one line of JSON each, checked before anything is believed.

import { isMap, valueAt } from "../parse/fields.ts";
import { Failure, shown } from "./request-failure.ts";

export type WatchEvent =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: unknown }
  /** `initialEnd`: everything that there was has been told of. */
  | { readonly type: "BOOKMARK"; readonly version: string; readonly initialEnd: boolean };

const INITIAL_END = "k8s.io/initial-events-end";
const GONE = 410;

/** Errors: Failure, "expired" and "failed" for what the server says in an ERROR event, else "unreadable". */
export function eventOf(line: string, path: string): WatchEvent {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch (cause) {
    throw new Failure("an event is no JSON", path, { why: "unreadable", cause });
  }
  const type = valueAt(event, ["type"]);
  const object = valueAt(event, ["object"]);
  if (!isMap(object)) throw new Failure("an event has no object", path, { why: "unreadable" });
  switch (type) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
      return { type, object };
    case "BOOKMARK":
      return bookmarkOf(object, path);
    case "ERROR":
      throw errorOf(object, path);
    default:
      throw new Failure(`an event has the unknown type ${shown(String(type))}`, path, { why: "unreadable" });
  }
}

function bookmarkOf(object: unknown, path: string): WatchEvent {
  const version = valueAt(object, ["metadata", "resourceVersion"]);
  if (typeof version !== "string" || version === "")
    throw new Failure("a bookmark has no metadata.resourceVersion", path, { why: "unreadable" });
  const initialEnd = valueAt(object, ["metadata", "annotations", INITIAL_END]) === "true";
  return { type: "BOOKMARK", version, initialEnd };
}

function errorOf(status: unknown, path: string): Failure {
  const code = valueAt(status, ["code"]);
  const message = valueAt(status, ["message"]);
  const text = typeof message === "string" ? shown(message) : "without a message";
  const seconds = valueAt(status, ["details", "retryAfterSeconds"]);
  return new Failure(`the server ended the watch: ${text}`, path, {
    why: code === GONE ? "expired" : "failed",
    ...(typeof code === "number" ? { status: code } : {}),
    ...(typeof seconds === "number" && seconds > 0 ? { retryAfterMs: seconds * 1_000 } : {}),
  });
}
