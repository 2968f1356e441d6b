// What others do to Weir's programs, links and pins while an agent runs, is stopped or has died: what status, metrics and the log
// report, that it is repaired, and that no denied packet passes after that.

import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { BpfLink, BpfObject, BpfProgram, findClsact, hasTcx } from "bpf-ts";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DIRECTIONS } from "../../src/base/direction.ts";
import { CLSACT_HANDLE, CLSACT_PRIORITY } from "../../src/datapath/hooks.ts";
import { pinnedLinks } from "../../src/datapath/pins.ts";
import { LAYOUT_DIGEST } from "../../src/gen/layout.ts";
import type { Sample } from "../../src/lab/pod-protocol.ts";
import { Agent, type CommandResult, type ProductPaths, weir } from "../../src/lab/weir-process.ts";
import type { StatusReport } from "../../src/observe/status-report.ts";
import { mismatchesOf } from "./reach.ts";
import { openScripts, type Scripts } from "./scripts.ts";
import {
  BYSTANDER,
  BYSTANDER_DENY_EGRESS,
  FRIEND,
  FRIENDS_IN,
  SERVER,
  SERVER_V4,
  SERVER_V6,
  STRANGER,
  single,
  smallWorld,
} from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const PATIENCE_MS = 60_000;
/** A check is made every 500 ms; the rest is for a busy machine. */
const OPEN_MS_MAX = 5_000;
const METRICS = "127.0.0.1:9481";
/** Small programs that are not Weir's. */
const FOREIGN = fileURLToPath(new URL("../../native/build/test/sample.bpf.o", import.meta.url));
const FRIEND_V4 = "10.63.61.2";
const SECOND = "/run/wt-intact/second.sock";
/** A second path to the directory of pins. */
const ALIAS = "/sys/fs/bpf/wt-intact-alias";
/** The number of programs that a hook accepts. */
const TCX_PROGRAMS_MAX = 63;

const HOLDS = `
  shop/friend    -> shop/server tcp/80 udp/80 icmp : 46
  shop/stranger  -> shop/server tcp/80 udp/80 icmp : --
  shop/bystander -> shop/friend tcp/80 udp/80 icmp : --
  shop/server    -> shop/friend tcp/80 : 46`;

let world: World;

beforeAll(async () => {
  const files = { "friends-in.yaml": FRIENDS_IN, "bystander.yaml": BYSTANDER_DENY_EGRESS };
  world = await openWorld(smallWorld("wt-intact", files));
});

afterAll(() => world?.close());

const run = (command: string, ...args: readonly string[]): string =>
  execFileSync(command, args, { encoding: "utf8" });

const ifindexOf = (name: string): number =>
  Number(readFileSync(`/sys/class/net/${world.lab.wire(name).link}/ifindex`, "utf8"));

async function until<T>(look: () => Promise<T>, wanted: (found: T) => boolean): Promise<T> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(30)) {
    const found = await look();
    if (wanted(found)) return found;
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${JSON.stringify(found)}`);
  }
}

async function metric(series: string): Promise<number> {
  const text = await (await fetch(`http://${METRICS}/metrics`)).text();
  const line = text.split("\n").find((each) => each.startsWith(`${series} `));
  if (line === undefined) throw new Error(`no series ${series}`);
  return Number(line.slice(series.length));
}

interface Install {
  readonly paths: ProductPaths;
  readonly weir: (...args: readonly string[]) => Promise<CommandResult>;
  readonly report: () => Promise<StatusReport>;
  readonly states: () => Promise<Readonly<Record<string, string>>>;
  readonly start: (...args: readonly string[]) => Promise<Agent>;
  readonly linkPin: (name: string, place: string) => string;
}

function installAt(bpffs: string): Install {
  const paths = { ...world.paths, bpffs };
  const command = (...args: readonly string[]) => weir(paths, args);
  return {
    paths,
    weir: command,
    report: async () => JSON.parse((await command("status", "-o", "json")).stdout) as StatusReport,
    async states() {
      const { stdout } = await command("get", "endpoints", "-o", "json");
      const rows = JSON.parse(stdout) as { interface: string; state: string }[];
      return Object.fromEntries(rows.map((row) => [row.interface, row.state]));
    },
    async start(...args) {
      const agent = Agent.spawn(paths, world.manifests.path, ["--metrics-listen", METRICS, ...args]);
      world.lab.defer(() => agent.killNow());
      await agent.ready();
      return agent;
    },
    linkPin: (name, place) => join(bpffs, "links", `${ifindexOf(name)}-${place}`),
  };
}

