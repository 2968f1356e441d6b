// The flow table as user space reads it: copied out of its memory, bucket by bucket, and decoded. Only programs write it.

import { randomBytes } from "node:crypto";
import type { MapMemory } from "bpf-ts";
import {
  BUCKET_ENTRIES,
  FLOW_BUCKET_V4_OFFSETS,
  FLOW_BUCKET_V4_SIZE,
  FLOW_BUCKET_V6_OFFSETS,
  FLOW_BUCKET_V6_SIZE,
  FLOW_ENTRY_V4_OFFSETS,
  FLOW_ENTRY_V4_SIZE,
  FLOW_ENTRY_V6_OFFSETS,
  FLOW_ENTRY_V6_SIZE,
  FLOW_EPOCH,
  FLOW_EXPIRES_BITS,
  FLOW_NONCE_AT,
  FLOW_OPENER_AT,
  FLOW_STAMP_AT,
  FLOW_STAMP_BITS,
  FLOW_STATE_AT,
  FLOW_STATE_BITS,
  FLOW_V4_KEY_SIZE,
  FLOW_V6_KEY_SIZE,
  type FlowSecret,
} from "../gen/layout.ts";
import type { FlowBuckets } from "./flow-capacity.ts";

/** Where things are in a bucket, in bytes. */
export interface BucketShape {
  readonly size: number;
  readonly entries: number;
  readonly entriesAt: number;
  readonly entrySize: number;
  readonly dataAt: number;
  readonly keyAt: number;
  readonly keySize: number;
}

/** The fields of an entry's data, by their lowest bits. */
export interface DataBits {
  readonly expiresBits: number;
  readonly stampAt: number;
  readonly stampBits: number;
  readonly stateAt: number;
  readonly stateBits: number;
  readonly openerAt: number;
  readonly nonceAt: number;
  /** In ticks. */
  readonly epoch: number;
}

export type TableName = keyof FlowBuckets;
export const FLOW_TABLES = ["conntrack_v4", "conntrack_v6"] as const satisfies readonly TableName[];

export const SHAPES: Readonly<Record<TableName, BucketShape>> = {
  conntrack_v4: {
    size: FLOW_BUCKET_V4_SIZE,
    entries: BUCKET_ENTRIES,
    entriesAt: FLOW_BUCKET_V4_OFFSETS.entries,
    entrySize: FLOW_ENTRY_V4_SIZE,
    dataAt: FLOW_ENTRY_V4_OFFSETS.data,
    keyAt: FLOW_ENTRY_V4_OFFSETS.key,
    keySize: FLOW_V4_KEY_SIZE,
  },
  conntrack_v6: {
    size: FLOW_BUCKET_V6_SIZE,
    entries: BUCKET_ENTRIES,
    entriesAt: FLOW_BUCKET_V6_OFFSETS.entries,
    entrySize: FLOW_ENTRY_V6_SIZE,
    dataAt: FLOW_ENTRY_V6_OFFSETS.data,
    keyAt: FLOW_ENTRY_V6_OFFSETS.key,
    keySize: FLOW_V6_KEY_SIZE,
  },
};

export const BITS: DataBits = {
  expiresBits: FLOW_EXPIRES_BITS,
  stampAt: FLOW_STAMP_AT,
  stampBits: FLOW_STAMP_BITS,
  stateAt: FLOW_STATE_AT,
  stateBits: FLOW_STATE_BITS,
  openerAt: FLOW_OPENER_AT,
  nonceAt: FLOW_NONCE_AT,
  epoch: FLOW_EPOCH,
};

/** A new secret for tables of this size. */
export function newSecret({ conntrack_v4, conntrack_v6 }: FlowBuckets): FlowSecret {
  const word = (): bigint => randomBytes(8).readBigUInt64LE();
  return {
    hash: [word(), word(), word(), word(), word()],
    finish: word() | 1n,
    chain: word() | 1n,
    entry: word() | 1n,
    buckets: [conntrack_v4, conntrack_v6],
  };
}

// The hash and the mix of bpf/flow_table.h. BigInts: a number of JavaScript cannot hold the products.

const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
const LOW = 0xffff_ffffn;
const folded = (value: bigint): bigint => value ^ (value >> 32n);

const mixed = (value: bigint, { chain }: FlowSecret): bigint => folded(u64(value * chain));

