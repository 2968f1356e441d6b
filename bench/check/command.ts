// `npm run bench -- check`: what it costs the agent to look at all interfaces and pins, as it does twice a second.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { openAttachments } from "../../src/datapath/attachments.ts";
import { openDatapath } from "../../src/datapath/program-loader.ts";
import { cleanup } from "../../src/datapath/remove-datapath.ts";
import { type Devices, openDevices } from "../../src/engines/kernel-engine.ts";
import { left, right, type Table } from "../../src/observe/text-output.ts";
import { describeMachine } from "../common/machine.ts";
import { median } from "../common/median.ts";
import { atLeast, type Format, outputOption, progress } from "../common/options.ts";
import { hundredths, reportOf } from "../common/report.ts";

interface Options {
  readonly output: Format;
  readonly runs: number;
  readonly endpoints: number;
  readonly bpffs: string;
}

const OBJECT = fileURLToPath(new URL("../../bpf/build/filter.bpf.o", import.meta.url));
/** As src/agent/integrity.ts has it. */
const CHECKS_PER_SECOND = 2;

const HELP = `
So many veth devices get both programs, as endpoints have. Then the kernel is queried, as the agent does twice a second,
for what is attached to each ("attached"), and every pin is compared with what is held ("pins": done only where a
directory of pins has changed, and at every resync). CPU is user and system time of the whole process.

It needs root and the built object, and removes all that it makes.

Examples:
  npm run bench -- check --endpoints 250`;

export function addCheck(parent: Command): void {
  parent
    .command("check")
    .description("what it costs to look at all attached programs and pins")
    .addOption(outputOption())
    .option("--endpoints <number>", "interfaces with programs", atLeast(1), 250)
    .option("--runs <number>", "how often each is done", atLeast(1), 50)
    .option("--bpffs <directory>", "a BPF filesystem", "/sys/fs/bpf")
    .addHelpText("after", HELP)
    .action(check);
}

interface Row {
  readonly name: string;
  readonly endpoints: number;
  /** Medians, in milliseconds. */
  readonly wall: number;
  readonly cpu: number;
}

async function check({ output, runs, endpoints, bpffs }: Options): Promise<void> {
  const root = join(bpffs, `weir-bench-${process.pid}`);
  const devices = openDevices(`wc${process.pid}`);
  let rows: readonly Row[];
  try {
    rows = await measured(root, devices, { runs, endpoints });
  } finally {
    await cleanup({ root, dryRun: false, interfaces: [] });
    devices.close();
  }
  process.stdout.write(
    reportOf(output, describeMachine(), rows, {
      json: (row) => ({ ...row, wall: hundredths(row.wall), cpu: hundredths(row.cpu) }),
      table,
      markdown: { titles: [...TITLES], cells },
    }),
  );
}

async function measured(
  root: string,
  devices: Devices,
  { runs, endpoints }: Pick<Options, "runs" | "endpoints">,
): Promise<readonly Row[]> {
  const datapath = await openDatapath(root, OBJECT);
  const attachments = openAttachments(datapath);
  try {
    progress(`attaching to ${endpoints} interfaces`);
    for (let number = 0; number < endpoints; number += 1) await attachments.attach(devices.at(number));
    const kinds = {
      attached: () => attachments.examine(),
      pins: () => datapath.pin() + attachments.pin(),
    };
    const rows: Row[] = [];
    for (const [name, work] of Object.entries(kinds)) {
      const walls: number[] = [];
      const cpus: number[] = [];
      for (let turn = 0; turn < runs; turn += 1) {
        const [before, cpu] = [performance.now(), process.cpuUsage()];
        await work();
        const { user, system } = process.cpuUsage(cpu);
        walls.push(performance.now() - before);
        cpus.push((user + system) / 1_000);
      }
      rows.push({ name, endpoints, wall: median(walls), cpu: median(cpus) });
    }
    return rows;
  } finally {
    attachments.close();
    datapath.close();
  }
}

const TITLES = ["endpoints", "wall, ms", "CPU, ms", "of a CPU, twice a second", "what"] as const;

const cells = ({ name, endpoints, wall, cpu }: Row): string[] => [
  String(endpoints),
  wall.toFixed(2),
  cpu.toFixed(2),
  `${((cpu * CHECKS_PER_SECOND) / 10).toFixed(2)} %`,
  name,
];

const table = (rows: readonly Row[]): Table => ({
  columns: [...TITLES.slice(0, -1).map((title) => right(title.toUpperCase())), left("WHAT")],
  rows: rows.map(cells),
});