/** The first filters of interfaces are replaced by links, one interface after the other: all that are in force are pinned then. */
async function untilLinked({ paths }: Install): Promise<void> {
  if (!hasTcx()) return;
  const pods = [SERVER, BYSTANDER, FRIEND, STRANGER].map(ifindexOf);
  const filters = () =>
    pods.flatMap((ifindex) =>
      DIRECTIONS.flatMap((direction) => findClsact(ifindex, direction, CLSACT_HANDLE, CLSACT_PRIORITY) ?? []),
    );
  await until(
    async () => ({
      links: pinnedLinks(paths.bpffs).filter(({ ifindex }) => pods.includes(ifindex)).length,
      filters: filters().length,
    }),
    ({ links, filters: left }) => links === pods.length * DIRECTIONS.length && left === 0,
  );
}

const brief = async (install: Install): Promise<{ readonly exit: number; readonly line: string }> => {
  const { status, stdout } = await install.weir("status", "--brief");
  return { exit: status, line: stdout.trim() };
};

async function detach(pin: string): Promise<void> {
  using link = BpfLink.openPinned(pin);
  await link.detach();
}

/** So that the change is complete before the agent looks. */
async function whileStopped(agent: Agent, work: () => Promise<void> | void): Promise<void> {
  process.kill(agent.pid as number, "SIGSTOP");
  try {
    await work();
  } finally {
    process.kill(agent.pid as number, "SIGCONT");
  }
}

/** Probes from a peer that may not and one that may, as new flows, while something happens. */
async function watched(work: () => Promise<void>): Promise<{ denied: Sample[]; allowed: Sample[] }> {
  const denied = await Promise.all([
    world.lab.watch(STRANGER, single("udp", SERVER_V4, 300), 20),
    world.lab.watch(STRANGER, single("udp", SERVER_V6, 300), 20),
    world.lab.watch(BYSTANDER, single("udp", FRIEND_V4, 300), 20),
  ]);
  const allowed = [await world.lab.watch(FRIEND, single("udp", SERVER_V4, 2_000), 20)];
  await work();
  const ended = async (all: readonly (() => Promise<readonly Sample[]>)[]) =>
    (await Promise.all(all.map((end) => end()))).flat();
  return { denied: await ended(denied), allowed: await ended(allowed) };
}

/** What the lines of a log report as restored. */
function repairsIn(log: string): { readonly programs: number; readonly pins: number } {
  const pins = [...log.matchAll(/pins were missing; restored pins=(\d+)/g)].map(([, count]) => Number(count));
  return {
    programs: log.split("was detached externally; reattached").length - 1,
    pins: pins.reduce((sum, count) => sum + count, 0),
  };
}

/** Waits for a line in what an agent has logged since. */
const logs = (agent: Agent, since: number, line: RegExp): Promise<string> =>
  until(
    async () => agent.stderr.slice(since),
    (text) => line.test(text),
  );

const timeOf = (line: string): number => Date.parse(line.slice(0, line.indexOf(" ")));

