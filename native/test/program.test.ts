// Programs: info, test runs with data and context, pins.
import { expect, test } from "vitest";
import { BpfMap, BpfProgram, listPrograms, ProgramType } from "../lib/index.ts";
import { closing, expectCode, failure, loadSample, pinPath, u32, u64 } from "./support.ts";

const packet = Buffer.alloc(64, 0xab);
const skbMarkOffset = 8; // struct __sk_buff: len, pkt_type, mark
const skbSize = 192;

test("info shows what the kernel loaded", async () => {
  const object = await loadSample();
  const { info } = object.program("count");
  expect(info).toMatchObject({ name: "count", type: ProgramType.SCHED_CLS, runCount: 0, runTimeNs: 0 });
  expect(info.tag).toMatch(/^[0-9a-f]{16}$/);
  expect(info.tag).toBe((await loadSample()).program("count").info.tag);
  expect(info.verifiedInstructions).toBeGreaterThan(10);
  expect(info.translatedSize).toBeGreaterThan(0);
  expect(info.loadTime).toBeGreaterThan(0);
  expect(info.mapIds).toContain(object.map("counters").info.id);
  expect(info.mapIds).not.toContain(object.map("events").info.id);
  expect(listPrograms()).toContain(info.id);
  expect(closing(BpfProgram.openById(info.id)).info.tag).toBe(info.tag);
});

test("a run gives result, packet and time", async () => {
  const object = await loadSample((opened) => opened.setVariable("verdict", u32(6)));
  const { result, dataOut, contextOut, duration } = object.program("count").testRun({ data: packet });
  expect({ result, dataOut, contextOut }).toEqual({
    result: 6,
    dataOut: packet,
    contextOut: Buffer.alloc(0),
  });
  expect(duration).toBeGreaterThanOrEqual(0);
  expect(object.map("counters").lookup(u32(0))).toEqual(u64(1));
});

test("a run takes a context and gives it back as the program left it", async () => {
  const object = await loadSample();
  const context = Buffer.alloc(skbSize);
  context.writeUInt32LE(1000, skbMarkOffset);
  const { contextOut } = object.program("count").testRun({ data: packet, context });
  expect(contextOut).toHaveLength(skbSize);
  expect(contextOut.readUInt32LE(skbMarkOffset)).toBe(1024);
  expect(object.map("counters").lookup(u32(1000))).toEqual(u64(1));
  context.writeUInt32LE(1, 0); // skb->len cannot be given
  await expectCode("EINVAL", () => object.program("count").testRun({ data: packet, context }));
});

test("repeats run one after another", async () => {
  const object = await loadSample();
  const program = object.program("count");
  program.testRun({ data: packet, repeat: 10 });
  await program.testRunAsync({ data: packet, repeat: 5 });
  let total = 0n;
  const { count, values } = await object.map("counters").entries();
  for (let i = 0; i < count; i++) total += values.readBigUInt64LE(i * 8);
  expect(total).toBe(15n);
});

test("an XDP program runs too", async () => {
  const object = await loadSample();
  expect(object.program("xdp_pass").testRun({ data: packet }).result).toBe(2);
  expect((await object.program("xdp_drop").testRunAsync({ data: packet })).result).toBe(1);
});

test("too small a buffer, too short a packet and invalid options are errors", async () => {
  const object = await loadSample();
  const program = object.program("count");
  await expectCode("ENOSPC", () => program.testRun({ data: packet, dataOutSize: 10 }));
  await expectCode("EINVAL", () => program.testRun({ data: Buffer.alloc(3) }));
  await expectCode("EINVAL", () => program.testRunAsync({ data: Buffer.alloc(0) }));
  await expectCode("SIZE", () => program.testRun({ data: Buffer.alloc((1 << 20) + 1) }));
  await expectCode("ARGUMENT", () => program.testRun({ data: "x" as unknown as Buffer }));
  await expectCode("ARGUMENT", () => program.testRun({ data: packet, repeat: -1 }));
  await expectCode("ARGUMENT", () => program.testRun({ data: packet, dataOutSize: 2 ** 40 }));
  await expectCode("ARGUMENT", () => program.testRunAsync({ data: packet, cpu: 0.5 }));
  await expectCode("ARGUMENT", () => program.testRunAsync({ data: packet, context: {} as Buffer }));
  expect(await failure(() => program.testRun({ data: Buffer.alloc(3) }))).toMatchObject({
    operation: "program.testRun",
    object: "count",
    errno: 22,
  });
});

test("a program closed during its run runs to the end", async () => {
  const object = await loadSample();
  const program = object.program("drop");
  const runs = Array.from({ length: 6 }, () => program.testRunAsync({ data: packet, repeat: 100_000 }));
  program.close();
  for (const { result } of await Promise.all(runs)) expect(result).toBe(2);
  await expectCode("CLOSED", () => program.testRunAsync({ data: packet }));
});

test("a pinned program is found again", async () => {
  const object = await loadSample();
  const path = pinPath();
  const program = object.program("drop");
  program.pin(path);
  const again = closing(BpfProgram.openPinned(path));
  expect(again.info.id).toBe(program.info.id);
  expect(again.testRun({ data: packet }).result).toBe(2);
  await expectCode("ARGUMENT", () => BpfMap.openPinned(path));
  await expectCode("ARGUMENT", () => object.program("count").unpin(path));
  again.unpin(path);
  await expectCode("ENOENT", () => BpfProgram.openPinned(path));
  await expectCode("ENOENT", () => BpfProgram.openById(0x7fffffff));
});
