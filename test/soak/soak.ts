// `npm run test:soak`: a node of many pods under traffic, and random faults. It compares at every step, and ends with one table.
//
//   node test/soak/soak.ts [--minutes N] [--seed S] [--pods N] [--rate PACKETS] [--only FAULT,...] [--bin PATH] [--log FILE]

import { readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { Command } from "commander";
import { atLeast } from "../../bench/common/options.ts";
import { randomFrom } from "../../bench/common/random.ts";
import { messageOf } from "../../src/base/errors.ts";
import { ipJson } from "../../src/lab/iproute.ts";
import { Teardown } from "../../src/lab/teardown.ts";
import { cleanUp } from "../../src/lab/weir-process.ts";
import type { ResyncView } from "../../src/observe/api-views.ts";
import { ask } from "../../src/observe/socket-client.ts";
import { faultNames, faultsInOrder, faultsNamed, openChoice } from "./faults.ts";
import { afterFirst, atEnd, openBefore } from "./lasting.ts";
import { clsactInterfaces, descriptorsBeyond, filesBelow, heldBy, stillThere, unfiltered } from "./leaks.ts";
import { openLedger, type Step } from "./ledger.ts";
import { type LiveMemory, liveMemory, memoryText } from "./live-memory.ts";
import { DEFAULT_BIN, openNode, PREFIX, type SoakNode } from "./node.ts";
import { nowUs, type ProbeSpec } from "./prober.ts";

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly pods: number;
  readonly rate: number;
  readonly only?: string;
  readonly bin: string;
  readonly withoutTcx?: true;
  readonly log?: string;
  readonly rounds?: number;
  readonly restarts?: number;
}

/** Slots of this share of the pods come and go. */
const MOVING_SHARE = 4;
/** Memory of an agent that has lived long once its garbage is collected, beyond that of a new one with the same cluster. */
const LIVE_MIB_MAX = 12;
/** Resident: the allocators keep what they have freed in part. */
const RSS_MIB_MAX = 80;
/** The chart's limit (deploy/weir.yaml), beyond which a kubelet would have ended it. */
const PEAK_MIB_MAX = 512;
/** In runs of so many faults, the live memory is measured ten times. */
const MEASURED = 10;
/** How an agent ends and starts again, in turns. */
const RESTARTS = ["restart", "kill -9", "upgrade or downgrade"].join();
/** Of so many wrong probes the agent is asked. */
const EXAMINED_MAX = 5;
const GONE_MS_MAX = 10_000;
/** The agent looks twice a second, and a busy machine less often. */
const FILTERED_MS_MAX = 5_000;

const program = new Command("soak")
  .option("--minutes <number>", "how long", (text) => Number(text), 2)
  .option("--seed <number>", "of all random choices", atLeast(0), Date.now() % 2 ** 32)
  .option("--pods <number>", "pods of the node", atLeast(4), 60)
  .option("--rate <packets>", "probes a second, about", atLeast(1), 1_500)
  .option("--only <faults>", `kinds of faults, with commas: ${faultNames().join(", ")}`)
  .option(
    "--rounds <number>",
    "of the faults of --only, one after the other; at most --minutes, if given",
    atLeast(1),
  )
  .option(
    "--restarts <number>",
    "restarts, kills and upgrades of the agent, one after the other, under connections that have to last, one for each pod; at most --minutes",
    atLeast(1),
  )
  .option("--bin <path>", "the weir command under test", DEFAULT_BIN)
  .option("--without-tcx", "agents find no tcx, as before Linux 6.6: they filter in clsact")
  .option("--log <file>", "for what the agents wrote, if something goes wrong");
program.parse();
const options = program.opts<Options>();

const say = (text: string): void => void process.stderr.write(`${text}\n`);

