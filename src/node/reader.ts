// Takes in events, and reads again what they only hint at: an event says that something is to be looked at.

import { dumpAddresses, dumpForwarding, dumpLinks, dumpNeighbours, dumpRoutes, type NetEvent } from "bpf-ts";
import { codeOf } from "../base/errors.ts";
import type { Dumped, Inside, Store } from "./netlink-cache.ts";
import { isPairElsewhere, type NetLink, type NodeTables } from "./node-tables.ts";

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
  let told = -1;
  let closed = false;
  let retry: NodeJS.Timeout | undefined;

  function tell(): void {
    const { version } = store.tables();
    if (version === told || closed || work.meanwhile !== undefined) return;
    told = version;
    options.onChange();
  }

  async function readOn(): Promise<void> {
    try {
      while (!closed && isLeft(work)) {
        await readWanted(work);
        tell();
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
      told = store.tables().version;
    },
    askAll() {
      work.all = true;
      start();
    },
    take(events) {
      for (const event of events) take(work, event);
      tell();
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

/** A pair that leads to another namespace than before, or was not there. */
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
    // While a pair is being made, its first end does not know the other one yet.
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

/** Undefined where the namespace is no more, or may not be looked into. */
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
