// The node's tables, read once and then kept up to date by the kernel's own word of each change.

import { type NetEvent, NetWatch } from "bpf-ts";
import { codeOf } from "../base/errors.ts";
import { openStore } from "./netlink-cache.ts";
import { type NetnsIds, openNetnsIds } from "./netns.ts";
import type { NetLink, NodeTables } from "./node-tables.ts";
import { openReader } from "./reader.ts";

/** The node's network at one moment. */
export interface Node extends NetnsIds {
  /** As they are known now; the same object until something changes. */
  tables(): NodeTables;
}

export interface FollowedNode extends Node {
  /** Resolves when all is read that is known to have changed. */
  settled(): Promise<void>;
  close(): void;
}

export interface FollowOptions {
  /** Something that may matter to which interface is whose has changed. */
  readonly onChange: () => void;
  /** A pair into another namespace is there, since the start or from now on: called before all else is done about it. */
  readonly onPair?: (link: NetLink, tables: NodeTables) => void;
  /** What could not be read; it is tried again. */
  readonly onError: (error: unknown) => void;
}

/** Whatever an event cannot tell, or was not told, is seen at the latest after this time. */
const RESCAN_MS = 30_000;

/** Reads the tables once. Errors: BpfError. */
export async function readNode(): Promise<Node> {
  const store = openStore();
  const reader = openReader(store, { onChange: () => undefined, onError: () => undefined });
  await reader.readAll();
  reader.close();
  return { tables: () => store.tables(), ...openNetnsIds() };
}

/** Follows the tables until it is closed; they are read when it resolves. Errors: BpfError. */
export async function followNode(options: FollowOptions): Promise<FollowedNode> {
  const store = openStore();
  const ids = openNetnsIds();
  const reader = openReader(store, options);
  const watch = openWatch((events) => {
    if (events.some(({ kind }) => kind === "id" || kind === "overrun")) ids.forget();
    reader.take(events);
  });
  // Only now, so that nothing falls between reading and following.
  try {
    await reader.readAll();
  } catch (error) {
    watch.close();
    throw error;
  }
  const rescan = setInterval(() => {
    ids.forget();
    reader.askAll();
  }, RESCAN_MS);
  return {
    tables: () => store.tables(),
    idOf: ids.idOf,
    settled: () => reader.settled(),
    close() {
      clearInterval(rescan);
      reader.close();
      watch.close();
    },
  };
}

/** Without CAP_NET_BROADCAST the kernel tells of this namespace only; of the others a rescan does. */
function openWatch(onEvents: (events: NetEvent[]) => void): NetWatch {
  try {
    return NetWatch.open(onEvents, { allNamespaces: true });
  } catch (error) {
    if (codeOf(error) !== "EPERM") throw error;
    return NetWatch.open(onEvents);
  }
}