async function main(): Promise<number> {
  const { seed, minutes, pods, restarts } = options;
  const named = options.only ?? (restarts === undefined ? undefined : RESTARTS);
  const only = named === undefined ? new Set<string>() : faultsNamed(named);
  const total = restarts ?? (options.rounds === undefined ? undefined : options.rounds * only.size);
  const length = total === undefined ? `${minutes} minutes` : `${total} faults`;
  say(`soak: seed ${seed}, ${pods} pods, ${length}`);
  const random = randomFrom(seed);
  const ledger = openLedger();
  const teardown = new Teardown();
  const started = performance.now();
  const elapsed = (): string => `${((performance.now() - started) / 1_000).toFixed(1)} s`;
  let node: SoakNode | undefined;
  const specs = new Map<number, ProbeSpec>();
  /** Beside the table. */
  const lines: string[] = [];
  const told = new Set<string>();
  let examined = 0;
  let step: Step | undefined;
  try {
    const made = await openNode(
      {
        ...options,
        random,
        lasting: restarts !== undefined,
        onWrong(wrong) {
          const probe = node?.probes.get(wrong.id) ?? specs.get(wrong.id);
          ledger.wrong({ ...wrong, probe });
          // The first of each probe in a step tells what there is to tell.
          const key = `${wrong.id} ${wrong.what} ${step?.beganUs}`;
          if (told.has(key)) return;
          told.add(key);
          const at = ((wrong.first - (step?.beganUs ?? wrong.first)) / 1_000).toFixed(0);
          say(
            `  ${elapsed()} WRONG at ${wrong.first}: ${wrong.count} ${wrong.what}, ${at} ms after the begin of "${step?.kind}"${step?.inForceUs === undefined ? "" : `, ${((wrong.first - step.inForceUs) / 1_000).toFixed(0)} ms after it was in force`}: ${JSON.stringify(probe)} ${node?.describe(probe)}`,
          );
          if (examined < EXAMINED_MAX && probe !== undefined && node !== undefined) {
            examined += 1;
            void node.examine(probe).then(say, (error: unknown) => say(messageOf(error)));
          }
        },
      },
      teardown,
    );
    node = made;
    if (options.withoutTcx === true) made.faults.hideTcx();
    const lasting = restarts === undefined ? undefined : await openBefore(made);
    step = ledger.begin("start", nowUs());
    made.startAgent();
    await made.untilInForce((log) => ledger.ended("start", lastLine(log)));
    const older = lasting && (await afterFirst(made, lasting));
    if (older !== undefined && older.tracked > 0)
      ledger.leak(`${older.tracked} connections ended although conntrack had seen them`);
    await made.tighten();
    step.inForceUs = nowUs();
    await made.prober.settle();
    const first = await made.prober.counts();
    say(`soak: ${first.probes} probes after ${elapsed()}`);
    const objects = new Set<string>();
    const collect = (): void => {
      const pid = made.agent()?.pid;
      if (pid !== undefined && made.isRunning()) for (const each of heldBy(pid).objects) objects.add(each);
    };
    collect();
    const slots = {
      first: Math.ceil(pods - pods / MOVING_SHARE),
      end: pods + Math.ceil(pods / MOVING_SHARE),
    };
    const isTimed = total === undefined || program.getOptionValueSource("minutes") === "cli";
    const deadline = isTimed ? performance.now() + minutes * 60_000 : Number.POSITIVE_INFINITY;
    let count = 0;
    const inOrder = total === undefined ? undefined : faultsInOrder(only);
    const choose = openChoice(random, only, minutes);
    const peaks = new Set<number>();
    while (performance.now() < deadline && (total === undefined || count < total)) {
      const fault = inOrder?.(count) ?? choose();
      count += 1;
      const current = ledger.begin(fault.name, nowUs());
      step = current;
      const before = ledger.wrongs();
      await fault.run({
        node: made,
        random,
        slots,
        begins: () => {
          current.repairFromUs = nowUs();
        },
      });
      await made.untilInForce((log) => ledger.ended(fault.name, lastLine(log)));
      await made.tighten();
      current.inForceUs = nowUs();
      await made.prober.settle();
      for (const text of await withoutPrograms(made)) ledger.leak(`${fault.name}: ${text}`);
      if (restarts === undefined && fault.permits === undefined)
        for (const text of await entriesToRepair(made)) ledger.leak(`${fault.name}: ${text}`);
      collect();
      const pid = made.agent()?.pid;
      const peakMiB = pid === undefined || !made.isRunning() ? 0 : heldBy(pid).peakMiB;
      if (pid !== undefined && peakMiB > PEAK_MIB_MAX && !peaks.has(pid)) {
        peaks.add(pid);
        ledger.leak(`${fault.name}: the agent had ${peakMiB.toFixed(0)} MiB`);
      }
      if (total !== undefined && count % 50 === 0) say(`${elapsed()} ${count} of ${total} faults`);
      if (total !== undefined && restarts === undefined && count % Math.ceil(total / MEASURED) === 0) {
        const text = `after ${count} faults: ${memoryText(await liveMemory(made.agent()?.pid ?? 0))}`;
        say(text);
        lines.push(text);
      }
      if (process.env["WEIR_SOAK_VERBOSE"] !== undefined || ledger.wrongs() !== before)
        say(
          `${elapsed()} ${count} ${fault.name}: in force after ${((current.inForceUs - current.repairFromUs) / 1_000).toFixed(0)} ms`,
        );
    }
    if (older !== undefined) {
      const { lost, text } = await atEnd(made, older.now);
      lines.push(older.text, text);
      for (const id of lost)
        ledger.leak(`a connection that did not last: ${JSON.stringify(made.probes.get(id))}`);
    }
    // What finds no place is dropped, as docs/limits.md says: then that is why an allowed packet was lost.
    const { flows: tables = [] } = (await made.status()) ?? {};
    for (const { family, used, max, evicted, refused } of tables)
      lines.push(
        `${family} flows: ${used} of ${max} places, ${evicted.sameOwner + evicted.unconfirmed} evicted, ${refused} refused`,
      );
    await findLeaks(made, objects, examined > 0, {
      leak: (text) => ledger.leak(text),
      note: (text) => lines.push(text),
    });
    const { sent, delivered, answered, opened, bytes, lateUs } = await made.prober.counts();
    // What is lost is known a while later.
    await sleep(1_800);
    await made.prober.sync();
    say(
      `soak: ${count} faults; ${sent} probes sent, ${delivered} arrived, ${answered} answered, ${opened} connections, ${bytes} bytes over connections; the prober was at most ${Math.round(lateUs / 1_000)} ms late`,
    );
  } catch (thrown) {
    ledger.leak(`the run ended early: ${messageOf(thrown)}`);
    say(
      `${elapsed()} ${step?.kind ?? "start"}: ${thrown instanceof Error ? thrown.stack : messageOf(thrown)}`,
    );
  } finally {
    if (options.log !== undefined && node !== undefined) writeFileSync(options.log, node.log());
    try {
      teardown.close();
    } catch (thrown) {
      ledger.leak(messageOf(thrown));
    }
  }
  const { text, firstFailure } = ledger.result();
  const outcome = firstFailure === undefined ? "passed" : `failed: ${firstFailure}`;
  process.stdout.write(
    `${[text.trimEnd(), ...lines].join("\n")}\nseed ${seed}, ${pods} pods, ${length}: ${outcome}\n`,
  );
  return firstFailure === undefined ? 0 : 1;
}

