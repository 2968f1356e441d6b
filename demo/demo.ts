// The demo: a node in miniature, its policies changing file by file, and what they do to real connections, measured.

import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { styleText } from "node:util";
import { messageOf } from "../src/base/errors.ts";
import { EXIT } from "../src/cli/environment.ts";
import {
  type ManifestDirectory,
  manifestDirectory,
  namespaceManifest,
  podManifest,
} from "../src/lab/lab-manifests.ts";
import { type Measured, measuredText, measureExpected } from "../src/lab/measure-reachability.ts";
import { type Lab, openLab } from "../src/lab/netns-lab.ts";
import { Agent, cleanUp, type ProductPaths, weirOutput } from "../src/lab/weir-process.ts";
import { ACTS, type Act } from "./acts.ts";
import { type CellShot, isRight, shotsOf, tableLines } from "./table.ts";
import { MACHINES, NAMESPACES, PODS, RESOLVER } from "./world.ts";

const PREFIX = "weirdemo";
/** For the manifests and the agent's socket; of a fixed name, so that a demo that was killed leaves nothing for long. */
const DIRECTORY = `/run/${PREFIX}`;
const WRONG_LINES_MAX = 8;
const BIN = fileURLToPath(new URL("../bin/weir", import.meta.url));

interface Stage {
  readonly lab: Lab;
  readonly agent: Agent;
  readonly manifests: ManifestDirectory;
}

interface Score {
  cells: number;
  right: number;
}

const say = (...lines: string[]): void => {
  for (const line of lines) process.stdout.write(line === "" ? "\n" : `  ${line}\n`);
};

const dim = (text: string): string => styleText("dim", text);
const seconds = (sinceMs: number): string => `${((Date.now() - sinceMs) / 1000).toFixed(1)} s`;

function heading(text: string): void {
  say("", `${styleText("bold", text)} ${dim("─".repeat(Math.max(3, 106 - text.length)))}`, "");
}

async function main(): Promise<boolean> {
  if (process.getuid?.() !== 0) throw new Error("run it as root: it makes network namespaces and loads eBPF");
  const startedAt = Date.now();
  heading("Weir: NetworkPolicy on one node, by a small eBPF program on every pod's veth");
  say(
    `${PODS.length} pods and ${MACHINES.length} machines that are no pods, each a network namespace behind a veth pair with IPv4 and IPv6;`,
    "the root namespace is the node that routes between them. Web servers and clients are real, and so is `weir run`.",
    "In the tables, 4 and 6 mean that a web page came back over IPv4 and IPv6; a dot means that nothing did.",
  );
  const lab = await openLab({ prefix: PREFIX, endpoints: [...PODS, ...MACHINES] });
  try {
    const stage = await setStage(lab);
    say("", dim(`built and started in ${seconds(startedAt)}; agent is process ${stage.agent.pid}`));
    const score: Score = { cells: 0, right: 0 };
    for (const [index, act] of ACTS.entries()) await play(stage, act, { number: index + 1, score });
    await show(stage.agent.paths);
    await stage.agent.stop();
    return summary(score, startedAt);
  } finally {
    lab.close();
  }
}

/** Writes the manifests of the world, starts the agent on them, and sees to it that both go again. */
async function setStage(lab: Lab): Promise<Stage> {
  rmSync(DIRECTORY, { recursive: true, force: true });
  mkdirSync(DIRECTORY);
  lab.defer(() => rmSync(DIRECTORY, { recursive: true }));
  const manifests = manifestDirectory(join(DIRECTORY, "manifests"));
  manifests.put(
    "namespaces.yaml",
    Object.entries(NAMESPACES).map(([name, labels]) => namespaceManifest(name, labels)),
  );
  manifests.put(
    "pods.yaml",
    PODS.map((pod) => podManifest(pod, lab.wire(pod.name))),
  );
  const paths = { bin: BIN, bpffs: `/sys/fs/bpf/${PREFIX}`, socket: join(DIRECTORY, "agent.sock") };
  // Left by a demo that was killed.
  if (existsSync(paths.bpffs)) cleanUp(paths);
  lab.defer(() => cleanUp(paths));
  const agent = Agent.spawn(paths, manifests.path);
  lab.defer(() => agent.killNow());
  await agent.ready();
  return { lab, agent, manifests };
}

