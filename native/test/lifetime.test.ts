// Descriptors do not leak, unclosed handles are collected, and the event loop goes on while the kernel works.
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  BpfLink,
  BpfMap,
  BpfObject,
  BpfProgram,
  Btf,
  findClsact,
  hasTcx,
  MapType,
  queryTc,
  RingBuffer,
} from "../lib/index.ts";
import {
  barePath,
  closing,
  loadSample,
  makeMap,
  makeVeth,
  openDescriptors,
  pinPath,
  refusedPath,
  runChild,
  samplePath,
  until,
} from "./support.ts";

const cycles = 1000;

/** Fails unless as many descriptors are open after `cycle` has run many times as before. */
async function expectNoLeak(cycle: () => unknown, times = cycles): Promise<void> {
  await cycle(); // what is opened once and kept
  const before = openDescriptors();
  for (let i = 0; i < times; i++) await cycle();
  await until(() => openDescriptors() <= before, `${before} descriptors, there are ${openDescriptors()}`);
}

test("maps, programs, links and BTF opened and closed", async () => {
  const object = await loadSample();
  const path = pinPath();
  const pinned = makeMap();
  pinned.pin(path);
  const { ifindex } = makeVeth();
  const link = await BpfLink.attach(object.program("xdp_pass"), { kind: "xdp", ifindex, mode: "generic" });
  const [programId, linkId, btfId] = [
    object.program("pass").info.id,
    link.info.id,
    object.map("counters").info.btfId,
  ];
  await expectNoLeak(() => {
    BpfMap.create(mapSpec).close();
    BpfMap.openPinned(path).close();
    object.map("counters").close();
    object.program("pass").close();
    BpfProgram.openById(programId).close();
    BpfLink.openById(linkId).close();
    Btf.openById(btfId);
    if (hasTcx()) queryTc(ifindex, "ingress");
    findClsact(ifindex, "ingress", 1, 1);
    object.getData(".rodata");
  });
  pinned.unpin(path);
  link.close();
});

const mapSpec = { type: MapType.HASH, name: "wt_map", keySize: 4, valueSize: 4, maxEntries: 1 };

test("failures", async () => {
  const object = await loadSample();
  const [program, noRing] = [object.program("pass"), object.map("counters")];
  const spec = { ifindex: 0x7ffffff, direction: "ingress" } as const;
  const swallow = (call: () => unknown) =>
    Promise.resolve()
      .then(call)
      .catch(() => undefined);
  await expectNoLeak(async () => {
    await swallow(() => BpfObject.open("/nonexistent"));
    await swallow(() => BpfObject.open(Buffer.alloc(100)));
    await swallow(() => BpfMap.openPinned("/sys/fs/bpf/wt-none"));
    await swallow(() => BpfLink.attach(program, { kind: "tcx", ...spec }));
    await swallow(() => BpfLink.attach(program, { kind: "clsact", ...spec, handle: 1, priority: 1 }));
    await swallow(() => RingBuffer.open(noRing, () => undefined));
    await swallow(() => object.map("nobody"));
  }, 300);
  await expectNoLeak(async () => {
    const refused = BpfObject.open(refusedPath);
    await swallow(() => refused.load());
    refused.close();
  }, 100);
});

test("objects loaded, links attached and ring buffers opened", async () => {
  await expectNoLeak(() => BpfObject.open(samplePath).close());
  await expectNoLeak(async () => {
    const object = BpfObject.open(samplePath);
    await object.load();
    object.close();
  }, 20);
  await expectNoLeak(async () => {
    const object = BpfObject.open(barePath);
    const template = BpfMap.create(mapSpec);
    object.setInnerMap("outer", template);
    template.close();
    await object.load();
    object.close();
  }, 50);
  const object = await loadSample();
  const [program, events] = [object.program("xdp_pass"), object.map("events")];
  const { ifindex } = makeVeth();
  await expectNoLeak(async () => {
    const link = await BpfLink.attach(program, { kind: "xdp", ifindex, mode: "generic" });
    await link.update(program);
    link.close();
  }, 50); // the kernel takes its time over each
  await expectNoLeak(() => RingBuffer.open(events, () => undefined).close());
});