describe("while an agent runs", () => {
  let install: Install;
  let agent: Agent;

  interface Situation {
    readonly name: string;
    readonly act: (link: (pod: string, place: string) => string) => Promise<void> | void;
    /** Restored at least: programs, pins. */
    readonly programs: number;
    readonly pins: number;
    readonly needsTcx?: true;
  }

  const replace = async (pin: string, program: string): Promise<void> => {
    using link = BpfLink.openPinned(pin);
    using other = BpfProgram.openPinned(join(install.paths.bpffs, LAYOUT_DIGEST, "programs", program));
    await link.update(other);
  };

  const SITUATIONS: readonly Situation[] = [
    {
      name: "a link to a pod is detached",
      act: (link) => detach(link(SERVER, "ingress")),
      programs: 1,
      pins: 0,
      needsTcx: true,
    },
    {
      name: "a link from a pod is detached",
      act: (link) => detach(link(BYSTANDER, "egress")),
      programs: 1,
      pins: 0,
      needsTcx: true,
    },
    {
      name: "all links of an interface are detached, and their pins removed",
      async act(link) {
        for (const place of ["ingress", "egress"]) {
          await detach(link(SERVER, place));
          // The agent may have done so already.
          rmSync(link(SERVER, place), { force: true });
        }
      },
      programs: 2,
      pins: 0,
      needsTcx: true,
    },
    {
      name: "another program takes a link's place",
      act: (link) => replace(link(SERVER, "ingress"), "from_pod"),
      programs: 1,
      pins: 0,
      needsTcx: true,
    },
    {
      name: "the pin of a link is removed",
      act: (link) => rmSync(link(SERVER, "ingress")),
      programs: 0,
      pins: 1,
      needsTcx: true,
    },
    {
      name: "a link's pin is that of another link",
      act(link) {
        rmSync(link(SERVER, "ingress"));
        using other = BpfLink.openPinned(link(BYSTANDER, "ingress"));
        other.pin(link(SERVER, "ingress"));
      },
      programs: 0,
      pins: 1,
      needsTcx: true,
    },
    {
      name: "the directory of links is removed",
      act: () => rmSync(join(install.paths.bpffs, "links"), { recursive: true }),
      programs: 0,
      pins: 1,
      needsTcx: true,
    },
    {
      name: "a map's pin is removed",
      act: () => rmSync(join(install.paths.bpffs, LAYOUT_DIGEST, "maps", "endpoints")),
      programs: 0,
      pins: 1,
    },
    {
      name: "the pins of the layout are removed",
      act: () => rmSync(join(install.paths.bpffs, LAYOUT_DIGEST), { recursive: true }),
      programs: 0,
      pins: 10,
    },
    {
      name: "all pins are removed",
      act: () => rmSync(install.paths.bpffs, { recursive: true }),
      programs: 0,
      pins: 10,
    },
    {
      name: "weir cleanup --force",
      async act() {
        expect((await install.weir("cleanup", "--force")).status).toBe(0);
      },
      programs: 2,
      pins: 1,
    },
  ];

  beforeAll(async () => {
    install = installAt(world.paths.bpffs);
    agent = await install.start();
    await untilLinked(install);
  });

  afterAll(async () => {
    await agent?.stop();
    expect((await install.weir("cleanup")).status).toBe(0);
  });

  it.for(SITUATIONS)("$name", async (situation, { skip }) => {
    if (situation.needsTcx === true) skip(!hasTcx(), "this kernel has no tcx");
    const restored = async () => ({
      programs: await metric('weir_restored_total{object="program"}'),
      pins: await metric('weir_restored_total{object="pin"}'),
    });
    const before = await restored();
    const logged = agent.stderr.length;
    let begunAt = 0;
    let resumedAt = 0;
    const { denied, allowed } = await watched(async () => {
      begunAt = Date.now();
      await whileStopped(agent, () => situation.act(install.linkPin));
      resumedAt = Date.now();
      // By its log: a command would trigger a check at once.
      await until(
        async () => repairsIn(agent.stderr.slice(logged)),
        ({ programs, pins }) => programs >= situation.programs && pins >= situation.pins,
      );
      expect(await brief(install)).toEqual({
        exit: 0,
        line: expect.stringMatching(/^ok: 4 endpoints, 2 policies, all enforced/),
      });
    });
    const lines = agent.stderr.slice(logged).split("\n");
    const now = await restored();
    expect(now.programs).toBeGreaterThanOrEqual(before.programs + situation.programs);
    expect(now.pins).toBeGreaterThanOrEqual(before.pins + situation.pins);
    const again = lines.filter((line) => line.includes("was detached externally; reattached"));
    expect(again.length).toBeGreaterThanOrEqual(situation.programs);
    if (situation.pins > 0) expect(lines.join("\n")).toContain("pins were missing; restored");
    // What was sent after the last repair is dropped, and if nothing was detached so is everything.
    const repairedAt = again.length === 0 ? 0 : Math.max(...again.map(timeOf));
    const passed = denied.filter(({ result }) => result !== "silent");
    expect(passed.filter(({ sentAtMs }) => sentAtMs > repairedAt || sentAtMs < begunAt)).toEqual([]);
    expect(repairedAt - resumedAt).toBeLessThan(OPEN_MS_MAX);
    expect(allowed.filter(({ result, sentAtMs }) => result !== "reached" && sentAtMs > repairedAt)).toEqual(
      [],
    );
    expect(await mismatchesOf(world.lab, HOLDS)).toEqual([]);
    expect(Object.values(await install.states())).toEqual(Array(4).fill("enforced"));
    expect((await install.report()).repairs).toMatchObject({ lastAt: expect.any(String) });
  });

  it("a program that runs before Weir's is reported until it is gone", async ({ skip }) => {
    skip(!hasTcx(), "this kernel has no tcx");
    const { link } = world.lab.wire(SERVER);
    {
      using other = await foreign(SERVER, 1, "first");
      expect(other.programs).toHaveLength(1);
      const now = await until(
        () => brief(install),
        ({ exit }) => exit === 7,
      );
      expect(now.line).toBe("degraded: 1 problem; the rest is enforced: 4 endpoints, 2 policies");
      expect((await install.report()).problems[0]?.text).toMatch(
        new RegExp(`interface ${link}: .*program ${other.programs[0]} runs before Weir's`),
      );
      expect((await install.states())[link]).toBe("bypassed");
      await until(
        () => metric('weir_endpoints{state="bypassed"}'),
        (count) => count === 1,
      );
    }
    await until(
      () => brief(install),
      ({ exit }) => exit === 0,
    );
    await logs(agent, 0, /runs before Weir's/);
  });

  it("a program that cannot be attached again is reported, and attached as soon as there is a free slot", async ({
    skip,
  }) => {
    skip(!hasTcx(), "this kernel has no tcx");
    const { link } = world.lab.wire(SERVER);
    let repairedFrom: number;
    {
      using full = new DisposableStack();
      await whileStopped(agent, async () => {
        await detach(install.linkPin(SERVER, "ingress"));
        const { programs } = full.use(await foreign(SERVER, TCX_PROGRAMS_MAX, "last"));
        expect(programs).toHaveLength(TCX_PROGRAMS_MAX);
      });
      const now = await until(
        () => brief(install),
        ({ exit, line }) => exit === 7 && line.startsWith("degraded"),
      );
      // A reconciliation that finds it too reports a problem of its own.
      expect(now.line).toMatch(
        /^degraded: (1 problem|2 problems); the rest is enforced: 4 endpoints, 2 policies$/,
      );
      expect((await install.report()).problems.map(({ text }) => text)).toContainEqual(
        expect.stringMatching(
          new RegExp(`interface ${link}: no program filters packets to the pod .*cannot be reattached`),
        ),
      );
      expect(await install.states()).toMatchObject({ [link]: "detached" });
      await until(
        () => metric('weir_endpoints{state="detached"}'),
        (count) => count === 1,
      );
      expect(await metric('weir_problems{severity="error"}')).toBeGreaterThan(0);
      repairedFrom = agent.stderr.length;
    }
    await until(
      () => brief(install),
      ({ exit }) => exit === 0,
    );
    await logs(agent, repairedFrom, /was detached externally; reattached/);
    expect(await mismatchesOf(world.lab, HOLDS)).toEqual([]);
  });

  it.each([
    ["with another socket", { socket: SECOND }, [], "has the pins"],
    ["with the same socket", {}, [], "one node has one"],
    ["that applies once", { socket: SECOND }, ["--once"], "has the pins"],
    ["by another path to the same directory", { socket: SECOND, bpffs: ALIAS }, [], "has the pins"],
  ] as const)("a second agent %s is refused", async (_, where, args, why) => {
    const link = ALIAS;
    rmSync(link, { force: true });
    symlinkSync(install.paths.bpffs, link);
    try {
      const paths = { ...install.paths, ...where };
      const quiet = ["--metrics-listen", "off", "--probe-listen", "off"];
      const second = await weir(paths, ["run", "--manifests", world.manifests.path, ...quiet, ...args]);
      expect(second.status, second.stderr).toBe(1);
      expect(second.stderr).toMatch(new RegExp(`another agent .*pid ${agent.pid}.*${why}`));
    } finally {
      rmSync(link);
    }
    expect(await brief(install)).toMatchObject({ exit: 0 });
    expect(await mismatchesOf(world.lab, HOLDS)).toEqual([]);
  });

  it("weir cleanup is refused, and removes nothing", async () => {
    const { status, stderr } = await install.weir("cleanup");
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: expect.stringContaining(`an agent runs (pid ${agent.pid})`),
    });
    const elsewhere = await weir({ ...install.paths, socket: "/run/wt-intact/none.sock" }, ["cleanup"]);
    expect(elsewhere.status).toBe(1);
    expect(elsewhere.stderr).toContain(`an agent (pid ${agent.pid}) has locked ${install.paths.bpffs}`);
    expect(await brief(install)).toMatchObject({ exit: 0 });
  });

  it("an agent that does not answer is not taken for an absent one", async () => {
    process.kill(agent.pid as number, "SIGSTOP");
    try {
      const { status, stdout } = await install.weir("status");
      expect(status).toBe(8);
      expect(stdout).toMatch(
        /^down: no agent answers, but one \(pid \d+\) has the pins; the kernel enforces the last applied state/,
      );
      expect(stdout).toMatch(new RegExp(`^lock: +held by pid ${agent.pid}$`, "m"));
      expect(await mismatchesOf(world.lab, HOLDS)).toEqual([]);
    } finally {
      process.kill(agent.pid as number, "SIGCONT");
    }
    await until(
      () => brief(install),
      ({ exit }) => exit === 0,
    );
  });
});