function hashOf(words: readonly bigint[], { hash, finish }: FlowSecret): bigint {
  let sum = 0n;
  for (const [i, word] of words.entries()) {
    const secret = hash[i] ?? 0n;
    sum += ((word + secret) & LOW) * (((word >> 32n) + (secret >> 32n)) & LOW);
  }
  return folded(u64(u64(sum) * finish));
}

/** The two buckets in which a key may be. */
function bucketsOf(words: readonly bigint[], buckets: number, secret: FlowSecret): readonly [number, number] {
  const hash = hashOf(words, secret);
  const count = BigInt(buckets);
  const first = Number(((hash >> 32n) * count) >> 32n);
  const second = Number(((hash & LOW) * count) >> 32n);
  if (second !== first) return [first, second];
  return [first, first === 0 ? 1 : first - 1];
}

/** An entry, as it is stored. */
export interface StoredFlow {
  /** In units of flow time. */
  readonly expires: number;
  readonly stamp: number;
  readonly state: number;
  readonly opener: number;
  /** All of these, and the nonce. */
  readonly data: bigint;
  /** The bytes of the key; of the next flow once that is read. */
  readonly key: DataView;
}

export interface TableSource {
  readonly memory: Pick<MapMemory, "read" | "byteLength">;
  readonly secret: FlowSecret;
  readonly shape: BucketShape;
  readonly bits: DataBits;
}

/** Buckets that are copied at once. */
const CHUNK_BYTES = 64 * 1024;
/** A place that changes each time that it is read is skipped: its flow is being made, and no dump has to have it. */
const ATTEMPTS_MAX = 4;

/**
 * All flows, also expired ones. An entry counts if two copies in a row agree and its key belongs into this bucket; others are read again, and
 * left out if they are still torn.
 */
export function* flowsIn(source: TableSource): Generator<StoredFlow> {
  for (const flows of flowsByChunk(source)) yield* flows;
}

/** The same; awaits `pause` between chunks, also where the table is empty. */
export async function* flowsInTurns(
  source: TableSource,
  pause: () => Promise<unknown>,
): AsyncGenerator<StoredFlow> {
  for (const flows of flowsByChunk(source)) {
    yield* flows;
    await pause();
  }
}

function* flowsByChunk(source: TableSource): Generator<Iterable<StoredFlow>> {
  const { memory, shape } = source;
  const chunk = Math.max(shape.size, CHUNK_BYTES - (CHUNK_BYTES % shape.size));
  const decode = entryDecoder(source);
  const [first, second] = [Buffer.alloc(chunk), Buffer.alloc(chunk)];
  for (let at = 0; at < memory.byteLength; at += chunk) {
    const size = Math.min(chunk, memory.byteLength - at);
    memory.read(first.subarray(0, size), at);
    memory.read(second.subarray(0, size), at);
    yield flowsOfChunk({ first, second, size, at }, decode, source);
  }
}

interface Copies {
  readonly first: Buffer;
  readonly second: Buffer;
  readonly size: number;
  /** Of the chunk in the memory. */
  readonly at: number;
}

type Decode = (bytes: DataView, entry: number, bucket: number) => StoredFlow | undefined;

function* flowsOfChunk(
  { first, second, size, at }: Copies,
  decode: Decode,
  { memory, shape, bits }: Omit<TableSource, "secret">,
): Generator<StoredFlow> {
  const view = viewOf(second);
  for (let bucketAt = 0; bucketAt < size; bucketAt += shape.size) {
    for (let entry = 0; entry < shape.entries; entry++) {
      const entryAt = bucketAt + shape.entriesAt + entry * shape.entrySize;
      if (isFree(view, entryAt + shape.dataAt, bits)) continue;
      const bucket = (at + bucketAt) / shape.size;
      const flow = sameEntry(first, second, entryAt, shape) ? decode(view, entryAt, bucket) : undefined;
      const found = flow ?? readAgain({ memory, shape, bits }, decode, { entryAt: at + entryAt, bucket });
      if (found !== undefined) yield found;
    }
  }
}

/** By two more copies of this entry. */
function readAgain(
  { memory, shape, bits }: Omit<TableSource, "secret">,
  decode: Decode,
  { entryAt, bucket }: { readonly entryAt: number; readonly bucket: number },
): StoredFlow | undefined {
  const [first, second] = [Buffer.alloc(shape.entrySize), Buffer.alloc(shape.entrySize)];
  const view = viewOf(second);
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    memory.read(first, entryAt);
    memory.read(second, entryAt);
    if (isFree(view, shape.dataAt, bits)) return undefined;
    const flow = sameEntry(first, second, 0, shape) ? decode(view, 0, bucket) : undefined;
    if (flow !== undefined) return flow;
  }
  return undefined;
}

