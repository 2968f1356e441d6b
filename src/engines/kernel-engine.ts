// The loaded programs and maps as an engine for conformance cases, with the interfaces that it needs.

import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { present } from "../base/assert.ts";
import type { FromPodHook } from "../base/direction.ts";
import { type Maps, openMaps } from "../datapath/policy-maps.ts";
import { type Datapath, type Guard, openDatapath, openGuard } from "../datapath/program-loader.ts";
import { type TestRunner, testRunner } from "../datapath/program-test-run.ts";
import { ipBatch, ipJson } from "../lab/iproute.ts";
import { Teardown } from "../lab/teardown.ts";
import { openCompiler } from "../policy/compile.ts";
import { NOTHING_NUMBERED, type Numbering } from "../policy/identity-allocation.ts";
import type { Engine } from "../source/conformance/case-runner.ts";
import type { Case, Cell } from "../source/conformance/case-types.ts";
import type { State } from "../state/desired-state.ts";
import { diff, type Held, settledState } from "../state/state-diff.ts";
import { type AskSide, judgeSides, localsOf } from "./cell-verdict.ts";
import { packet, TCP_FLAG } from "./frame-builder.ts";
import { learnNames, resolvedByAll } from "./known-names.ts";

// The loaded programs and maps as an engine for conformance cases: packets built for each probe, run through both ends.

/** A loaded datapath of its own, pinned apart from any agent's, for programs to be run on packets. */
export interface Bench {
  readonly datapath: Datapath;
  readonly maps: Maps;
  readonly devices: Devices;
  readonly run: TestRunner;
  /** The XDP programs, if requested. */
  readonly guard: Guard | undefined;
  /** Updates the maps to a state with the agent's code, without attaching. */
  bring(state: State): Promise<void>;
  close(): void;
}

export interface BenchOptions {
  /** The built BPF object. */
  readonly object: string;
  /** Directory on a BPF filesystem under which a directory of this process's own is made, and removed by close(). */
  readonly bpffs: string;
  /** Whether the XDP programs are to be run too; false by default, since loading them takes its time. */
  readonly xdp?: boolean;
  /** How many flows the flow table is sized for; the default of `weir run` if not given. */
  readonly conntrackFlows?: number;
}

let benches = 0;

/** What a killed process left is removed first. @throws OperationError, BpfError */
export async function openBench({
  object,
  bpffs,
  xdp = false,
  conntrackFlows,
}: BenchOptions): Promise<Bench> {
  benches += 1;
  const root = join(bpffs, benchDirectory(process.pid, benches));
  const teardown = new Teardown();
  try {
    removeLeftovers(bpffs);
    teardown.defer(() => rmSync(root, { recursive: true, force: true }));
    const datapath = await openDatapath(root, object, conntrackFlows);
    teardown.defer(() => datapath.close());
    const devices = openDevices(devicePrefix(process.pid, benches));
    teardown.defer(() => devices.close());
    const maps = openMaps(datapath);
    await maps.initialise();
    const guard = xdp ? await openGuard(datapath, object) : undefined;
    teardown.defer(() => guard?.close());
    const run = testRunner(datapath, object, guard);
    return { datapath, guard, maps, devices, run, bring: bringer(maps), close: () => teardown.close() };
  } catch (thrown) {
    teardown.close();
    throw thrown;
  }
}

function bringer(maps: Maps): Bench["bring"] {
  let held: Held | undefined;
  return async (state) => {
    const before = held ?? (await maps.read());
    // After a failed write the kernel must be read again.
    held = undefined;
    const changes = diff(before, state);
    if (!changes.empty) {
      await maps.write(changes.prepare);
      await maps.flip();
      await maps.write(changes.cleanup);
    }
    held = settledState(state);
  };
}

/** An interface without an endpoint: packets that the node forwards come from it. The loopback device always exists. */
const ELSEWHERE = 1;

/** Clients' ports, as Linux has them by default. */
const EPHEMERAL = { first: 32_768, count: 28_232 } as const;

/**
 * Goes through its cases as an agent goes through the days: every case is one more update, with the numbers that are. What pods send is
 * judged by the programs of these hooks by turns.
 */