/** This many programs that are not Weir's on the hook to a pod; they are removed with the result. */
async function foreign(
  pod: string,
  count: number,
  position: "first" | "last",
): Promise<Disposable & { readonly programs: readonly number[] }> {
  const opened = new DisposableStack();
  const programs: number[] = [];
  for (let made = 0; made < count; made += 1) {
    const object = opened.use(BpfObject.open(FOREIGN));
    for (const { name } of object.programs) object.setAutoload(name, name === "pass");
    await object.load();
    const program = opened.use(object.program("pass"));
    programs.push(program.info.id);
    const at = { kind: "tcx", ifindex: ifindexOf(pod), direction: "egress", position } as const;
    opened.use(await BpfLink.attach(program, at));
  }
  return { programs, [Symbol.dispose]: () => opened.dispose() };
}

describe.each([
  ["below a directory of its own", "/run/wt-intact/bpf"],
  // If no BPF filesystem is mounted, a new directory is refused here with ENOENT.
  ["below a directory of sysfs", "/sys/kernel/debug"],
])("on a BPF filesystem %s", (_, mount) => {
  let install: Install;
  let agent: Agent;
  const isMounted = (): boolean =>
    readFileSync("/proc/self/mounts", "utf8")
      .split("\n")
      .some((line) => line.split(" ")[1] === mount);
  const unmount = (): void => {
    while (isMounted()) run("umount", "--lazy", mount);
  };

  beforeAll(async () => {
    unmount();
    mkdirSync(mount, { recursive: true });
    run("mount", "-t", "bpf", "bpf", mount);
    world.lab.defer(unmount);
    install = installAt(join(mount, "weir"));
    agent = await install.start();
  });

  afterAll(() => agent?.killNow());

  interface Loss {
    readonly name: string;
    readonly lose: () => Promise<void> | void;
    readonly restore: () => void;
    readonly problem: RegExp;
  }

  const LOSSES: readonly Loss[] = [
    {
      name: "unmounted",
      lose: () => void run("umount", "--lazy", mount),
      restore: () => run("mount", "-t", "bpf", "bpf", mount),
      problem: /is not on a BPF filesystem; mount one with/,
    },
    {
      name: "hidden by another filesystem",
      lose: () => void run("mount", "-t", "tmpfs", "tmpfs", mount),
      restore: () => run("umount", mount),
      problem: /is not on a BPF filesystem; mount one with/,
    },
    {
      name: "read-only when a link is to be pinned",
      async lose() {
        // The program has to be attached again, by a new link on kernels with tcx.
        await whileStopped(agent, async () => {
          if (hasTcx()) await detach(install.linkPin(SERVER, "ingress"));
          else rmSync(join(install.paths.bpffs, LAYOUT_DIGEST, "maps", "node"));
          run("mount", "-o", "remount,ro", mount);
        });
      },
      restore: () => run("mount", "-o", "remount,rw", mount),
      problem: /EROFS|read-only/i,
    },
  ];

  it.for(LOSSES)("that is $name", async ({ lose, restore, problem }) => {
    const logged = agent.stderr.length;
    await lose();
    try {
      const report = await until(install.report, ({ problems }) => problems.length > 0);
      expect(report.problems.map(({ text }) => text)).toEqual([expect.stringMatching(problem)]);
      expect(await brief(install)).toEqual({
        exit: 7,
        line: "degraded: 1 problem; the rest is enforced: 4 endpoints, 2 policies",
      });
      await logs(agent, logged, problem);
      expect(await metric('weir_problems{severity="error"}')).toBe(1);
      expect(Object.values(await install.states())).toEqual(Array(4).fill("enforced"));
      const [cpu, at] = [await metric("process_cpu_seconds_total"), performance.now()];
      expect(await mismatchesOf(world.lab, HOLDS)).toEqual([]);
      // It does not spin. Reading its metrics is work too.
      const busy = (await metric("process_cpu_seconds_total")) - cpu;
      expect(busy).toBeLessThan(Math.max(0.5, ((performance.now() - at) / 1_000) * 0.5));
    } finally {
      restore();
    }
    await until(
      () => brief(install),
      ({ exit }) => exit === 0,
    );
    await logs(agent, logged, /solved: /);
    expect(readdirSync(join(install.paths.bpffs, LAYOUT_DIGEST, "maps")).length).toBeGreaterThan(10);
    if (hasTcx()) expect(readdirSync(join(install.paths.bpffs, "links"))).toHaveLength(8);
    expect(await mismatchesOf(world.lab, HOLDS)).toEqual([]);
  });

  it("another agent takes over by the recreated pins", async () => {
    run("umount", "--lazy", mount);
    await until(
      () => brief(install),
      ({ exit }) => exit === 7,
    );
    run("mount", "-t", "bpf", "bpf", mount);
    await until(
      () => brief(install),
      ({ exit }) => exit === 0,
    );
    await agent.kill();
    expect(await mismatchesOf(world.lab, HOLDS)).toEqual([]);
    expect((await brief(install)).line).toBe(
      "down: no agent answers; the kernel enforces the last applied state",
    );
    agent = await install.start();
    expect(await mismatchesOf(world.lab, HOLDS)).toEqual([]);
  });

  it("SIGTERM ends an agent that has lost it, which logs what becomes of its programs", async () => {
    run("umount", "--lazy", mount);
    await until(
      () => brief(install),
      ({ exit }) => exit === 7,
    );
    await agent.stop();
    expect(agent.stderr).toContain("the programs are not pinned and will be detached when this agent ends");
    // Links end a moment after their last descriptor is closed; filters of clsact stay.
    const left = hasTcx() ? /^down: no agent answers, and nothing is enforced$/ : /Weir's programs filter/;
    await until(
      () => brief(install),
      ({ exit, line }) => exit === 8 && left.test(line),
    );
    run("mount", "-t", "bpf", "bpf", mount);
    await weir(install.paths, ["cleanup"]);
    run("umount", mount);
  });
});

