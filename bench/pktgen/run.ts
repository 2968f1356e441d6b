// A whole run: each variant on the pod's link in turn, and every row's packets through it; what came of them by Weir's own counters.

import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { present } from "../../src/base/assert.ts";
import { OperationError } from "../../src/base/errors.ts";
import { readCounters } from "../../src/cli/pinned-maps.ts";
import { openPins } from "../../src/datapath/pins.ts";
import { tableOf } from "../../src/datapath/typed-maps.ts";
import { ipJson } from "../../src/lab/iproute.ts";
import { withProgram } from "../common/compile.ts";
import { median } from "../common/median.ts";
import { type Ground, openGround } from "../path/ground.ts";
import { VARIANTS as ALL, putUp } from "../path/variants.ts";
import type { Generated, Mode, Place, Task } from "./generator.ts";
import { openLiveFrames } from "./live-frames.ts";
import { POD_ADDRESS, POLICY } from "./packets.ts";
import { generate, hasPktgen } from "./pktgen.ts";

export interface PktgenOptions {
  /** Empty: all that this kernel has. */
  readonly modes: readonly Mode[];
  readonly tasks: readonly Task[];
  readonly runs: number;
  readonly progress: (text: string) => void;
}

export interface PktgenRow {
  readonly mode: Mode;
  readonly task: Task;
  readonly variant: VariantId;
  readonly packetsPerSecond: number;
  /** To the empty program on the same hook, median over the runs. */
  readonly ratio: number;
  /** Sums over the runs. Packets that the link dropped before any program saw them are lost. */
  readonly sent: number;
  readonly lost: number;
  /** By Weir's counters, with the reason; undefined where Weir is not. */
  readonly passed: ReadonlyMap<string, number> | undefined;
  readonly dropped: ReadonlyMap<string, number> | undefined;
}

const PREFIX = "weirpktgen";
const POD = { name: "bench/source", labels: {}, addresses: [POD_ADDRESS] } as const;

/** What is on the link, and which program it is compared with. */
const EMPTY = {
  none: "tc-empty",
  "tc-empty": "tc-empty",
  "tc-weir": "tc-empty",
  "xdp-empty": "xdp-empty",
  "xdp-weir": "xdp-empty",
} as const;
type VariantId = keyof typeof EMPTY;
type Variant = (typeof ALL)[number] & { readonly id: VariantId };
const VARIANTS = ALL.filter((variant): variant is Variant => variant.id in EMPTY);

interface Sample extends Generated {
  readonly lost: number;
  readonly counts: readonly Count[] | undefined;
}

interface Count {
  readonly reason: string;
  readonly dropped: boolean;
  readonly packets: number;
}

/** Must run in a network namespace of its own: it puts a route there. @throws OperationError, BpfError */
export function runPktgen(options: PktgenOptions): Promise<PktgenRow[]> {
  const modes = modesOf(options);
  return withProgram(
    fileURLToPath(new URL("live.c", import.meta.url)),
    async (program) => {
      const ground = await openGround({ prefix: PREFIX, pods: [POD], policies: [POLICY] });
      try {
        const live = modes.includes("live_frames") ? await openLiveFrames(program, "/sys/fs/bpf") : undefined;
        if (live !== undefined) ground.lab.defer(() => live.close());
        const send = (place: Place, task: Task): Promise<Generated> =>
          place.mode === "live_frames"
            ? present(live, "live frames").generate(place, task)
            : generate(place, task);
        return await measured(ground, modes, send, options);
      } finally {
        ground.lab.close();
      }
    },
    ["-lbpf"],
  );
}

function modesOf({ modes, progress }: PktgenOptions): readonly Mode[] {
  const pktgen = hasPktgen();
  if (!pktgen)
    progress("this kernel has no pktgen (CONFIG_NET_PKTGEN); test runs with live frames in its place");
  if (modes.length === 0) return pktgen ? ["start_xmit", "netif_receive"] : ["live_frames"];
  const missing = pktgen ? undefined : modes.find((mode) => mode !== "live_frames");
  if (missing === undefined) return modes;
  throw new OperationError("this kernel has no pktgen", { operation: "generate by", object: missing });
}

type Send = (place: Place, task: Task) => Promise<Generated>;

async function measured(
  ground: Ground,
  modes: readonly Mode[],
  send: Send,
  { tasks, runs, progress }: PktgenOptions,
): Promise<PktgenRow[]> {
  const samples = new Map<string, Sample[]>();
  const cells = modes.flatMap((mode) => tasksOf(mode, tasks).map((task) => ({ mode, task })));
  for (let index = 1; index <= runs; index += 1)
    for (const variant of VARIANTS.filter((each) => modes.some((mode) => meets(each, mode)))) {
      progress(`run ${index} of ${runs}: ${variant.what}`);
      const takeAway = await putUp(ground, variant);
      try {
        for (const cell of cells) {
          if (!meets(variant, cell.mode)) continue;
          const key = keyOf(cell.mode, cell.task, variant.id);
          const sample = await sampleOf(ground, placeOf(ground, cell.mode), cell.task, send);
          check(key, cell.task, sample);
          samples.set(key, [...(samples.get(key) ?? []), sample]);
        }
      } finally {
        await takeAway();
      }
    }
  return cells.flatMap(({ mode, task }) =>
    VARIANTS.filter((variant) => meets(variant, mode)).map(({ id }) =>
      rowOf({ mode, task, variant: id }, samples),
    ),
  );
}

/** Programs of native XDP see only what comes by the other end of the link. */
const meets = ({ id }: Variant, mode: Mode): boolean => mode === "start_xmit" || !id.startsWith("xdp");

