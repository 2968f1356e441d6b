// The loaded programs and maps as an engine for conformance cases: packets built for each probe, run through both ends.

import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Direction } from "../base/direction.ts";
import { type Maps, openMaps } from "../datapath/maps.ts";
import { type Datapath, openDatapath } from "../datapath/object.ts";
import { type TestRunner, testRunner } from "../datapath/testrun.ts";
import { compile } from "../policy/compile.ts";
import { NOTHING_NUMBERED, type Numbering } from "../policy/numbers.ts";
import type { Engine } from "../source/conformance/run.ts";
import type { Cell, Step } from "../source/conformance/types.ts";
import { diff, type Held } from "../state/diff.ts";
import type { State } from "../state/state.ts";
import { type Devices, openDevices } from "./devices.ts";
import { packet } from "./frame.ts";
import { localsOf } from "./locals.ts";
import { judgeSides } from "./sides.ts";

/** A loaded datapath of its own, pinned apart from any agent's, for programs to be run on packets. */
export interface Bench {
  readonly datapath: Datapath;
  readonly maps: Maps;
  readonly devices: Devices;
  readonly run: TestRunner;
  /** Brings the maps to a state by the same steps as the agent, attaching nothing. */
  bring(state: State): Promise<void>;
  close(): void;
}

export interface BenchOptions {
  /** The built BPF object. */
  readonly object: string;
  /** Directory on a BPF filesystem under which a directory of this process's own is made, and removed by close(). */
  readonly bpffs: string;
}

let benches = 0;

export async function openBench({ object, bpffs }: BenchOptions): Promise<Bench> {
  benches += 1;
  const root = join(bpffs, `weir-test-${process.pid}-${benches}`);
  const datapath = await openDatapath(root, object);
  const maps = openMaps(datapath);
  const devices = openDevices(`wk${(process.pid % 46_656).toString(36)}${benches.toString(36)}`);
  let held: Held | undefined;
  await maps.initialise();
  return {
    datapath,
    maps,
    devices,
    run: testRunner(datapath, object),
    async bring(state) {
      const changes = diff(held ?? (await maps.read()), state);
      if (!changes.empty) {
        await maps.write(changes.prepare);
        await maps.flip();
        await maps.write(changes.cleanup);
      }
      held = {
        state,
        unsettled: { addresses: new Set(), cidrs: new Set(), endpoints: new Set(), ports: false },
      };
    },
    close() {
      devices.close();
      datapath.close();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** An interface that is no endpoint: packets that the node forwards come from it. The loopback device always exists. */
const ELSEWHERE = 1;

export function kernelEngine(bench: Bench): Engine {
  let numbering: Numbering = NOTHING_NUMBERED;
  const interfaces = new Map<string, number>();
  let last = 0;
  let sourcePort = 0;
  const ask = (cell: Cell, direction: Direction, ifindex: number) => {
    const frame = packet({
      source: cell.from.address,
      destination: cell.to.address,
      protocol: cell.protocol,
      sourcePort: 32_768 + sourcePort,
      destinationPort: cell.port,
    });
    const verdict = bench.run({ direction, ifindex, ingressIfindex: ELSEWHERE, frame });
    return { allowed: verdict === "pass", answer: verdict };
  };
  return {
    name: "kernel",
    async judge(step: Step) {
      const locals = localsOf(step, interfaces, () => bench.devices.at(last++));
      const compiled = compile(step.cluster, locals, numbering);
      await bench.bring(compiled.state);
      numbering = compiled.numbering;
      return step.cells.map((cell) => {
        // Every probe is a connection of its own.
        sourcePort = (sourcePort + 1) % 32_768;
        return judgeSides(step, cell, interfaces, ({ direction, ifindex }) => ask(cell, direction, ifindex));
      });
    },
  };
}
