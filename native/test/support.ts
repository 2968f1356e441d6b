// What the tests share: built objects, own devices, children without privilege, and what a BpfError must look like.
import { execFileSync, spawn } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished } from "vitest";
import { BpfError, BpfMap, BpfObject, MapType, type OpenOptions } from "../lib/index.ts";

const path = (relative: string) => fileURLToPath(new URL(relative, import.meta.url));
export const samplePath = path("../build/test/sample.bpf.o");
export const barePath = path("../build/test/bare.bpf.o");
export const refusedPath = path("../build/test/refused.bpf.o");
const distribution = new URL("../dist/index.js", import.meta.url).href;

/** Closes what the test made when it ends, whatever its outcome. */
export function closing<T extends { close(): void }>(thing: T): T {
  onTestFinished(() => thing.close());
  return thing;
}

export function openSample(options?: OpenOptions): BpfObject {
  return closing(BpfObject.open(samplePath, options));
}

export async function loadSample(set?: (object: BpfObject) => void): Promise<BpfObject> {
  const object = openSample();
  set?.(object);
  await object.load();
  return object;
}

export function makeMap(spec: Partial<Parameters<typeof BpfMap.create>[0]> = {}): BpfMap {
  const common = { type: MapType.HASH, name: "wt_map", keySize: 4, valueSize: 8, maxEntries: 16 };
  return closing(BpfMap.create({ ...common, ...spec }));
}

export const u32 = (...values: number[]) => Buffer.from(Uint32Array.from(values).buffer);
export const u64 = (...values: number[]) => Buffer.from(BigUint64Array.from(values, BigInt).buffer);

let serial = 0;
/** A path on the BPF filesystem that no one else uses; what is there when the test ends is removed. */
export function pinPath(): string {
  const path = `/sys/fs/bpf/wt-bpf-ts-${process.pid}-${serial++}`;
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** The BpfError that `run` throws, synchronously or by rejection; the test fails if it throws none. */
export async function failure(run: () => unknown): Promise<BpfError> {
  try {
    await run();
  } catch (error) {
    expect(error).toBeInstanceOf(BpfError);
    return error as BpfError;
  }
  throw new Error("a BpfError was expected, but nothing was thrown");
}

export async function expectCode(code: string, run: () => unknown): Promise<BpfError> {
  const error = await failure(run);
  expect(error.code, error.message).toBe(code);
  return error;
}

/** Names of the public methods of a class, but for those named in `except`. */
export function methodsOf(prototype: object, except: readonly string[]): string[] {
  return Object.entries(Object.getOwnPropertyDescriptors(prototype))
    .filter(
      ([name, property]) =>
        typeof property.value === "function" && !["constructor", ...except].includes(name),
    )
    .map(([name]) => name)
    .sort();
}

export const openDescriptors = () => readdirSync("/proc/self/fd").length;

export const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`gave up waiting for: ${what}`);
    await sleep(5);
  }
}

/** Runs `ip`, `tc` and the like; throws with their complaint where they fail. */
export function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

export type Veth = {
  readonly ifindex: number;
  readonly name: string;
  remove(): void;
  /** Whether an echo request gets its answer over the pair: out of `name` and back in. */
  ping(): boolean;
};

const [macHere, macThere] = ["02:00:00:00:77:01", "02:00:00:00:77:02"];

/** A pair of devices, one here and one in a network namespace of its own; removed when the test ends. */
export function makeVeth(): Veth {
  const name = `wt-b${process.pid % 100_000}-${serial++}`;
  const namespace = `wt-bpf-ts-${process.pid}-${serial++}`;
  run("ip", "netns", "add", namespace);
  onTestFinished(() => void run("ip", "netns", "del", namespace));
  const peer = `peer name wt-peer address ${macThere} netns ${namespace}`;
  run("ip", ...`link add ${name} address ${macHere} type veth ${peer}`.split(" "));
  run("ip", "addr", "add", "fe80::1/64", "dev", name, "nodad");
  run("ip", "link", "set", name, "up");
  // With neighbours known from the start only echo packets go over the pair.
  run("ip", "-n", namespace, "link", "set", "wt-peer", "up");
  run("ip", "neigh", "add", "fe80::2", "lladdr", macThere, "dev", name);
  run("ip", "-n", namespace, "neigh", "add", "fe80::1", "lladdr", macHere, "dev", "wt-peer");
  run("ip", "-n", namespace, "addr", "add", "fe80::2/64", "dev", "wt-peer", "nodad");
  const [link] = JSON.parse(run("ip", "-j", "link", "show", name)) as { ifindex: number }[];
  if (!link) throw new Error(`no device ${name}`);
  return {
    name,
    ifindex: link.ifindex,
    remove: () => void run("ip", "link", "del", name),
    ping: () => {
      try {
        // The first answer ends it: on a busy machine one may come late.
        run("ping", "-6", "-n", "-c", "1", "-i", "0.2", "-w", "1", `fe80::2%${name}`);
        return true;
      } catch (error) {
        if ((error as { status?: number }).status === 1) return false; // ping's word for "no answer"
        throw error;
      }
    },
  };
}

export type Outcome = {
  readonly status: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
};

/** Prefix of a command: another user, without capabilities and a way to get any. */
export const UNPRIVILEGED = [
  "setpriv",
  "--reuid=65534",
  "--regid=65534",
  "--clear-groups",
  "--inh-caps=-all",
  "--bounding-set=-all",
];

/** Runs a script against the built package in a process of its own. It has `bpf`, the package from `distribution`, and `samplePath`. */
export function runChild(
  script: string,
  nodeOptions: readonly string[] = [],
  prefix: readonly string[] = [],
): Promise<Outcome> {
  const text = `import * as bpf from ${JSON.stringify(distribution)};
    const distribution = ${JSON.stringify(distribution)};
    const samplePath = ${JSON.stringify(samplePath)};
    ${script}`;
  const [command = "", ...args] = [
    ...prefix,
    process.execPath,
    ...nodeOptions,
    "--input-type=module",
    "-e",
    text,
  ];
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], timeout: 120_000 });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => resolve({ status, signal, stdout, stderr }));
  });
}