export function kernelEngine(bench: Bench, ...hooks: readonly [FromPodHook, ...FromPodHook[]]): Engine {
  const compiler = openCompiler();
  let numbering: Numbering = NOTHING_NUMBERED;
  let asked = 0;
  let current: Case | undefined;
  let interfaces = new Map<string, number>();
  let clients = clientsOf([]);
  const ask: (client: Client) => AskSide =
    (client) =>
    ({ cell, direction, ifindex }) => {
      const frame = packet({
        source: cell.from.address,
        destination: cell.to.address,
        protocol: cell.protocol,
        sourcePort: client.port,
        destinationPort: cell.port,
        ...(client.isNew ? {} : { tcpFlags: TCP_FLAG.ACK }),
      });
      asked += 1;
      const hook = present(hooks[asked % hooks.length], "a hook");
      const verdict = bench.run({ direction, hook, ifindex, ingressIfindex: ELSEWHERE, frame });
      return { allowed: verdict === "pass", answer: hooks.length > 1 ? `${verdict} (${hook})` : verdict };
    };
  return {
    name: "kernel",
    async judge(step, of) {
      if (current !== of) {
        current = of;
        interfaces = new Map();
        clients = clientsOf(of.steps);
      }
      const locals = localsOf(step, interfaces, () => bench.devices.at(interfaces.size));
      const compiled = compiler.compile({ cluster: step.cluster, locals, previous: numbering });
      await bench.bring(compiled.state);
      await learnNames(bench.maps.tables, compiled.state, resolvedByAll(compiled.state, of.dns));
      numbering = compiled.numbering;
      return step.cells.map((cell) => judgeSides(step, cell, interfaces, ask(clients(cell))));
    },
  };
}

/** The client's end of a probe. */
interface Client {
  readonly port: number;
  /** Whether the probe opens the connection; the other kind is a segment of one that is open. */
  readonly isNew: boolean;
}

/** Every probe is a connection of its own, unless the case says that it goes on with another. */
function clientsOf(steps: Case["steps"]): (cell: Cell) => Client {
  // A client's port is no port that is served, so that no probe looks like the answer to another.
  const served = new Set(steps.flatMap(({ cells }) => cells.map(({ port }) => port)));
  const opened = new Map<string, number>();
  let last = 0;
  const next = (): number => {
    last = (last + 1) % EPHEMERAL.count;
    return EPHEMERAL.first + last;
  };
  return ({ connection }) => {
    const before = connection?.use === "reuse" ? opened.get(connection.id) : undefined;
    if (before !== undefined) return { port: before, isNew: false };
    let port = next();
    for (let tries = 1; served.has(port) && tries < EPHEMERAL.count; tries += 1) port = next();
    if (connection?.use === "open") opened.set(connection.id, port);
    return { port, isNew: true };
  };
}

// Interfaces for programs under test: veth pairs that carry no traffic.

export interface Devices {
  /** The interface index of the device with this number, created at first use. */
  at(number: number): number;
  /** Its name. */
  nameAt(number: number): string;
  close(): void;
}

/** `prefix` names the devices and must be this process's own; at most 9 characters. */
export function openDevices(prefix: string): Devices {
  let made: number[] = [];
  const name = (index: number) => `${prefix}-${index}`;
  const grow = () => {
    const first = made.length;
    const pairs = Array.from({ length: 8 }, (_, index) => first + index * 2);
    ipBatch(pairs.map((index) => `link add ${name(index)} type veth peer name ${name(index + 1)}`));
    const byName = new Map(
      ipJson(["link", "show", "type", "veth"]).map((link) => [
        String(link["ifname"]),
        Number(link["ifindex"]),
      ]),
    );
    made = Array.from({ length: first + 16 }, (_, index) => byName.get(name(index)) ?? 0);
  };
  return {
    at(number) {
      while (made.length <= number) grow();
      return made[number] as number;
    },
    nameAt(number) {
      this.at(number);
      return name(number);
    },
    close() {
      const pairs = made.flatMap((_, index) => (index % 2 === 0 ? [`link del ${name(index)}`] : []));
      made = [];
      ipBatch(pairs);
    },
  };
}

// Finds what benches of killed processes left behind: pins and devices whose names have the process's id.

/** Directory of one bench's pins, on a BPF filesystem. */
export const benchDirectory = (pid: number, number: number): string => `weir-test-${pid}-${number}`;

/** What the names of its devices begin with: at most 9 characters, since process ids have at most five in base 36. */
export const devicePrefix = (pid: number, number: number): string =>
  `wk${pid.toString(36).padStart(5, "0")}${(number % 1296).toString(36)}`;

/** Removes what belongs to no process that still runs. */
export function removeLeftovers(bpffs: string): void {
  if (!existsSync(bpffs)) return;
  for (const name of readdirSync(bpffs)) {
    const [, pid, number] = /^weir-test-(\d+)-(\d+)$/.exec(name) ?? [];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    const prefix = `${devicePrefix(Number(pid), Number(number))}-`;
    const devices = ipJson(["link", "show", "type", "veth"]).map((link) => String(link["ifname"]));
    // Removing one end removes the other: those with even numbers were made first.
    const first = devices.filter((device) => device.startsWith(prefix) && /[02468]$/.test(device));
    ipBatch(first.map((device) => `link del ${device}`));
    rmSync(join(bpffs, name), { recursive: true, force: true });
  }
}
