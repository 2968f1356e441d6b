// The whole interface of bpf-ts with random arguments, plausible and hostile, in random order, with handles that are closed and buffers
// that are detached while an operation runs on them: `tools/fuzz-native.sh` runs it on an addon that is built with AddressSanitizer and
// UndefinedBehaviorSanitizer.
//
//   node --expose-gc test/fuzz/addon.ts PACKAGE [--minutes N] [--seed S]      PACKAGE: the folder with dist/ and build/ of that addon
//
// Nothing may end the process, hang, or throw anything but an Error. Exit code 0 if all of that holds.

import { Buffer } from "node:buffer";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";
import type { BpfMap } from "bpf-ts";
import { Command } from "commander";
import { atLeast } from "../../bench/common/options.ts";
import { randomFrom } from "../../bench/common/random.ts";

const program = new Command("addon")
  .argument("<package>", "the folder of the addon under test")
  .option("--minutes <number>", "how long", (text) => Number(text), 0.2)
  .option("--seed <number>", "of all arguments", atLeast(0), Date.now() % 2 ** 32);
program.parse();
const { minutes, seed } = program.opts<{ readonly minutes: number; readonly seed: number }>();
const folder = resolve(program.args[0] ?? "");
const bpf = (await import(pathToFileURL(join(folder, "dist/index.js")).href)) as typeof import("bpf-ts");

/** Longer than any of these operations takes on a busy machine. */
const HANG_MS = 20_000;
const POOL_MAX = 24;
const DEVICES = ["wt-fuzz0", "wt-fuzz1"] as const;
const PINS = "/sys/fs/bpf/wt-fuzz";
const OBJECTS = ["sample", "bare", "refused"].map((name) => join(folder, `build/test/${name}.bpf.o`));
const random = randomFrom(seed);
const directory = mkdtempSync(join(tmpdir(), "weir-fuzz-"));
/** Undefined may be one of them. */
const oneOf = <T>(from: readonly T[]): T => from[random.below(from.length)] as T;
const file = join(directory, "lock");
writeFileSync(file, "");

interface Thing {
  close?(): void;
}

/** What was made so far, by its class; some of it has been closed. */
const things = new Map<string, Thing[]>();
const CLASSES = [
  "BpfMap",
  "BpfProgram",
  "BpfLink",
  "BpfObject",
  "MapMemory",
  "RingBuffer",
  "NetWatch",
  "FileLock",
  "Btf",
];

function keep(value: unknown): void {
  const name = typeof value === "object" && value !== null ? value.constructor?.name : undefined;
  if (name === undefined || !CLASSES.includes(name)) return;
  const pool = things.get(name) ?? [];
  things.set(name, pool);
  const thing = value as Thing & { unref?(): void };
  pool.push(thing);
  thing.unref?.();
  if (pool.length <= POOL_MAX) return;
  const [oldest] = pool.splice(random.below(pool.length), 1);
  // Otherwise the garbage collector closes it.
  if (random.below(2) === 0) oldest?.close?.();
}

function some(name: string): Thing | undefined {
  const pool = things.get(name) ?? [];
  return pool.length === 0 ? undefined : oneOf(pool);
}

const number = (): number => oneOf([0, 1, 2, 3, 4, 7, 8, 16, 64, 255, 4_096]);
const bytes = (size = oneOf([0, 1, 4, 4, 4, 8, 8, 16, 64])): Uint8Array => {
  const whole = Buffer.alloc(size + 3, random.below(256));
  return oneOf([whole.subarray(0, size), whole.subarray(3), new Uint8Array(size)]);
};
const pin = (): string => `${PINS}${random.below(6)}`;
const ifindex = (): number => oneOf([1, 2, 3, 4, 999_983]);
const direction = (): string => oneOf(["ingress", "egress"]);
const clsact = () => ({
  kind: "clsact",
  ifindex: ifindex(),
  direction: direction(),
  handle: 1 + random.below(3),
  priority: 1 + random.below(3),
  removeQdisc: random.below(2) === 0,
});
const hook = (): object =>
  oneOf([
    clsact(),
    { kind: "tcx", ifindex: ifindex(), direction: direction(), position: oneOf(["first", "last"]) },
    { kind: "xdp", ifindex: ifindex(), mode: oneOf(["native", "generic"]) },
  ]);
