// A block of the history: what was counted in one minute, and its form on disk.

import { crc32, deflateRawSync, inflateRawSync } from "node:zlib";
import { DIRECTIONS, type Direction } from "../base/direction.ts";

/** Packets of one kind in the minute. */
export interface HistoryRow {
  /** `namespace/name`; empty for interfaces without an endpoint. */
  readonly pod: string;
  readonly direction: Direction;
  readonly reason: string;
  /** The other end, a pod or an address; empty for packets whose other end was not recorded. */
  readonly peer: string;
  /** "TCP/80", the port that the flow's opener connects to; "ICMP"; empty if it was not recorded. */
  readonly port: string;
  /** Policies that isolate the pod there, as `namespace/name`. */
  readonly policies: readonly string[];
  readonly packets: number;
  readonly bytes: number;
}

export interface HistoryBlock {
  /** Increases by one with each block, over restarts too. */
  readonly sequence: number;
  /** In ms since the epoch. */
  readonly from: number;
  readonly to: number;
  /** No agent ran for a part of it: the packets are counted, their peers are not known. */
  readonly away: boolean;
  readonly rows: readonly HistoryRow[];
}

/** A block without its rows, which are decoded on demand. */
export interface BlockHead extends Omit<HistoryBlock, "rows"> {
  /** Of the frame, in bytes. */
  readonly length: number;
}

// A frame: magic, length of the payload, CRC-32 of all that follows, flags, sequence, from, to, payload. The payload is compressed JSON.

const MAGIC = Buffer.from("WHB1");
const LENGTH_AT = 4;
const CRC_AT = 8;
const CHECKED_AT = 12;
const SEQUENCE_AT = 16;
const FROM_AT = 24;
const TO_AT = 32;
const HEAD_BYTES = 40;
const AWAY = 1;
const PAYLOAD_BYTES_MAX = 16 * 1024 * 1024;
const TEXT_BYTES_MAX = 128 * 1024 * 1024;

/** Columns, because equal things compress best side by side; texts are indexes into `texts`. */
interface Payload {
  readonly texts: readonly string[];
  readonly pods: readonly number[];
  readonly directions: readonly number[];
  readonly reasons: readonly number[];
  readonly peers: readonly number[];
  readonly ports: readonly number[];
  /** Indexes into `lists`. */
  readonly policies: readonly number[];
  readonly lists: readonly (readonly number[])[];
  readonly packets: readonly number[];
  readonly bytes: readonly number[];
}

export function frameOf(block: HistoryBlock): Buffer {
  const payload = deflateRawSync(JSON.stringify(payloadOf(block.rows)));
  const frame = Buffer.alloc(HEAD_BYTES + payload.length);
  MAGIC.copy(frame);
  frame.writeUInt32LE(payload.length, LENGTH_AT);
  frame.writeUInt32LE(block.away ? AWAY : 0, CHECKED_AT);
  frame.writeDoubleLE(block.sequence, SEQUENCE_AT);
  frame.writeDoubleLE(block.from, FROM_AT);
  frame.writeDoubleLE(block.to, TO_AT);
  payload.copy(frame, HEAD_BYTES);
  frame.writeUInt32LE(crc32(frame.subarray(CHECKED_AT)), CRC_AT);
  return frame;
}

function payloadOf(rows: readonly HistoryRow[]): Payload {
  const texts = indexer<string>((text) => text);
  const lists = indexer<readonly number[]>((list) => list.join());
  const sorted = [...rows].sort((a, b) => (a.pod < b.pod ? -1 : a.pod > b.pod ? 1 : 0));
  return {
    pods: sorted.map(({ pod }) => texts.of(pod)),
    directions: sorted.map(({ direction }) => DIRECTIONS.indexOf(direction)),
    reasons: sorted.map(({ reason }) => texts.of(reason)),
    peers: sorted.map(({ peer }) => texts.of(peer)),
    ports: sorted.map(({ port }) => texts.of(port)),
    policies: sorted.map(({ policies }) => lists.of(policies.map(texts.of))),
    packets: sorted.map(({ packets }) => packets),
    bytes: sorted.map(({ bytes }) => bytes),
    texts: texts.all,
    lists: lists.all,
  };
}

function indexer<T>(keyOf: (value: T) => string): { readonly all: readonly T[]; of(value: T): number } {
  const all: T[] = [];
  const places = new Map<string, number>();
  return {
    all,
    of(value) {
      const key = keyOf(value);
      const known = places.get(key);
      if (known !== undefined) return known;
      places.set(key, all.length);
      return all.push(value) - 1;
    },
  };
}

/** The head of the frame that begins here; undefined if there is none that is complete and undamaged. */
export function headAt(file: Buffer, offset: number): BlockHead | undefined {
  if (file.length - offset < HEAD_BYTES || file.compare(MAGIC, 0, MAGIC.length, offset, offset + 4) !== 0)
    return undefined;
  const size = file.readUInt32LE(offset + LENGTH_AT);
  const length = HEAD_BYTES + size;
  if (size > PAYLOAD_BYTES_MAX || file.length - offset < length) return undefined;
  const checked = file.subarray(offset + CHECKED_AT, offset + length);
  if (crc32(checked) !== file.readUInt32LE(offset + CRC_AT)) return undefined;
  const [sequence, from, to] = [SEQUENCE_AT, FROM_AT, TO_AT].map((at) => file.readDoubleLE(offset + at));
  if (!Number.isSafeInteger(sequence) || !Number.isFinite(from) || !Number.isFinite(to)) return undefined;
  const away = (file.readUInt32LE(offset + CHECKED_AT) & AWAY) !== 0;
  return { sequence: sequence as number, from: from as number, to: to as number, away, length };
}

/** All frames of a file, and how many of its bytes belong to none. */
export function framesIn(file: Buffer): {
  readonly frames: readonly (BlockHead & { readonly offset: number })[];
  readonly damaged: number;
} {
  const frames: (BlockHead & { offset: number })[] = [];
  let damaged = 0;
  for (let offset = 0; offset < file.length; ) {
    const head = headAt(file, offset);
    if (head !== undefined) {
      frames.push({ ...head, offset });
      offset += head.length;
      continue;
    }
    const next = file.indexOf(MAGIC, offset + 1);
    const end = next < 0 ? file.length : next;
    damaged += end - offset;
    offset = end;
  }
  return { frames, damaged };
}

/** The rows of a frame. @throws Error if it is not one that `frameOf` has made */
export function rowsOf(frame: Buffer): HistoryRow[] {
  if (headAt(frame, 0) === undefined) throw new Error("the frame is damaged");
  const text = inflateRawSync(frame.subarray(HEAD_BYTES), { maxOutputLength: TEXT_BYTES_MAX }).toString();
  const payload = JSON.parse(text) as Payload;
  const at = <T>(list: readonly T[], index: number | undefined): T => {
    const value = list[index ?? -1];
    if (value === undefined) throw new Error("the frame has an index without a value");
    return value;
  };
  const lists = payload.lists.map((list) => list.map((index) => at(payload.texts, index)));
  return payload.pods.map((pod, row) => ({
    pod: at(payload.texts, pod),
    direction: at(DIRECTIONS, payload.directions[row]),
    reason: at(payload.texts, payload.reasons[row]),
    peer: at(payload.texts, payload.peers[row]),
    port: at(payload.texts, payload.ports[row]),
    policies: at(lists, payload.policies[row]),
    packets: at(payload.packets, row),
    bytes: at(payload.bytes, row),
  }));
}
