// Ring buffers: batches, back pressure, closing, keeping the process alive.
import { expect, test } from "vitest";
import { type BpfObject, type RingBatch, RingBuffer } from "../lib/index.ts";
import { closing, expectCode, loadSample, makeMap, runChild, sleep, until } from "./support.ts";

const packet = Buffer.alloc(64);
const recordSize = 8;
const burstOf = (count: number) => (object: BpfObject) =>
  object.setVariable("burst", Buffer.from(Uint16Array.of(count).buffer));

/** The sequence numbers of a batch's records, after checking their bounds. */
function sequencesOf({ data, offsets, count }: RingBatch): number[] {
  expect(offsets).toHaveLength(count + 1);
  return Array.from({ length: count }, (_, i) => {
    const record = data.subarray(offsets[i], offsets[i + 1]);
    expect(record).toHaveLength(recordSize);
    return record.readUInt32LE(0);
  });
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

test("records arrive whole, in order and in few batches", async () => {
  const object = await loadSample(burstOf(500));
  const seen: number[] = [];
  let batches = 0;
  const emit = object.program("emit");
  emit.testRun({ data: packet });
  closing(
    RingBuffer.open(object.map("events"), (batch) => {
      batches++;
      seen.push(...sequencesOf(batch));
    }),
  );
  await until(() => seen.length === 500, "the records that were there before");
  expect(batches).toBeLessThanOrEqual(2);
  emit.testRun({ data: packet, repeat: 2 });
  await until(() => seen.length === 1500, "the records that came later");
  expect(seen).toEqual(upTo(1500));
});

test("batches are cut at bytesMax", async () => {
  const object = await loadSample(burstOf(100));
  const counts: number[] = [];
  object.program("emit").testRun({ data: packet });
  closing(
    RingBuffer.open(object.map("events"), ({ count }) => counts.push(count), { bytesMax: 10 * recordSize }),
  );
  await until(() => counts.length === 10, "ten batches");
  expect(counts).toEqual(Array(10).fill(10));
});

test("while JavaScript is busy records wait in the kernel, and programs find it full in the end", async () => {
  const object = await loadSample(burstOf(500));
  const seen: number[] = [];
  closing(
    RingBuffer.open(object.map("events"), (batch) => seen.push(...sequencesOf(batch)), { bytesMax: 8 }),
  );
  const emit = object.program("emit");
  let refused = 0;
  // The buffer has room for 4,096 records of 8 bytes and their headers; the event loop does not turn meanwhile.
  for (let i = 0; i < 20; i++) refused += emit.testRun({ data: packet }).result === 2 ? 1 : 0;
  expect(refused).toBeGreaterThan(5);
  const kept = object.getData(".bss");
  const counted = [kept.readBigUInt64LE(0), kept.readBigUInt64LE(8)].map(Number);
  await until(() => seen.length >= 4000 && counted.includes(seen.length), "what fitted");
  expect(seen).toEqual(upTo(seen.length));
  expect(seen.length).toBeLessThan(4200);
});

test("a buffer closed in its callback is silent afterwards", async () => {
  const object = await loadSample(burstOf(50));
  let calls = 0;
  const ring = RingBuffer.open(
    object.map("events"),
    () => {
      calls++;
      ring.close();
      ring.close();
    },
    { bytesMax: recordSize },
  );
  object.program("emit").testRun({ data: packet });
  await until(() => calls === 1, "the first batch");
  object.program("emit").testRun({ data: packet });
  await sleep(50);
  expect(calls).toBe(1);
  expect(ring.closed).toBe(true);
  await expectCode("CLOSED", () => ring.ref());
  await expectCode("CLOSED", () => ring.unref());
});

test("the map may be closed before the buffer", async () => {
  const object = await loadSample();
  const map = object.map("events");
  let records = 0;
  closing(RingBuffer.open(map, ({ count }) => (records += count)));
  map.close();
  object.program("emit").testRun({ data: packet });
  await until(() => records === 1, "a record");
  await expectCode("CLOSED", () => RingBuffer.open(map, () => undefined));
});

test("failing to open is an error", async () => {
  const object = await loadSample();
  const events = object.map("events");
  const nothing = () => undefined;
  await expectCode("ARGUMENT", () => RingBuffer.open(makeMap(), nothing));
  await expectCode("ARGUMENT", () => RingBuffer.open({} as typeof events, nothing));
  await expectCode("ARGUMENT", () => RingBuffer.open(events, undefined as unknown as typeof nothing));
  await expectCode("ARGUMENT", () => RingBuffer.open(events, nothing, { bytesMax: 0 }));
});

const prelude = `
  const object = bpf.BpfObject.open(samplePath);
  await object.load();
  const emit = () => object.program("emit").testRun({ data: Buffer.alloc(64) });`;

test("an open buffer keeps the process alive, one with unref() does not", async () => {
  const held = await runChild(`${prelude}
    const ring = bpf.RingBuffer.open(object.map("events"), () => { console.log("record"); ring.close(); });
    setTimeout(emit, 100).unref();
    ring.unref();
    ring.ref();
    setTimeout(() => process.exit(3), 60_000).unref();`);
  // The timer does not hold the process; that it fires at all is the open buffer's doing.
  expect(held).toEqual({ status: 0, signal: null, stdout: "record\n", stderr: "" });
  const free = await runChild(`${prelude}
    bpf.RingBuffer.open(object.map("events"), () => {}).unref();
    setTimeout(() => process.exit(3), 60_000).unref();`);
  expect(free).toEqual({ status: 0, signal: null, stdout: "", stderr: "" });
});

test("an exception of the callback is an uncaught exception, and the next batch comes all the same", async () => {
  const outcome = await runChild(`${prelude}
    process.on("uncaughtException", (error) => console.log(error.message));
    let calls = 0;
    const ring = bpf.RingBuffer.open(object.map("events"), () => {
      if (++calls === 2) ring.close();
      setTimeout(emit, 10);
      throw new Error("call " + calls);
    });
    emit();`);
  expect(outcome).toEqual({ status: 0, signal: null, stdout: "call 1\ncall 2\n", stderr: "" });
});