const lastLine = (log: string): string => log.trim().split("\n").at(-1) ?? "";

/** Interfaces of pods that are not filtered although the agent says so, some checks later. */
async function withoutPrograms(node: SoakNode): Promise<string[]> {
  for (const deadline = Date.now() + FILTERED_MS_MAX; ; await sleep(200)) {
    const links = await unfiltered(node.pods().map(({ slot }) => node.wire(slot).link));
    if (links.length === 0) return [];
    if (Date.now() > deadline) return links.map((link) => `${link} is not filtered`);
  }
}

/** What a resync has to repair is what updates have left, and what nothing said of. */
async function entriesToRepair(node: SoakNode): Promise<string[]> {
  const resync = await ask<ResyncView>(node.socket, "/v1/resync", { method: "POST", timeoutMs: 60_000 });
  return (resync?.repaired ?? []).map(
    ({ table, key }) => `an entry of ${table} that a resync had to repair: ${key}`,
  );
}

/** The digest of a build's layout, by its command: an upgrade may have been the last. */
async function layoutOf(bin: string): Promise<string> {
  const generated = pathToFileURL(join(dirname(bin), "../src/gen/layout.ts"));
  return ((await import(generated.href)) as { readonly LAYOUT_DIGEST: string }).LAYOUT_DIGEST;
}

