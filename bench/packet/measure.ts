// Runs one row once: brings its table into the state that it asks for, takes the time, and holds the counters against it.

import type { BpfProgram } from "bpf-ts";
import { codeOf, OperationError } from "../../src/base/errors.ts";
import { addressOf, type Family } from "../../src/base/ip.ts";
import { packet } from "../../src/engines/frame-builder.ts";
import { midmean } from "../common/median.ts";
import { randomFrom } from "../common/random.ts";
import type { Driver } from "./driver.ts";
import type { Meter } from "./meter.ts";
import { anyPeers, type Peers } from "./peers.ts";
import type { FloorRow, ProgramRow, Row } from "./row.ts";
import type { Stage } from "./stage.ts";
import type { WorldName } from "./worlds.ts";

export interface Rig {
  readonly driver: Driver;
  readonly stages: ReadonlyMap<WorldName, Stage>;
  readonly floorPeers: Readonly<Record<Family, Peers>>;
  /** Started just before what is timed, stopped just after. */
  readonly meter?: Meter;
}

export const floorPeers = (): Rig["floorPeers"] => ({
  4: anyPeers(4, randomFrom(1)),
  6: anyPeers(6, randomFrom(1)),
});

interface Input {
  readonly data: Uint8Array;
  readonly context?: Uint8Array;
}

/** Not timed: fills caches, and makes the flow of a row that has but one. */
const WARM_UP = 2_000;

/** So much of a table is filled at most: so that hardly any insertion evicts. */
const FILLING = 0.5;

/** Nanoseconds for each of so many packets. Throws OperationError where they were not counted as the row says. */
export async function measure(rig: Rig, row: Row, packets: number): Promise<number> {
  return row.kind === "floor" ? measureFloor(rig, row, packets) : measureProgram(rig, row, packets);
}

/** A signal ends a test run early; what it has done is not known, so all of it begins anew. */
async function uninterrupted<T>(work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (thrown) {
      if (codeOf(thrown) !== "EINTR" || tries >= TRIES_MAX) throw thrown;
    }
  }
}

const TRIES_MAX = 10;

async function measureFloor(rig: Rig, row: FloorRow, packets: number): Promise<number> {
  const { driver, floorPeers } = rig;
  const { hook, drives, cold } = row;
  const nothing = driver.nothing(hook);
  const from = drives && ({ peerIs: "source", peers: floorPeers[drives] } as const);
  const end = addressOf(drives ?? 4, 1n);
  const ports = { sourcePort: 1, destinationPort: 1 };
  const input = { data: packet({ source: end, destination: end, protocol: "TCP", ...ports }) };
  const count = countOf(row, packets);
  return uninterrupted(async () => {
    const program =
      from || cold ? await driver.drive({ hook, cold, ...(from && { from }) }, nothing) : nothing;
    if (cold === undefined) time(program, input, WARM_UP);
    return (await timed(rig, row, count, (repeat) => time(program, input, repeat))) / count;
  });
}

async function measureProgram(rig: Rig, row: ProgramRow, packets: number): Promise<number> {
  const stage = stageOf(rig, row);
  const count = countOf(row, packets);
  const room = Math.floor(stage.flowsMax[row.family] * FILLING);
  const chunk = row.table === "empty" && row.from === "new" ? room : count;
  let total = 0;
  for (let left = count; left > 0; left -= chunk)
    total += await uninterrupted(() => measureChunk(rig, row, Math.min(left, chunk)));
  return total / count;
}

/** Evicting the caches takes some hundred microseconds for each packet; the driver has room for twice as many times. */
const COLD_PACKETS_MAX = 4_000;
const countOf = ({ cold }: Row, packets: number): number =>
  cold === undefined ? packets : Math.min(packets, COLD_PACKETS_MAX);

async function measureChunk(rig: Rig, row: ProgramRow, packets: number): Promise<number> {
  const stage = stageOf(rig, row);
  const program = await prepare(rig, row);
  const before = stage.counted(row);
  const taken = await timed(rig, row, packets, (repeat) => time(program, stage.input(row), repeat));
  checkCounters(row, before, { after: stage.counted(row), packets });
  if (row.primitive !== undefined) checkFound(row, program.testRun({ ...stage.input(row) }).result);
  return taken;
}

/**
 * So many packets of a cold row, and as many with nothing behind the driver: what their means (of the middle half) differ by, for all. The
 * driver itself, and the eviction, are not timed.
 */
async function timed(
  rig: Rig,
  { cold }: Row,
  packets: number,
  work: (repeat: number) => number,
): Promise<number> {
  if (cold === undefined) return metered(rig, () => work(packets));
  await metered(rig, () => work(2 * packets));
  const { target, nothing } = rig.driver.times(2 * packets);
  return (midmean(target) - midmean(nothing)) * packets;
}

async function metered<T>({ meter }: Rig, work: () => T): Promise<T> {
  await meter?.start();
  try {
    return work();
  } finally {
    await meter?.stop();
  }
}

