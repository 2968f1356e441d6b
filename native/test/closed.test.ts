// Every method of every class on a closed handle: CLOSED, and never anything else.
import { expect, test } from "vitest";
import {
  BpfLink,
  type BpfMap,
  type BpfObject,
  type BpfProgram,
  hasTcx,
  MapType,
  NetWatch,
  RingBuffer,
} from "../lib/index.ts";
import {
  expectCode,
  loadSample,
  makeMap,
  makeVeth,
  methodsOf,
  openSample,
  pinPath,
  u32,
  u64,
} from "./support.ts";

type Row<T> = (handle: T) => unknown;
const data = Buffer.alloc(64);

// A method without a row here fails the test below, so a new one cannot be forgotten.
const ofMap: Record<string, Row<BpfMap>> = {
  lookup: (map) => map.lookup(u32(0)),
  update: (map) => map.update(u32(0), u64(0)),
  updateAsync: (map) => map.updateAsync(u32(0), u64(0)),
  setInner: (map) => map.setInner(u32(0), map),
  setInners: (map) => map.setInners(u32(0), [map]),
  setProgram: (map) => map.setProgram(u32(0), {} as BpfProgram),
  innerId: (map) => map.innerId(u32(0)),
  delete: (map) => map.delete(u32(0)),
  deleteAsync: (map) => map.deleteAsync(u32(0)),
  nextKey: (map) => map.nextKey(),
  entries: (map) => map.entries(),
  updateBatch: (map) => map.updateBatch(u32(0), u64(0), 1),
  deleteBatch: (map) => map.deleteBatch(u32(0), 1),
  mmap: (map) => map.mmap(),
  freeze: (map) => map.freeze(),
  pin: (map) => map.pin(pinPath()),
  unpin: (map) => map.unpin(pinPath()),
};

const ofProgram: Record<string, Row<BpfProgram>> = {
  testRun: (program) => program.testRun({ data }),
  testRunAsync: (program) => program.testRunAsync({ data }),
  pin: (program) => program.pin(pinPath()),
  unpin: (program) => program.unpin(pinPath()),
};

const ofLink = (program: BpfProgram): Record<string, Row<BpfLink>> => ({
  update: (link) => link.update(program),
  detach: (link) => link.detach(),
  pin: (link) => link.pin(pinPath()),
  unpin: (link) => link.unpin(pinPath()),
});

const ofObject: Record<string, Row<BpfObject>> = {
  getData: (object) => object.getData(".rodata"),
  setData: (object) => object.setData(".rodata", Buffer.alloc(12)),
  setVariable: (object) => object.setVariable("verdict", u32(0)),
  setMaxEntries: (object) => object.setMaxEntries("counters", 1),
  setAutoload: (object) => object.setAutoload("drop", false),
  reuseMap: (object) => object.reuseMap("counters", makeMap({ maxEntries: 128 })),
  setInnerMap: (object) => object.setInnerMap("outer", makeMap()),
  load: (object) => object.load(),
  map: (object) => object.map("counters"),
  program: (object) => object.program("count"),
};

const ofFeed: Record<string, Row<RingBuffer | NetWatch>> = {
  ref: (feed) => feed.ref(),
  unref: (feed) => feed.unref(),
};

async function cross<T extends { close(): void; readonly closed: boolean }>(
  handle: T,
  rows: Record<string, Row<T>>,
): Promise<void> {
  expect(Object.keys(rows).sort()).toEqual(methodsOf(Object.getPrototypeOf(handle), ["close"]));
  expect(handle.closed).toBe(false);
  handle.close();
  handle.close();
  expect(handle.closed).toBe(true);
  for (const [name, call] of Object.entries(rows)) {
    const error = await expectCode("CLOSED", () => call(handle));
    expect(error.operation).toMatch(new RegExp(`^\\w+\\.${name}$`));
    expect(error.errno).toBe(0);
  }
}

test("maps", async () => {
  await cross(makeMap(), ofMap);
  await cross(makeMap({ type: MapType.ARRAY_OF_MAPS, valueSize: 4, innerMap: makeMap() }), ofMap);
});

test("programs", async () => {
  const program = (await loadSample()).program("count");
  const { info } = program;
  expect(info.name).toBe("count");
  await cross(program, ofProgram);
  await expectCode("CLOSED", () => program.info);
});

test("links", async () => {
  const object = await loadSample();
  const { ifindex } = makeVeth();
  const [tc, xdp] = [object.program("pass"), object.program("xdp_pass")];
  const direction = "ingress";
  for (const link of [
    ...(hasTcx() ? [await BpfLink.attach(tc, { kind: "tcx", ifindex, direction })] : []),
    await BpfLink.attach(tc, { kind: "clsact", ifindex, direction, handle: 1, priority: 1 }),
    await BpfLink.attach(xdp, { kind: "xdp", ifindex, mode: "generic" }),
  ]) {
    await cross(link, ofLink(tc));
    await expectCode("CLOSED", () => link.info);
  }
  const place = { kind: "xdp", ifindex, mode: "generic" } as const;
  const link = await BpfLink.attach(xdp, place);
  xdp.close();
  await expectCode("CLOSED", () => link.update(xdp));
  await expectCode("CLOSED", () => BpfLink.attach(xdp, place));
  link.close();
});

test("objects", async () => {
  await cross(openSample(), ofObject);
  const loaded = await loadSample();
  expect(loaded.maps).toHaveLength(9);
  await cross(loaded, ofObject);
  expect(loaded.maps).toHaveLength(9);
});

test("ring buffers", async () => {
  const object = await loadSample();
  await cross(
    RingBuffer.open(object.map("events"), () => undefined),
    ofFeed,
  );
});

test("watches of the network", async () => {
  await cross(
    NetWatch.open(() => undefined),
    ofFeed,
  );
});

test("`using` closes", async () => {
  const object = await loadSample();
  let [map, program]: [BpfMap?, BpfProgram?] = [];
  {
    using one = object.map("counters");
    using other = object.program("count");
    [map, program] = [one, other];
    expect([map.closed, program.closed]).toEqual([false, false]);
  }
  expect([map.closed, program.closed]).toEqual([true, true]);
});