const batch = (): unknown[] => {
  const count = random.below(5);
  return [bytes(4 * count), bytes(8 * count), count];
};
const mapSpec = (): object => ({
  type: oneOf([...Object.values(bpf.MapType), 2, 1]),
  name: oneOf(["wt_fuzz", "", "a.b"]),
  keySize: oneOf([0, 4, 4, 4, 8]),
  valueSize: oneOf([0, 4, 8, 8, 64]),
  maxEntries: oneOf([0, 1, 16, 4_096]),
  flags: oneOf([0, 0, 0, ...Object.values(bpf.MapFlag)]),
  ...(random.below(3) === 0 ? { innerMap: some("BpfMap") } : {}),
});
const testRun = (): object => ({
  data: bytes(oneOf([0, 14, 64, 1_500])),
  repeat: 1 + random.below(50),
  ...(random.below(2) === 0 ? { context: bytes(oneOf([0, 8, 192])) } : {}),
  ...(random.below(2) === 0 ? { dataOutSize: number() } : {}),
  flags: oneOf([0, 0, 1, 2]),
  cpu: oneOf([0, 0, 1]),
});
const source = (): unknown => {
  const path = oneOf(OBJECTS);
  return random.below(4) === 0 ? readFileSync(path).subarray(0, random.below(4_000)) : path;
};
const netns = (): unknown =>
  oneOf([undefined, { path: "/proc/self/ns/net" }, { path: file }, { id: random.below(3) }]);
const nothing = (): unknown[] => [];
const NO_ID = 0xfffffff0;
const ownId = (name: string): number => {
  try {
    return (some(name) as BpfMap | undefined)?.info.id ?? NO_ID;
  } catch {
    // It has been closed.
    return NO_ID;
  }
};

/**
 * Plausible arguments of each function of the interface, by its name, and of each method. Ids are of this process's own objects: other
 * agents may run on the machine. No size is one that the kernel would take memory for.
 */
const FUNCTIONS: Readonly<Record<string, () => unknown[]>> = {
  attachedPrograms: () => [
    Array.from({ length: random.below(4) }, () => ({
      kind: oneOf(["tcx", "clsact", "xdp"]),
      ifindex: ifindex(),
      direction: direction(),
    })),
  ],
  isOpenForWriting: () => [oneOf([-1, 999_983])],
  peerCredentials: () => [oneOf([-1, 0, 999_983])],
  deviceName: () => [ifindex()],
  findClsact: () => [ifindex(), direction(), 1, 1],
  removeEmptyClsact: () => [ifindex()],
  dumpAddresses: () => [netns()],
  dumpForwarding: () => [netns()],
  dumpLinks: () => [netns()],
  dumpNeighbours: () => [netns()],
  dumpRoutes: () => [netns()],
  netnsId: () => [oneOf(["/proc/self/ns/net", file])],
  kernelFeature: () => [
    {
      kind: oneOf(["mapType", "programType", "helper"]),
      type: number(),
      programType: number(),
      helper: number(),
    },
  ],
  libbpfVersion: nothing,
  listLinks: nothing,
  listMaps: nothing,
  listPrograms: nothing,
  netnsCookie: nothing,
  possibleCpus: nothing,
  hasTcx: nothing,
  queryTc: () => [ifindex(), direction()],
  makeVeth: () => [...DEVICES],
  removeLink: () => [oneOf(DEVICES)],
};

const STATICS: Readonly<Record<string, Readonly<Record<string, () => unknown[]>>>> = {
  BpfMap: {
    create: () => [mapSpec()],
    openPinned: () => [pin()],
    openById: () => [ownId("BpfMap")],
  },
  BpfProgram: { openPinned: () => [pin()], openById: () => [ownId("BpfProgram")] },
  BpfLink: {
    attach: () => [some("BpfProgram"), hook()],
    openPinned: () => [pin()],
    openById: () => [ownId("BpfLink")],
    openClsact: () => [clsact()],
  },
  BpfObject: { open: () => [source(), { name: "wt", verifierLog: oneOf(["error", "always"]) }] },
  RingBuffer: { open: () => [some("BpfMap"), () => undefined, { bytesMax: 1 + number() }] },
  NetWatch: {
    open: () => [() => undefined, { allNamespaces: random.below(2) === 0, bufferBytes: 1 + number() }],
  },
  FileLock: { acquire: () => [oneOf([file, directory])] },
  Btf: {
    parse: () => [oneOf(OBJECTS)],
    fromBytes: () => [bytes()],
    openById: () => [NO_ID],
    vmlinux: nothing,
  },
};

const mapName = (): string =>
  oneOf(["counters", "prefixes", "per_cpu", "outer", "events", ".rodata", "none"]);
const programName = (): string => oneOf(["count", "pass", "drop", "xdp_pass", "emit", "none"]);