function stageOf({ stages }: Rig, { world }: ProgramRow): Stage {
  const stage = stages.get(world);
  if (stage === undefined) throw new Error(`assertion failed: world ${world} is not open`);
  return stage;
}

/** The row of the answers to a row's packets. */
const mirrored = (row: ProgramRow): ProgramRow => ({
  ...row,
  direction: row.direction === "ingress" ? "egress" : "ingress",
  port: { ...row.port, at: row.port.at === "source" ? "destination" : "source" },
});

/** The program to time, its table as the row asks for. */
async function prepare(rig: Rig, row: ProgramRow): Promise<BpfProgram> {
  const stage = stageOf(rig, row);
  const { family, from } = row;
  const input = stage.input(row);
  if (row.table === "empty") await stage.forget(family);
  if (row.world === "assigned") showSocket(stage, row);
  if (from === "one") {
    establish(stage, row);
    const { hook, cold } = row;
    return cold ? rig.driver.drive({ hook, cold }, stage.timed(row)) : stage.timed(row);
  }
  const peers = stage.peers(row);
  const driveRow = ({ hook, direction, cold }: ProgramRow, target: BpfProgram, answer = false) =>
    rig.driver.drive(
      { hook, from: { peerIs: direction === "ingress" ? "source" : "destination", peers }, answer, cold },
      target,
    );
  const drive = (target: BpfProgram) => driveRow(row, target);
  if (from === "new") {
    const program = await drive(stage.timed(row));
    if (row.table === "full") time(program, input, Math.ceil(stage.flowsMax[family] * 1.5));
    return program;
  }
  // Flows that are established have been opened and answered before.
  if (row.transport === "ACK") {
    const [asks, answers] = [opened(row), answered(row)];
    time(await driveRow(asks, stage.program(asks)), stage.input(asks), peers.count);
    time(await driveRow(answers, stage.program(answers), true), stage.input(answers), peers.count);
  }
  time(await drive(stage.program(row)), input, from === "any" ? WARM_UP : peers.count);
  return drive(stage.timed(row));
}

/** A segment that shows that connections at the row's port are sockets of the pod. It is denied, and makes no entry. */
function showSocket(stage: Stage, row: ProgramRow): void {
  const asks = row.port.at === "destination" ? row : mirrored(row);
  const segment: ProgramRow = { ...asks, transport: "ACK", peer: "unknown" };
  time(stage.program(segment), stage.input(segment), 1);
}

/** What opens the connection of a row's segments, from the side that they come from. */
const opened = (row: ProgramRow): ProgramRow => ({ ...row, transport: "SYN" });

/** Segments the other way, by the tc program where the row's comes by XDP: what comes to a pod has no other. */
const answered = (row: ProgramRow): ProgramRow => {
  const answer = mirrored(row);
  return answer.direction === "ingress" ? { ...answer, hook: "tc" } : answer;
};

const DROPPED: ReadonlySet<string> = new Set(["denied", "untracked"]);

/** Makes the flow of a row that has but one: opened by the side whose port is not the service's, answered, and gone on with. */
function establish(stage: Stage, row: ProgramRow): void {
  if (row.transport !== "SYN" && !DROPPED.has(row.reason)) {
    const asks = row.port.at === "destination" ? row : answered(row);
    const answers = row.port.at === "destination" ? answered(row) : row;
    for (const each of [asks.transport === "ACK" ? opened(asks) : asks, answers, asks])
      time(stage.program(each), stage.input(each), 1);
  }
  time(stage.program(row), stage.input(row), WARM_UP);
}

/**
 * Nanoseconds for all packets. The kernel leaves out what else the CPU did meanwhile, but rounds down to whole
 * nanoseconds for each packet; this thread's share of the CPU tells the fraction.
 */
function time(program: BpfProgram, input: Input, packets: number): number {
  const start = process.threadCpuUsage();
  const { duration } = program.testRun({ ...input, repeat: packets, dataOutSize: 0 });
  const { user, system } = process.threadCpuUsage(start);
  return Math.min(Math.max((user + system) * 1_000, duration * packets), (duration + 1) * packets);
}

type Counts = ReadonlyMap<string, number>;

function checkCounters(
  { id, direction, reason }: ProgramRow,
  before: Counts,
  { after, packets }: { readonly after: Counts; readonly packets: number },
): void {
  const moved = [...after]
    .map(([name, count]) => [name, count - (before.get(name) ?? 0)] as const)
    .filter(([, count]) => count !== 0);
  const [cell] = moved;
  if (reason === "" && moved.length === 0) return;
  if (moved.length === 1 && cell?.[0] === `${direction} ${reason}` && cell[1] === packets) return;
  throw new OperationError(
    `${packets} packets were to be counted as "${direction} ${reason}", but were as ${JSON.stringify(moved)}`,
    { operation: "measure", object: id },
  );
}

/** TC_ACT_UNSPEC, as the unsigned number that a test run gives. */
const FOUND = 0xffffffff;

function checkFound({ id }: ProgramRow, result: number): void {
  if (result === FOUND) return;
  throw new OperationError("the table did not have, or take, the packet's flow", {
    operation: "measure",
    object: id,
  });
}