// One socket of a denied peer goes on for the whole time: in the gap its datagrams are answered, and the answers are the first packets that the
// program that has remained sees.
describe("a UDP flow of a denied peer ends with the gap", () => {
  const ASKER = `
    const [, address, port] = process.argv;
    const socket = require("node:dgram").createSocket(address.includes(":") ? "udp6" : "udp4");
    socket.on("message", () => console.log(Date.now())).on("error", () => {});
    setInterval(() => socket.send("?", Number(port), address), 10);`;
  /** Answers that were on their way when the gap ended. */
  const ON_THE_WAY_MS = 50;

  const GAPS = [
    { from: STRANGER, to: SERVER_V4, detached: [SERVER, "ingress"] },
    { from: STRANGER, to: SERVER_V6, detached: [SERVER, "ingress"] },
    { from: BYSTANDER, to: FRIEND_V4, detached: [BYSTANDER, "egress"] },
  ] as const;

  let install: Install;
  let agent: Agent;
  let scripts: Scripts;

  beforeAll(async () => {
    install = installAt(world.paths.bpffs);
    agent = await install.start();
    await untilLinked(install);
  });
  beforeEach(() => {
    scripts = openScripts(world.lab);
  });
  afterEach(() => scripts.close());
  afterAll(async () => {
    await agent?.stop();
    expect((await install.weir("cleanup")).status).toBe(0);
  });

  // The second one ends the agent.
  it.for(["runs", "is started again"])("where the agent %s", async (which, { skip }) => {
    skip(!hasTcx(), "this kernel has no tcx");
    const answered = GAPS.map(({ from, to }) => {
      const times: number[] = [];
      const { stdout } = scripts.start(from, ASKER, [to, "80"]);
      stdout.on("data", (text: Buffer) => times.push(...text.toString().trim().split("\n").map(Number)));
      return times;
    });
    await sleep(1_000);
    expect(answered.flat()).toEqual([]);
    if (which === "is started again") await agent.kill();
    const logged = agent.stderr.length;
    const pins = new Set(GAPS.map(({ detached: [pod, place] }) => install.linkPin(pod, place)));
    const gapAt = Date.now();
    for (const pin of pins) await detach(pin);
    if (which === "is started again") {
      await until(
        async () => answered,
        (all) => all.every((times) => times.length > 20),
      );
      agent = await install.start();
    } else {
      await until(
        async () => repairsIn(agent.stderr.slice(logged)).programs,
        (programs) => programs === pins.size,
      );
    }
    const repairedAt = Date.now();
    await sleep(1_000);
    for (const times of answered) {
      expect(times.filter((time) => time >= gapAt && time <= repairedAt)).not.toEqual([]);
      expect(times.filter((time) => time > repairedAt + ON_THE_WAY_MS)).toEqual([]);
    }
    expect(await mismatchesOf(world.lab, HOLDS)).toEqual([]);
  });
});