const METHODS: Readonly<Record<string, () => unknown[]>> = {
  lookup: () => [bytes(4)],
  update: () => [oneOf([bytes(4), some("BpfProgram")]), bytes(8), oneOf([0, 1, 2])],
  updateAsync: () => [bytes(4), bytes(8), oneOf([0, 1, 2])],
  setInner: () => [bytes(4), some("BpfMap")],
  setInners: () => [bytes(8), [some("BpfMap"), some("BpfMap")]],
  setProgram: () => [bytes(4), some("BpfProgram")],
  innerId: () => [bytes(4)],
  delete: () => [bytes(4)],
  deleteAsync: () => [bytes(4)],
  nextKey: () => [oneOf([undefined, bytes(4)])],
  updateBatch: batch,
  deleteBatch: () => {
    const [keys, , count] = batch();
    return [keys, count];
  },
  pin: () => [pin()],
  unpin: () => [pin()],
  testRun: () => [testRun()],
  testRunAsync: () => [testRun()],
  map: () => [mapName()],
  program: () => [programName()],
  getData: () => [oneOf([".rodata", ".bss", "none"])],
  setData: () => [oneOf([".rodata", ".bss", "none"]), bytes()],
  setMaxEntries: () => [mapName(), 16],
  setAutoload: () => [programName(), random.below(2) === 0],
  reuseMap: () => [mapName(), some("BpfMap")],
  setInnerMap: () => [mapName(), some("BpfMap")],
  setVariable: () => [oneOf(["verdict", "settings", "runs"]), bytes()],
  read: () => [bytes(), number()],
};

const FAKES: readonly (() => unknown)[] = [
  () => Object.create(bpf.BpfMap.prototype),
  () => Object.create(bpf.BpfProgram.prototype),
  () => some(oneOf(CLASSES)),
];

const HOSTILE: readonly (() => unknown)[] = [
  () => undefined,
  () => null,
  () => oneOf([Number.NaN, -1, -0, 0.5, 2 ** 31, 2 ** 32, 2 ** 53, Number.POSITIVE_INFINITY, -(2 ** 63)]),
  () => oneOf([0n, -1n, 2n ** 64n]),
  () => oneOf(["", "\0", "a\0b", "\ud800", "../..", "x".repeat(1 << random.below(14))]),
  () => Symbol("hostile"),
  () => () => undefined,
  () => ({}),
  () => [],
  () => Array.from({ length: 1 << random.below(12) }, () => null),
  () => new Uint8Array(1 << random.below(17)),
  () => new Uint8Array(new SharedArrayBuffer(oneOf([0, 4, 8, 4_096]))),
  () => new Uint8Array(new ArrayBuffer(8, { maxByteLength: 64 }), oneOf([0, 4])),
  () => detached(new Uint8Array(oneOf([4, 8, 64]))),
  () => new DataView(new ArrayBuffer(8)),
  () => new Float64Array(1),
  () => Promise.resolve(1),
  () =>
    new Proxy(
      {},
      {
        get() {
          throw new Error("no such field");
        },
      },
    ),
  ...FAKES,
];

