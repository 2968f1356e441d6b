// The netlink cache, kept current: tables are dumped once, then updated from rtnetlink's notifications.

import { statSync } from "node:fs";
import { join } from "node:path";
import {
  dumpAddresses,
  dumpForwarding,
  dumpLinks,
  dumpNeighbours,
  dumpRoutes,
  type NetEvent,
  NetWatch,
  netnsId,
} from "bpf-ts";
import { codeOf } from "../base/errors.ts";
import { type Dumped, type Inside, openStore, type Store } from "./netlink-cache.ts";
import { isPairElsewhere, type NetLink, type NodeTables } from "./node-tables.ts";

/** The node's network at one moment. */
export interface Node extends NetnsIds {
  /** The current tables; the same object until something changes. */
  tables(): NodeTables;
}

export interface FollowedNode extends Node {
  /** Resolves when everything that is known to have changed has been read. */
  settled(): Promise<void>;
  close(): void;
}

export interface FollowOptions {
  /** A change that may matter to which pod owns which interface. */
  readonly onChange: () => void;
  /** A pair into another namespace is there, since the start or from now on: called before all else is done about it. */
  readonly onPair?: (link: NetLink, tables: NodeTables) => void;
  /** What could not be read; retrying. */
  readonly onError: (error: unknown) => void;
}

/** Changes without an event, or whose event was lost, are seen at the latest after this time. */
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

/** Without CAP_NET_BROADCAST the kernel sends events of this namespace only; a rescan covers the others. */
function openWatch(onEvents: (events: NetEvent[]) => void): NetWatch {
  try {
    return NetWatch.open(onEvents, { allNamespaces: true });
  } catch (error) {
    if (codeOf(error) !== "EPERM") throw error;
    return NetWatch.open(onEvents);
  }
}

// Applies events, and reads again what they only hint at.

export interface Reader {
  /** Reads everything. Errors: BpfError. */
  readAll(): Promise<void>;
  /** Has everything read again, soon. */
  askAll(): void;
  take(events: readonly NetEvent[]): void;
  /** Resolves when nothing is left to be read. */
  settled(): Promise<void>;
  close(): void;
}

interface ReaderOptions {
  readonly onChange: () => void;
  readonly onPair?: (link: NetLink, tables: NodeTables) => void;
  readonly onError: (error: unknown) => void;
}

const RETRY_MS = 1_000;

/** What there is to be read, and what has come while it was. */
interface Work {
  readonly store: Store;
  readonly options: ReaderOptions;
  all: boolean;
  links: boolean;
  /** Namespaces, by their ids. */
  readonly inside: Set<number>;
  /** Events that came while tables were being read: what was read may be older than they are. */
  meanwhile: NetEvent[] | undefined;
}

/** Reads one thing after another. */
export function openReader(store: Store, options: ReaderOptions): Reader {
  const work: Work = { store, options, all: false, links: false, inside: new Set(), meanwhile: undefined };
  let reading: Promise<void> | undefined;
  let reportedVersion = -1;
  let closed = false;
  let retry: NodeJS.Timeout | undefined;

  function reportChange(): void {
    const { version } = store.tables();
    if (version === reportedVersion || closed || work.meanwhile !== undefined) return;
    reportedVersion = version;
    options.onChange();
  }

  async function readOn(): Promise<void> {
    try {
      while (!closed && isLeft(work)) {
        await readWanted(work);
        reportChange();
      }
    } catch (error) {
      work.all = true;
      if (closed) return;
      retry = setTimeout(start, RETRY_MS);
      options.onError(error);
    } finally {
      reading = undefined;
    }
  }

  function start(): void {
    if (!closed && isLeft(work)) reading ??= readOn();
  }

  return {
    async readAll() {
      work.all = true;
      await readWanted(work);
      reportedVersion = store.tables().version;
    },
    askAll() {
      work.all = true;
      start();
    },
    take(events) {
      for (const event of events) take(work, event);
      reportChange();
      start();
    },
    async settled() {
      while (reading !== undefined) await reading;
    },
    close() {
      closed = true;
      clearTimeout(retry);
    },
  };
}