/** A test run is one thread. */
const tasksOf = (mode: Mode, tasks: readonly Task[]): readonly Task[] =>
  mode === "live_frames" ? tasks.filter(({ threads }) => threads === 1) : tasks;

const keyOf = (mode: Mode, { sweep, size, threads }: Task, variant: string): string =>
  [mode, sweep.id, size, threads, variant].join(" ");

function placeOf({ lab }: Ground, mode: Mode): Place {
  const { netns, link } = lab.wire(POD.name);
  const read = (file: string) => readFileSync(`/sys/class/net/${link}/${file}`, "utf8").trim();
  const here = { mode, ifindex: Number(read("ifindex")), mac: read("address") };
  return mode === "start_xmit"
    ? { ...here, device: "eth0", netns }
    : { ...here, device: link, netns: undefined };
}

async function sampleOf(ground: Ground, place: Place, task: Task, send: Send): Promise<Sample> {
  const lostBefore = lostOn(ground);
  const before = await countsOf(ground);
  const generated = await send(place, task);
  const after = await settled(ground, {
    before,
    expected: generated.sent,
    lost: () => lostOn(ground) - lostBefore,
  });
  return { ...generated, lost: lostOn(ground) - lostBefore, counts: after };
}

/** Packets may still be in a CPU's backlog when the generator has ended: looks until none is missing, or none has come for a while. */
async function settled(
  ground: Ground,
  { before, expected, lost }: { before: readonly Count[] | undefined; expected: number; lost: () => number },
): Promise<readonly Count[] | undefined> {
  let last = -1;
  for (let idle = 0; ; ) {
    const counts = difference(await countsOf(ground), before);
    if (counts === undefined) return undefined;
    const sum = total(counts) + lost();
    if (sum >= expected || idle >= IDLE_LOOKS) return counts;
    idle = sum === last ? idle + 1 : 0;
    last = sum;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

const IDLE_LOOKS = 20;
const LOOK_MS = 25;

const total = (counts: readonly Count[]): number => counts.reduce((sum, { packets }) => sum + packets, 0);

/** What the link dropped on its way (a full backlog or ring): veth counts it at the receiving end too. */
function lostOn({ lab }: Ground): number {
  const [device] = ipJson(["-s", "link", "show", "dev", lab.wire(POD.name).link]) as readonly Stats[];
  return device?.stats64?.rx?.dropped ?? 0;
}

interface Stats {
  readonly stats64?: { readonly rx?: { readonly dropped?: number } };
}

/** What every link has of its own, once in a while: ARP and neighbour discovery. */
const NOT_GENERATED = "neighbour";

/** Of what came from the pod; undefined where Weir is not there. */
async function countsOf({ paths }: Ground): Promise<readonly Count[] | undefined> {
  const pins = openPins(paths.bpffs);
  if (pins === undefined) return undefined;
  try {
    const counters = await readCounters({
      pins,
      generation: 0,
      version: 0,
      table: (name) => tableOf(name, pins.map(name)),
    });
    return counters
      .filter(({ direction, reason }) => direction === "egress" && reason !== NOT_GENERATED)
      .map(({ reason, dropped, packets }) => ({ reason, dropped, packets: Number(packets) }));
  } finally {
    pins.close();
  }
}

function difference(
  after: readonly Count[] | undefined,
  before: readonly Count[] | undefined,
): readonly Count[] | undefined {
  const earlier = new Map(before?.map(({ reason, packets }) => [reason, packets]));
  return after
    ?.map((count) => ({ ...count, packets: count.packets - (earlier.get(count.reason) ?? 0) }))
    .filter(({ packets }) => packets !== 0);
}

/** Sent = passed + dropped (+ lost before the program), and all one or the other, as the sweep has it. */
function check(key: string, { sweep }: Task, { sent, lost, counts }: Sample): void {
  if (counts === undefined) return;
  const wrong = counts.filter(({ dropped }) => dropped !== (sweep.verdict === "dropped"));
  if (total(counts) + lost === sent && wrong.length === 0) return;
  throw new OperationError(
    `${sent} packets were sent and ${lost} lost on the link; all others were to be ${sweep.verdict}, but were counted as ${JSON.stringify(counts)}`,
    { operation: "measure", object: key },
  );
}

function rowOf(
  row: Pick<PktgenRow, "mode" | "task" | "variant">,
  samples: ReadonlyMap<string, readonly Sample[]>,
): PktgenRow {
  const of = (variant: string) => present(samples.get(keyOf(row.mode, row.task, variant)), "a sample");
  const own = of(row.variant);
  const empty = of(EMPTY[row.variant]);
  const rate = ({ sent, lost, seconds }: Sample) => (sent - lost) / seconds;
  const by = (dropped: boolean) =>
    own[0]?.counts &&
    sums(
      own.flatMap(({ counts }) => counts ?? []),
      dropped,
    );
  const sum = (key: "sent" | "lost") => own.reduce((all, sample) => all + sample[key], 0);
  return {
    ...row,
    packetsPerSecond: median(own.map(rate)),
    ratio: median(own.map((sample, index) => rate(sample) / rate(present(empty[index], "a sample")))),
    sent: sum("sent"),
    lost: sum("lost"),
    passed: by(false),
    dropped: by(true),
  };
}

function sums(counts: readonly Count[], dropped: boolean): ReadonlyMap<string, number> {
  const byReason = new Map<string, number>();
  for (const count of counts)
    if (count.dropped === dropped)
      byReason.set(count.reason, (byReason.get(count.reason) ?? 0) + count.packets);
  return byReason;
}

export const THREADS_MAX = availableParallelism();