describe("without an agent", () => {
  let install: Install;

  beforeAll(async () => {
    install = installAt(world.paths.bpffs);
    const agent = await install.start();
    await untilLinked(install);
    await agent.kill();
  });

  // One after another: each removes more.
  const STAGES: readonly {
    readonly name: string;
    readonly act: () => Promise<void> | void;
    readonly line: string;
    readonly states?: readonly string[];
    readonly holds: boolean;
  }[] = [
    {
      name: "all filters",
      act: () => undefined,
      line: "down: no agent answers; the kernel enforces the last applied state",
      states: ["enforced", "enforced", "enforced", "enforced"],
      holds: true,
    },
    {
      name: "one direction of one pod is not filtered",
      act: () => detach(install.linkPin(SERVER, "ingress")),
      line: "down: no agent answers; 1 of 4 endpoints is not filtered",
      states: ["detached", "enforced", "enforced", "enforced"],
      holds: false,
    },
    {
      name: "a link's pin, and so its program, is removed",
      act: () => rmSync(install.linkPin(BYSTANDER, "egress")),
      line: "down: no agent answers; 2 of 4 endpoints are not filtered",
      states: ["detached", "detached", "enforced", "enforced"],
      holds: false,
    },
    {
      name: "the maps' pins are removed",
      act: () => rmSync(join(install.paths.bpffs, LAYOUT_DIGEST), { recursive: true }),
      line: "down: no agent answers; Weir's programs filter 4 interfaces, by maps that cannot be read",
      holds: false,
    },
    {
      name: "all pins are removed",
      act: () => rmSync(install.paths.bpffs, { recursive: true }),
      line: "down: no agent answers, and nothing is enforced",
      holds: false,
    },
  ];

  it.for(STAGES)("$name", async ({ act, line, states, holds }, { skip }) => {
    skip(!hasTcx(), "this kernel has no tcx");
    await act();
    expect(await brief(install)).toEqual({ exit: 8, line });
    if (states !== undefined) expect(Object.values(await install.states()).sort()).toEqual(states);
    else if (line.includes("Weir's programs"))
      expect((await install.weir("get", "endpoints")).stderr).toMatch(
        /nothing is pinned under .*; Weir's programs filter (\S+ \(\S+\)(, )?){4}\n/,
      );
    expect((await mismatchesOf(world.lab, HOLDS)).length === 0).toBe(holds);
  });

  it("a new agent restores everything", async () => {
    const agent = await install.start();
    expect(await brief(install)).toMatchObject({ exit: 0 });
    expect(await mismatchesOf(world.lab, HOLDS)).toEqual([]);
    await agent.stop();
  });
});