async function play(
  { lab, agent, manifests }: Stage,
  act: Act,
  { number, score }: { readonly number: number; readonly score: Score },
): Promise<void> {
  heading(`Act ${number} of ${ACTS.length}: ${act.title}`);
  say(...act.story);
  const { policy } = act;
  if (policy !== undefined) {
    const text = readFileSync(new URL(`policies/${policy}`, import.meta.url), "utf8");
    let writtenAt = 0;
    const { appliedAt } = await agent.change(() => {
      writtenAt = Date.now();
      manifests.put(policy, text);
    });
    const afterMs = Date.parse(appliedAt ?? "") - writtenAt;
    say(dim(`policies/${policy} written; the agent had it in force within ${afterMs} ms`));
  }
  for (const lookup of act.lookups ?? []) await lookUp(lab, lookup);
  const measuredAt = Date.now();
  const measured = await measureExpected(lab, shotsOf(act, lab));
  const wrong = measured.filter((each) => !isRight(each));
  say("", ...tableLines(act, measured), "");
  say(...verdictLines(measured, wrong, measuredAt));
  score.cells += measured.length;
  score.right += measured.length - wrong.length;
  if (act.policy === undefined && wrong.length > 0) {
    say(
      "No policy is in force yet: does this machine's own firewall drop what it forwards? (`nft list ruleset`)",
    );
  }
}

/** Resolves a name, and goes to its address at once. */
async function lookUp(lab: Lab, { pod, name, target }: NonNullable<Act["lookups"]>[number]): Promise<void> {
  const addresses = MACHINES.find((each) => each.name === target)?.addresses ?? [];
  for (const [at, address] of addresses.entries()) {
    const lookup = { name, resolver: RESOLVER[at] as string };
    const probe = { kind: "http", address, port: 80, timeoutMs: LOOKUP_MS, lookup } as const;
    const { result } = await lab.probe(pod, probe);
    say(dim(`${pod} resolves ${name} over ${lookup.resolver} and connects to ${address}: ${result}`));
  }
}

const LOOKUP_MS = 5_000;

function verdictLines(
  measured: readonly Measured<CellShot>[],
  wrong: readonly Measured<CellShot>[],
  measuredAt: number,
): string[] {
  const again = measured.filter((each) => each.again).length;
  const twice = again === 0 ? "" : `, ${again} of them looked at twice`;
  const count = `${measured.length - wrong.length} of ${measured.length} connections as expected`;
  const text = `${count} (measured in ${seconds(measuredAt)}${twice})`;
  return [
    wrong.length === 0 ? `${styleText("green", "✓")} ${text}` : `${styleText("red", "✗")} ${text}`,
    ...wrong.slice(0, WRONG_LINES_MAX).map((each) => {
      const other = each.outcome.result === "reached" ? `, answered by ${each.outcome.text}` : "";
      return `  ${measuredText(each)}${other}`;
    }),
    ...(wrong.length > WRONG_LINES_MAX ? [`  and ${wrong.length - WRONG_LINES_MAX} more`] : []),
  ];
}

/** What the operator sees of it: the command line's own words, of the counters only what was dropped. */
async function show(paths: ProductPaths): Promise<void> {
  const print = async (args: readonly string[], only?: RegExp, status = 0): Promise<void> => {
    heading(`weir ${args.join(" ")}${only === undefined ? "" : ` | grep -E '${only.source}'`}`);
    const lines = (await weirOutput(paths, args, status)).trimEnd().split("\n");
    say(...lines.filter((line) => only === undefined || only.test(line)).map(fitted));
  };
  await print(["maps", "dump", "cidrs"]);
  await print(["get", "endpoints"]);
  await print(
    ["trace", "--from", "gamma/hammer", "--to", "beta/hammer", "--port", "80"],
    undefined,
    EXIT.denied,
  );
  await print(["maps", "dump", "counters"], /POD|dropped/);
}

/** Cut where a terminal would break it, so that columns stay columns; whole where the output is kept. */
function fitted(line: string): string {
  const { columns } = process.stdout;
  const width = columns === undefined ? Number.POSITIVE_INFINITY : columns - 2;
  return line.length <= width ? line : `${line.slice(0, width - 1)}…`;
}

function summary({ cells, right }: Score, startedAt: number): boolean {
  const all = right === cells;
  const text = `${right} of ${cells} connections as expected in ${ACTS.length} acts, ${seconds(startedAt)}`;
  heading("Summary");
  say(all ? styleText(["green", "bold"], `✓ ${text}`) : styleText(["red", "bold"], `✗ ${text}`), "");
  return all;
}

// Whoever read the output has seen enough; leaving runs what there is to undo.
process.stdout.on("error", () => process.exit(1));
try {
  process.exitCode = (await main()) ? 0 : 1;
} catch (thrown) {
  process.stderr.write(`demo: ${messageOf(thrown)}\n`);
  process.exitCode = 1;
}
