// DNS messages (RFC 1035): questions, and answers, of a server or forged ones.

export const DNS_TYPE = { A: 1, CNAME: 5, TXT: 16, AAAA: 28 } as const;

const CLASS_IN = 1;
const RESPONSE = 0x8000;
const RECURSION_DESIRED = 0x0100;

export interface DnsQuestion {
  readonly id: number;
  readonly name: string;
  /** One of DNS_TYPE, or another one. */
  readonly type: number;
  readonly class?: number;
}

export interface DnsRecord {
  /** By default the question's, as a pointer to it. */
  readonly name?: string | Uint8Array;
  readonly type: number;
  readonly class?: number;
  readonly ttl: number;
  readonly data: Uint8Array;
}

export interface DnsAnswer extends DnsQuestion {
  readonly records: readonly DnsRecord[];
  /** Other bits of the header; by default those of a successful answer. */
  readonly flags?: number;
  /** Where the header gives another number of records than there are. */
  readonly count?: number;
}

/** A name as labels; each is one byte of its length and then its bytes. */
export function encodeName(name: string): Uint8Array {
  const labels = name === "" ? [] : name.split(".");
  return Buffer.concat([
    ...labels.map((label) => Buffer.from([label.length, ...Buffer.from(label)])),
    Buffer.of(0),
  ]);
}

const u16 = (...values: readonly number[]): Buffer =>
  Buffer.concat(values.map((value) => Buffer.of(value >> 8, value & 0xff)));

const encodeQuestion = ({ name, type, class: of = CLASS_IN }: DnsQuestion): Buffer =>
  Buffer.concat([encodeName(name), u16(type, of)]);

export const dnsQuestion = (question: DnsQuestion): Buffer =>
  Buffer.concat([u16(question.id, RECURSION_DESIRED, 1, 0, 0, 0), encodeQuestion(question)]);

/** The name of the question, which follows the header. */
const POINTER = Buffer.of(0xc0, 12);

export function dnsAnswer({
  records,
  flags = RESPONSE,
  count = records.length,
  ...question
}: DnsAnswer): Buffer {
  const encoded = records.map(({ name, type, class: of = CLASS_IN, ttl, data }) =>
    Buffer.concat([
      name === undefined ? POINTER : typeof name === "string" ? encodeName(name) : name,
      u16(type, of, ttl >>> 16, ttl & 0xffff, data.length),
      data,
    ]),
  );
  return Buffer.concat([u16(question.id, flags, 1, count, 0, 0), encodeQuestion(question), ...encoded]);
}

/** The first question of a message; undefined if it cannot be read. */
export function questionOf(message: Uint8Array): DnsQuestion | undefined {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const labels: string[] = [];
  let at = 12;
  for (let length = message[at]; length !== 0; length = message[at]) {
    if (length === undefined || length > 63) return undefined;
    labels.push(Buffer.from(message.subarray(at + 1, at + 1 + length)).toString("latin1"));
    at += length + 1;
  }
  if (at + 5 > message.length) return undefined;
  return {
    id: view.getUint16(0),
    name: labels.join("."),
    type: view.getUint16(at + 1),
    class: view.getUint16(at + 3),
  };
}

/** Bytes of addresses by type. */
const ADDRESS_BYTES: Readonly<Record<number, number>> = { [DNS_TYPE.A]: 4, [DNS_TYPE.AAAA]: 16 };

/** The addresses in an answer whose records are the question's own; [] if it has none. @throws RangeError if it is cut off */
export function addressesIn(message: Uint8Array): readonly Uint8Array[] {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const found: Uint8Array[] = [];
  let at = 12 + encodeName(questionOf(message)?.name ?? "").length + 4;
  for (let left = view.getUint16(6); left > 0; left -= 1) {
    const length = view.getUint16(at + 10);
    const begin = at + 12;
    if (ADDRESS_BYTES[view.getUint16(at + 2)] === length) found.push(message.subarray(begin, begin + length));
    at = begin + length;
  }
  return found;
}

/** With the length before it, as over TCP. */
export const dnsOverTcp = (message: Uint8Array): Buffer => Buffer.concat([u16(message.length), message]);