/** What a long-lived agent holds beyond a new one with the same cluster; then what is left of all of them after the clean-up. */
async function findLeaks(
  node: SoakNode,
  objects: ReadonlySet<string>,
  wasAsked: boolean,
  { leak, note }: { readonly leak: (text: string) => void; readonly note: (text: string) => void },
): Promise<void> {
  const held = async () => heldBy(node.agent()?.pid ?? 0);
  await sleep(1_000);
  for (const text of await entriesToRepair(node)) leak(text);
  // First of both, since the inspector has descriptors, too.
  const oldMemory = await liveMemory(node.agent()?.pid ?? 0);
  const old = await held();
  const layout = await layoutOf(node.bin());
  for (const name of readdirSync(node.bpffs))
    if (/^[0-9a-f]{16}$/.test(name) && name !== layout) leak(`pins of another layout: ${name}`);
  const interfaces = new Set(ipJson(["link", "show"]).map((link) => String(link["ifindex"])));
  for (const name of readdirSync(join(node.bpffs, "links")))
    if (!interfaces.has(name.split("-")[0] ?? ""))
      leak(`the pin of a link on an interface that is gone: ${name}`);
  // Inner maps are named by numbers that differ between agents: only how many there are of each counts.
  const counted = (): Map<string, number> =>
    new Map(
      [...Map.groupBy(filesBelow(node.bpffs), (path) => path.replace(/\/\d+-\d+$/, ""))].map(
        ([path, all]) => [path, all.length],
      ),
    );
  const pins = counted();
  await node.endAgent("stop");
  node.startAgent();
  await node.untilInForce((log) => leak(`the agent ended: ${lastLine(log)}`));
  const newMemory = await liveMemory(node.agent()?.pid ?? 0);
  const fresh = await held();
  // An agent that was asked for traces holds programs for that (src/datapath/shadow-programs.ts).
  if (!wasAsked) for (const text of descriptorsBeyond(old, fresh)) leak(text);
  const live = ({ heapMiB, externalMiB }: LiveMemory): number => heapMiB + externalMiB;
  const compared = `memory: ${memoryText(oldMemory)}; a new agent ${memoryText(newMemory)}`;
  note(compared);
  if (live(oldMemory) > live(newMemory) + LIVE_MIB_MAX || oldMemory.rssMiB > newMemory.rssMiB + RSS_MIB_MAX)
    leak(compared);
  const now = counted();
  for (const [path, count] of pins)
    if (count > (now.get(path) ?? 0))
      leak(`${count} pins ${path}, of which a new agent has ${now.get(path) ?? 0}`);
  const all = new Set([...objects, ...old.objects, ...fresh.objects]);
  await node.endAgent("stop");
  // From here on nothing is enforced.
  await node.loosen(() => true);
  cleanUp(node.commands);
  for (const line of clsactInterfaces(PREFIX)) leak(`after the clean-up: ${line}`);
  // The kernel frees them after a grace period.
  let left = stillThere(all);
  for (
    const deadline = Date.now() + GONE_MS_MAX;
    left.length > 0 && Date.now() < deadline;
    left = stillThere(left)
  )
    await sleep(200);
  for (const text of left) leak(`after the clean-up: ${text}`);
}

process.exitCode = await main();