function detached<T extends Uint8Array>(array: T): T {
  if (array.buffer instanceof ArrayBuffer) structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

/** Arguments with hostile ones at random places, also inside of objects and lists. */
function spoiled(value: unknown): unknown {
  if (random.below(2) === 0 || typeof value !== "object" || value === null) return oneOf(HOSTILE)();
  if (Array.isArray(value)) {
    const copy: unknown[] = [...value];
    copy[random.below(copy.length + 1)] = spoiled(copy[0]);
    return copy;
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) return oneOf(HOSTILE)();
  const field = oneOf([...Object.keys(value), "more"]);
  return { ...value, [field]: spoiled((value as Record<string, unknown>)[field]) };
}

/** The most entries of a map: the kernel takes memory for them. */
const ENTRIES_MAX = 4_096;

const asksForMemory = (name: string, args: readonly unknown[]): boolean =>
  name === "BpfMap.create" || name === "BpfObject.setMaxEntries"
    ? args
        .flatMap((each) => (typeof each === "object" && each !== null ? Object.values(each) : [each]))
        .some((each) => typeof each === "number" && each > ENTRIES_MAX)
    : false;

function argumentsOf(name: string, make: () => unknown[]): unknown[] {
  const args = make();
  switch (random.below(4)) {
    case 0: {
      const changed = args.map((each) => (random.below(args.length) === 0 ? spoiled(each) : each));
      return asksForMemory(name, changed) ? args : changed;
    }
    case 1:
      return random.below(3) === 0 ? args.slice(0, -1) : args;
    default:
      return args;
  }
}

interface Call {
  readonly name: string;
  readonly run: () => unknown;
  readonly args: readonly unknown[];
  readonly on?: Thing;
}

const methodsOf = (value: object): string[] =>
  Object.getOwnPropertyNames(Object.getPrototypeOf(value)).filter((name) => name !== "constructor");

function nextCall(): Call {
  const exported = bpf as unknown as Readonly<Record<string, unknown>>;
  const on = some(oneOf(CLASSES));
  if (on !== undefined && random.below(5) > 1) {
    const method = oneOf(methodsOf(on));
    // So that there is something to work on, most stay open.
    const name = /^close$|dispose/.test(method) && random.below(4) > 0 ? "closed" : method;
    const full = `${on.constructor.name}.${name}`;
    const args = argumentsOf(full, METHODS[name] ?? nothing);
    const run = (): unknown => {
      const member = (on as unknown as Readonly<Record<string, unknown>>)[name];
      return typeof member === "function" ? member.apply(on, args) : member;
    };
    return { name: full, run, args, on };
  }
  if (random.below(3) > 0) {
    const owner = oneOf(Object.keys(STATICS));
    const statics = Object.entries(STATICS[owner] ?? {}).filter(
      ([name]) => typeof (exported[owner] as Readonly<Record<string, unknown>>)[name] === "function",
    );
    const [name, make] = oneOf(statics);
    const args = argumentsOf(`${owner}.${name}`, make);
    const run = (): unknown =>
      (exported[owner] as Readonly<Record<string, (...all: unknown[]) => unknown>>)[name]?.(...args);
    return { name: `${owner}.${name}`, run, args };
  }
  const [name, make] = oneOf(Object.entries(FUNCTIONS));
  const args = argumentsOf(name, make);
  return { name, run: () => (exported[name] as (...all: unknown[]) => unknown)(...args), args };
}

/** Each exported function and static method must be among the calls. */
function missing(): string[] {
  return Object.entries(bpf).flatMap(([name, value]) => {
    if (typeof value !== "function") return [];
    if (!/^[A-Z]/.test(name)) return name in FUNCTIONS ? [] : [name];
    if (value.prototype instanceof Error) return [];
    return Object.getOwnPropertyNames(value)
      .filter(
        (own) =>
          typeof (value as unknown as Record<string, unknown>)[own] === "function" && own !== "prototype",
      )
      .filter((own) => STATICS[name]?.[own] === undefined)
      .map((own) => `${name}.${own}`);
  });
}

const counts = { calls: 0, refused: 0, succeeded: 0 };
const failures: string[] = [];
const pending = new Set<Promise<void>>();

function judge({ name, args }: Call, thrown: unknown): void {
  counts.refused += 1;
  if (!(thrown instanceof Error))
    failures.push(`${name}(${inspect(args, { depth: 2 }).slice(0, 500)}): threw ${inspect(thrown)}`);
}

async function settled(call: Call, result: Promise<unknown>): Promise<void> {
  const timer = setTimeout(() => {
    console.error(`${call.name} does not end`);
    process.exit(1);
  }, HANG_MS);
  try {
    keep(await result);
    counts.succeeded += 1;
  } catch (thrown) {
    judge(call, thrown);
  } finally {
    clearTimeout(timer);
  }
}

/** What the caller does while the operation runs. */
function interfere({ args, on }: Call): void {
  switch (random.below(6)) {
    case 0:
      on?.close?.();
      break;
    case 1:
      for (const each of args) if (each instanceof Uint8Array && !Buffer.isBuffer(each)) detached(each);
      break;
    case 2:
      for (const each of args) if (each instanceof Uint8Array) each.fill(0xff);
      break;
    default:
  }
}

async function main(): Promise<number> {
  const left = missing();
  if (left.length > 0) throw new Error(`not called: ${left.join(", ")}`);
  for (const deadline = performance.now() + minutes * 60_000; performance.now() < deadline; ) {
    const call = nextCall();
    counts.calls += 1;
    // The last lines say what was called where the process ends.
    if (process.env["WEIR_FUZZ_VERBOSE"] !== undefined)
      console.error(`${call.name}(${inspect(call.args, { depth: 3, breakLength: 1e6 }).slice(0, 1_000)})`);
    try {
      const result = call.run();
      if (result instanceof Promise) {
        const work = settled(call, result).finally(() => pending.delete(work));
        pending.add(work);
        interfere(call);
        if (random.below(3) > 0 || pending.size > 16) await work;
      } else {
        keep(result);
        counts.succeeded += 1;
      }
    } catch (thrown) {
      judge(call, thrown);
    }
    if (counts.calls % 500 === 0) {
      globalThis.gc?.();
      await new Promise((done) => setImmediate(done));
    }
    if (failures.length >= 10) break;
  }
  await Promise.all(pending);
  for (const pool of things.values()) for (const each of pool) each.close?.();
  globalThis.gc?.();
  for (let index = 0; index < 6; index += 1)
    if (existsSync(`${PINS}${index}`)) rmSync(`${PINS}${index}`, { recursive: true });
  rmSync(directory, { recursive: true });
  for (const failure of failures) console.error(failure);
  const { calls, refused, succeeded } = counts;
  console.log(
    `fuzz-addon: seed ${seed}: ${calls} calls, ${succeeded} succeeded, ${refused} were refused; ${failures.length} failed`,
  );
  return failures.length === 0 ? 0 : 1;
}

// What was opened and is left to the garbage collector would keep the process.
process.exit(await main());