test("handles that were not closed are collected", async () => {
  const outcome = await runChild(
    `
    import { readdirSync } from "node:fs";
    const open = () => readdirSync("/proc/self/fd").length;
    const object = bpf.BpfObject.open(samplePath);
    await object.load();
    const before = open();
    for (let i = 0; i < 1000; i++) {
      bpf.BpfMap.create({ type: 1, name: "wt", keySize: 4, valueSize: 4, maxEntries: 1 });
      object.program("pass");
      bpf.BpfObject.open(samplePath);
    }
    const loadAndForget = async () => {
      const loaded = bpf.BpfObject.open(samplePath);
      await loaded.load();
      loaded.map("events");
    };
    for (let i = 0; i < 5; i++) await loadAndForget();
    const most = open();
    for (let i = 0; i < 200 && open() > before; i++) {
      globalThis.gc();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    console.log(most >= before + 1000 || "collected on the way", open() - before);`,
    ["--expose-gc"],
  );
  expect(outcome).toMatchObject({ status: 0, signal: null, stderr: "" });
  expect(outcome.stdout).toMatch(/^(true|collected on the way) 0\n$/);
});

test("an open ring buffer is not collected", async () => {
  const outcome = await runChild(
    `
    const object = bpf.BpfObject.open(samplePath);
    await object.load();
    let records = 0;
    (() => { bpf.RingBuffer.open(object.map("events"), ({ count }) => { records += count; }); })();
    for (let i = 0; i < 10; i++) {
      globalThis.gc();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    object.program("emit").testRun({ data: Buffer.alloc(64) });
    setTimeout(() => { console.log(records); process.exit(); }, 50);`,
    ["--expose-gc"],
  );
  expect(outcome).toEqual({ status: 0, signal: null, stdout: "1\n", stderr: "" });
});

const workerScript = `
  const { distribution, samplePath } = workerData;
  const bpf = await import(distribution);
  const object = bpf.BpfObject.open(samplePath);
  await object.load();
  let calls = 0;
  const onBatch = () => { if (++calls === 2) parentPort.postMessage("busy"); };
  bpf.RingBuffer.open(object.map("events"), onBatch, { bytesMax: 8 });
  const data = Buffer.alloc(64);
  object.program("emit").testRun({ data, repeat: 200 });
  for (let i = 0; i < 8; i++) {
    void object.program("drop").testRunAsync({ data, repeat: 100000 });
    void object.map("counters").entries();
    void bpf.BpfObject.open(samplePath).load();
  }`;

test("worker threads end with operations and ring buffers under way", async () => {
  const outcome = await runChild(`
    import { Worker } from "node:worker_threads";
    const text = 'import { parentPort, workerData } from "node:worker_threads";' + ${JSON.stringify(workerScript)};
    for (let i = 0; i < 5; i++) {
      const url = new URL("data:text/javascript," + encodeURIComponent(text));
      const worker = new Worker(url, { workerData: { distribution, samplePath } });
      await new Promise((resolve, reject) => worker.on("message", resolve).on("error", reject));
      await worker.terminate();
    }
    console.log("done");`);
  expect(outcome).toEqual({ status: 0, signal: null, stdout: "done\n", stderr: "" });
});

let ticks = 0;
let timer: ReturnType<typeof setInterval>;
beforeEach(() => {
  ticks = 0;
  timer = setInterval(() => ticks++, 5);
});
afterEach(() => clearInterval(timer));

/** Runs `work` and fails unless a timer of 5 ms came through many times meanwhile, even if the machine is busy. */
async function expectTicking(work: () => Promise<unknown>): Promise<void> {
  const [before, start] = [ticks, performance.now()];
  await work();
  const elapsed = performance.now() - start;
  expect(elapsed, "too short to tell").toBeGreaterThan(50);
  expect(ticks - before).toBeGreaterThan(elapsed / 50);
}

test("timers tick while a program is verified", async () => {
  const object = closing(BpfObject.open(refusedPath));
  object.setAutoload("unchecked", false);
  await expectTicking(() => object.load());
});

test("timers tick while a program runs for long", async () => {
  const object = await loadSample();
  await expectTicking(() =>
    object.program("count").testRunAsync({ data: Buffer.alloc(64), repeat: 1_000_000 }),
  );
});

test("timers tick while a large map is written, read and emptied", async () => {
  const count = 200_000;
  const map = makeMap({ maxEntries: count });
  const keys = Buffer.from(Uint32Array.from({ length: count }, (_, i) => i).buffer);
  await expectTicking(async () => {
    for (let i = 0; i < 4; i++) {
      await map.updateBatch(keys, Buffer.alloc(count * 8), count);
      expect((await map.entries()).count).toBe(count);
      expect(await map.deleteBatch(keys, count)).toBe(count);
    }
  });
});
