// The flow tables of a datapath: their size, the secret that belongs to them, and tables of another size that are replaced.

import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { BpfMap, BpfObject, MapMemory } from "bpf-ts";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";
import { decodeFlowSecret, encodeFlowSecret, FLOW_SECRET_SIZE, type FlowSecret } from "../gen/layout.ts";
import { listDirectory, makeDirectory, openPin, remove } from "./bpffs.ts";
import type { FlowBuckets } from "./flow-capacity.ts";
import { BITS, FLOW_TABLES, newSecret, SHAPES, type TableName, type TableSource } from "./flow-table.ts";
import { earlierDirectory, mapPath } from "./pins.ts";

const SECRET = "flow_secret";

const FIRST = new Uint8Array(4);

const viewOf = (bytes: Buffer): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** As an array has it; its field `buckets` is zero before it is written. */
export function readSecret(map: BpfMap): FlowSecret {
  const bytes = map.lookup(FIRST);
  if (bytes === undefined) throw new Error("assertion failed: an array has its first element");
  return decodeFlowSecret(viewOf(bytes), 0);
}

/** Written once: flows that are in the tables could not be found by another one. Before the programs run. */
export function ensureSecret(map: BpfMap, buckets: FlowBuckets): void {
  if (readSecret(map).buckets[0] !== 0) return;
  const bytes = Buffer.alloc(FLOW_SECRET_SIZE);
  encodeFlowSecret(newSecret(buckets), viewOf(bytes), 0);
  map.update(FIRST, bytes);
}

/** Of loaded tables. */
export const bucketsIn = ({ map }: { map(name: TableName): BpfMap }): FlowBuckets => ({
  conntrack_v4: map("conntrack_v4").info.maxEntries,
  conntrack_v6: map("conntrack_v6").info.maxEntries,
});

export function setSizes(object: Pick<BpfObject, "setMaxEntries">, buckets: FlowBuckets): void {
  for (const name of FLOW_TABLES) object.setMaxEntries(name, buckets[name]);
}

/**
 * Moves pinned tables of another size, and their secret, out of the way of new ones. Their flows are converted later
 * (flow-carry-over.ts), while the old programs may still use them. The secret is moved first: after an interruption tables without a
 * secret are those that have to follow it. Errors: OperationError, BpfError.
 */
export function setAside(root: string, wanted: FlowBuckets): void {
  const pinned = FLOW_TABLES.filter((name) => existsSync(mapPath(root, name)));
  using secret = openPin("map", mapPath(root, SECRET));
  if (secret === undefined) {
    for (const name of pinned) follow(root, name);
    return;
  }
  const { buckets } = readSecret(secret);
  const isSame = FLOW_TABLES.every((name, at) => {
    if (![0, wanted[name]].includes(buckets[at] ?? 0)) return false;
    using table = openPin("map", mapPath(root, name));
    return table === undefined || table.info.maxEntries === wanted[name];
  });
  if (isSame) return;
  const directory = join(earlierDirectory(root), String(secret.info.id));
  makeDirectory(directory);
  for (const name of [SECRET, ...pinned]) move(mapPath(root, name), join(directory, name));
}

/** Without their secret, which somebody has removed, the flows of a table cannot be read. */
function follow(root: string, name: TableName): void {
  const to = earlierTables(root)
    .map((directory) => join(directory, name))
    .find((path) => !existsSync(path));
  if (to === undefined) remove(mapPath(root, name));
  else move(mapPath(root, name), to);
}

function move(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (cause) {
    const code = codeOf(cause);
    throw new OperationError(messageOf(cause), {
      operation: "move",
      object: from,
      cause,
      ...(code && { code }),
    });
  }
}

/** Directories with tables of another size, whose flows may not be in the present ones yet. Errors: OperationError. */
export const earlierTables = (root: string): string[] =>
  listDirectory(earlierDirectory(root)).map((name) => join(earlierDirectory(root), name));

/** Once no program uses them. */
export const removeEarlierTables = (root: string): void =>
  rmSync(earlierDirectory(root), { recursive: true, force: true });

/** Opens a table for reading; the caller must close its memory. Errors: BpfError. */
export function openTable(
  name: TableName,
  map: (name: TableName | typeof SECRET) => BpfMap,
): TableSource & { readonly memory: MapMemory } {
  return { memory: map(name).mmap(), secret: readSecret(map(SECRET)), shape: SHAPES[name], bits: BITS };
}