const viewOf = ({ buffer, byteOffset, byteLength }: Buffer): DataView =>
  new DataView(buffer, byteOffset, byteLength);

/** Or claimed by an insertion that is under way: expiry, in the lowest bits, is zero for both. */
const isFree = (view: DataView, at: number, { expiresBits }: DataBits): boolean =>
  (view.getUint32(at, true) & (2 ** expiresBits - 1)) === 0;

/** But for the data word: a refresh between the copies is no harm. */
const sameEntry = (a: Buffer, b: Buffer, at: number, { keyAt, keySize }: BucketShape): boolean =>
  a.compare(b, at + keyAt, at + keyAt + keySize, at + keyAt, at + keyAt + keySize) === 0;

function entryDecoder({ memory, secret, shape, bits }: TableSource): Decode {
  const words = shape.keySize / 8;
  const buckets = memory.byteLength / shape.size;
  const key = new DataView(new ArrayBuffer(shape.keySize));
  const field = (data: bigint, at: number, length: number): number =>
    Number((data >> BigInt(at)) & ((1n << BigInt(length)) - 1n));
  return (view, entryAt, bucket) => {
    const data = view.getBigUint64(entryAt + shape.dataAt, true);
    const mask = u64((data >> BigInt(bits.openerAt)) * secret.entry);
    const plain: bigint[] = [];
    let chain = 0n;
    for (let i = 0; i < words; i++) {
      const word = view.getBigUint64(entryAt + shape.keyAt + 8 * i, true) ^ chain ^ mask;
      key.setBigUint64(8 * i, word, true);
      plain.push(word);
      chain = mixed(chain ^ word, secret);
    }
    if (!bucketsOf(plain, buckets, secret).includes(bucket)) return undefined;
    return {
      expires: field(data, 0, bits.expiresBits),
      stamp: field(data, bits.stampAt, bits.stampBits),
      state: field(data, bits.stateAt, bits.stateBits),
      opener: field(data, bits.openerAt, bits.nonceAt - bits.openerAt),
      data,
      key,
    };
  };
}

// Flow time, and what a stamp says of the generation.

/** Ticks to units of flow time, and back. */
export const flowTimeOf = (ticks: bigint, unitShift: number, { epoch }: DataBits = BITS): number =>
  Number((ticks - BigInt(epoch)) >> BigInt(unitShift));

export const ticksOf = (units: number, unitShift: number, { epoch }: DataBits = BITS): bigint =>
  (BigInt(units) << BigInt(unitShift)) + BigInt(epoch);

/** The latest generation up to the current one that has this stamp. */
export function generationOf(stamp: number, current: number, { stampBits }: DataBits = BITS): number {
  const period = 2 ** stampBits;
  const age = ((current % period) - stamp + period) % period;
  return (current - age) >>> 0;
}

// How full a table is.

export interface FlowUse {
  /** Flows that have not expired. */
  readonly live: number;
  /** Flows that fit. */
  readonly places: number;
}

/** Reads the data words alone; awaits `pause` between chunks. `now` is in units. */
export async function useOf(
  { memory, shape, bits }: Omit<TableSource, "secret">,
  now: number,
  pause: () => Promise<unknown>,
): Promise<FlowUse> {
  const chunk = Math.max(shape.size, CHUNK_BYTES - (CHUNK_BYTES % shape.size));
  const copy = Buffer.alloc(chunk);
  const view = viewOf(copy);
  const mask = 2 ** bits.expiresBits - 1;
  let live = 0;
  for (let at = 0; at < memory.byteLength; at += chunk) {
    const size = Math.min(chunk, memory.byteLength - at);
    memory.read(copy.subarray(0, size), at);
    for (let bucketAt = 0; bucketAt < size; bucketAt += shape.size) {
      for (let entry = 0; entry < shape.entries; entry++) {
        // Expiry is in the lowest bits: the low half of the word is enough.
        const low = view.getUint32(bucketAt + shape.entriesAt + entry * shape.entrySize + shape.dataAt, true);
        if ((low & mask) > now) live += 1;
      }
    }
    await pause();
  }
  return { live, places: (memory.byteLength / shape.size) * shape.entries };
}