describe("audit mode", () => {
  let install: Install;

  beforeAll(() => {
    install = installAt(world.paths.bpffs);
  });

  it("of the node is in the first line, the endpoints, and the metrics", async () => {
    const agent = await install.start("--mode", "audit");
    expect(await brief(install)).toEqual({
      exit: 7,
      line: "degraded: audit mode on this node: no policy drops anything; 4 endpoints, 2 policies",
    });
    expect(Object.values(await install.states()).sort()).toEqual(["audit", "audit", "enforced", "enforced"]);
    expect(await metric("weir_audit_mode")).toBe(1);
    expect(await metric("weir_endpoints_audited")).toBe(2);
    expect(await metric('weir_endpoints{state="audit"}')).toBe(2);
    // Also with a problem beside it.
    await detach(install.linkPin(SERVER, "ingress")).catch(() => undefined);
    await until(
      () => brief(install),
      ({ line }) => line.startsWith("degraded: audit mode on this node"),
    );
    await agent.kill();
    expect(Object.values(await install.states()).sort()).toEqual(["audit", "audit", "enforced", "enforced"]);
  });

  it("of one policy is too", async () => {
    const agent = await install.start();
    expect(await brief(install)).toMatchObject({ exit: 0 });
    await agent.change(() =>
      world.manifests.put(
        "bystander.yaml",
        BYSTANDER_DENY_EGRESS.replace(
          "namespace: shop",
          'namespace: shop, annotations: { weir.dev/mode: "audit" }',
        ),
      ),
    );
    expect(await brief(install)).toEqual({
      exit: 7,
      line: "degraded: audit mode on 1 of 4 endpoints: their policies drop nothing; the rest is enforced: 4 endpoints, 2 policies",
    });
    expect((await install.states())[world.lab.wire(BYSTANDER).link]).toBe("audit");
    expect(await metric("weir_audit_mode")).toBe(0);
    expect(await metric("weir_endpoints_audited")).toBe(1);
    await agent.change(() => world.manifests.put("bystander.yaml", BYSTANDER_DENY_EGRESS));
    expect(await brief(install)).toMatchObject({ exit: 0 });
    await agent.stop();
  });
});

describe("XDP", () => {
  it("from a pod and on an uplink is attached again", async () => {
    const install = installAt(world.paths.bpffs);
    const uplink = world.lab.wire(FRIEND).link;
    const file = join(dirname(install.paths.socket), "deny.txt");
    writeFileSync(file, "198.51.100.0/24\n");
    const agent = await install.start("--from-pod-hook", "xdp", "--uplink", "lo", "--deny-cidrs", file);
    expect(uplink).toBeDefined();
    const pins = readdirSync(join(install.paths.bpffs, "links"));
    const xdp = pins.filter((name) => name.includes("xdp") || name.includes("uplink"));
    expect(xdp.length).toBeGreaterThan(4);
    for (const name of [
      `${ifindexOf(BYSTANDER)}-egress-xdp`,
      ...xdp.filter((pin) => pin.includes("uplink")),
    ]) {
      const before = await metric('weir_restored_total{object="program"}');
      await detach(join(install.paths.bpffs, "links", name));
      await until(
        () => metric('weir_restored_total{object="program"}'),
        (now) => now > before,
      );
      expect(await brief(install)).toMatchObject({ exit: 0 });
    }
    expect(await mismatchesOf(world.lab, HOLDS)).toEqual([]);
    await agent.stop();
  });
});