const isLeft = ({ all, links, inside }: Work): boolean => all || links || inside.size > 0;

async function readWanted(work: Work): Promise<void> {
  const { store, all, links } = work;
  work.all = false;
  work.links = false;
  if (all) await readTables(work, dumpAll);
  else if (links) await readTables(work, async () => ({ links: await dumpLinks() }));
  const ids = all ? store.ids() : new Set(work.inside);
  work.inside.clear();
  const known = store.tables().links;
  await Promise.all([...ids].map(async (id) => store.takeInside(id, await insideOf(id), known)));
}

async function readTables(work: Work, dump: () => Promise<Partial<Dumped>>): Promise<void> {
  const { store } = work;
  const meanwhile: NetEvent[] = [];
  work.meanwhile = meanwhile;
  try {
    const dumped = await dump();
    const before = new Map((dumped.links ?? []).map(({ ifindex }) => [ifindex, store.link(ifindex)]));
    store.load(dumped);
    for (const event of meanwhile) store.take(event);
    for (const link of dumped.links ?? []) notice(work, link, before.get(link.ifindex));
  } finally {
    work.meanwhile = undefined;
  }
}

/** A pair that is new, or that leads to another namespace than before. */
function notice({ store, inside, options }: Work, link: NetLink, before: NetLink | undefined): void {
  if (!isPairElsewhere(link) || link.peerNetns === before?.peerNetns) return;
  inside.add(link.peerNetns ?? -1);
  options.onPair?.(link, store.tables());
}

function take(work: Work, event: NetEvent): void {
  const { store } = work;
  if (event.kind === "overrun") {
    work.all = true;
  } else if (event.kind === "id") {
    if (event.gone) store.takeInside(event.id, undefined, new Map());
  } else if (event.netns !== undefined) {
    if (event.kind === "address" || event.kind === "link") work.inside.add(event.netns);
  } else {
    work.meanwhile?.push(event);
    const before = event.kind === "link" ? store.link(event.link.ifindex) : undefined;
    store.take(event);
    if (event.kind !== "link" || event.gone) return;
    notice(work, event.link, before);
    // While a pair is being created, its first end does not refer to the other one yet.
    if (event.link.kind === "veth" && !event.link.peer) work.links = true;
  }
}

async function dumpAll(): Promise<Dumped> {
  const [links, routes, neighbours, forwarding] = await Promise.all([
    dumpLinks(),
    dumpRoutes(),
    dumpNeighbours(),
    dumpForwarding(),
  ]);
  return { links, routes, neighbours, forwarding };
}

/** Undefined where the namespace no longer exists, or may not be read. */
async function insideOf(id: number): Promise<Inside | undefined> {
  if (id < 0) return undefined;
  try {
    const [addresses, links] = await Promise.all([dumpAddresses({ id }), dumpLinks({ id })]);
    return { addresses, links };
  } catch (error) {
    if (["EINVAL", "ENODEV", "EPERM", "EACCES"].includes(codeOf(error) ?? "")) return undefined;
    throw error;
  }
}

// The ids of network namespaces that `ip netns` has a name for.

export interface NetnsIds {
  /**
   * The id by which links of this node name it; undefined where no pair leads there. Errors: where no namespace has
   * that name.
   */
  idOf(name: string): number | undefined;
}

const DIRECTORY = "/run/netns";

/** Keeps each answer for as long as the name refers to the same namespace, or until forget(). */
export function openNetnsIds(): NetnsIds & { forget(): void } {
  const known = new Map<string, { readonly inode: number; readonly id: number }>();
  return {
    idOf(name) {
      const path = join(DIRECTORY, name);
      const inode = statSync(path).ino;
      const before = known.get(name);
      if (before?.inode === inode) return before.id;
      const id = netnsId(path);
      if (id !== undefined) known.set(name, { inode, id });
      return id;
    },
    forget: () => known.clear(),
  };
}
