// Files during a change of their content, live and over a restart: what is unfinished removes nothing.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { problemText } from "../../../../src/model/problem.ts";
import { isOpenForWriting } from "../../../../src/node/kernel-queries.ts";
import {
  type ManifestsReading,
  readManifests,
  watchManifests,
} from "../../../../src/source/manifests/manifest-watch.ts";
import { policyYaml } from "../support.ts";

/** The limit on a busy machine. */
const EFFECT_MS = 60_000;

let base: string;
let directory: string;
let children: ChildProcess[];
let running: { readonly stop: AbortController; readonly ended: Promise<void> } | undefined;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "wt-writing-"));
  directory = join(base, "manifests");
  mkdirSync(directory);
  children = [];
});
afterEach(async () => {
  await end();
  for (const child of children) child.kill("SIGKILL");
  rmSync(base, { recursive: true, force: true });
});

const at = (name: string): string => join(directory, name);
const named = (name: string): string =>
  policyYaml("{ podSelector: {} }", `{ name: ${name}, namespace: shop }`);
const namesIn = ({ cluster }: ManifestsReading): string =>
  [...cluster.policies.keys()].map((key) => key.slice(5)).join(" ");
const linesIn = ({ problems }: ManifestsReading): readonly string[] =>
  problems.map((problem) => problemText(problem).replaceAll(`${base}/`, ""));

/** An agent's watch, or the next one's: they share what is kept. */
async function begin({ keeps = true } = {}) {
  const readings: ManifestsReading[] = [];
  const stop = new AbortController();
  const ended = watchManifests(directory, {
    signal: stop.signal,
    openForWriting: isOpenForWriting,
    ...(keeps ? { kept: join(base, "kept") } : {}),
    onChange: (reading) => {
      readings.push(reading);
    },
  });
  running = { stop, ended };
  const until = async (what: string, holds: (reading: ManifestsReading) => boolean) => {
    const deadline = performance.now() + EFFECT_MS;
    for (;;) {
      const reading = readings.at(-1);
      if (reading !== undefined && holds(reading)) return reading;
      if (performance.now() > deadline)
        throw new Error(`no ${what}: ${reading && `${namesIn(reading)}; ${linesIn(reading).join("\n")}`}`);
      await sleep(5);
    }
  };
  await until("first reading", () => true);
  return { readings, until };
}

async function end(): Promise<void> {
  running?.stop.abort();
  await running?.ended;
  running = undefined;
}

/** Another process has the file open for writing once this resolves, having done what the mode names; it writes what it is given. */
async function writer(name: string, mode: ">" | ">>" | "<>") {
  const child = spawn(
    "sh",
    [
      "-c",
      `exec 3${mode}"$1"; echo open; while IFS= read -r line; do printf '%s\\n' "$line" >&3; echo written; done`,
      "sh",
      at(name),
    ],
    {
      stdio: ["pipe", "pipe", "inherit"],
    },
  );
  children.push(child);
  await once(child.stdout, "data");
  return {
    write: async (text: string) => {
      child.stdin.write(`${text}\n`);
      await once(child.stdout, "data");
    },
    close: async () => {
      child.stdin.end();
      await once(child, "exit");
    },
  };
}

const OLD = `${named("a")}---\n${named("b")}`;
const HALF = OLD.slice(0, OLD.indexOf("spec"));
const STAYS = "the 2 last known good objects stay in force";
const EMPTY = `manifests/p.yaml: is empty; remove the file to remove its objects, or write the comment # weir.dev/empty into it; ${STAYS}`;
const OPEN = `manifests/p.yaml: is open for writing; ${STAYS}`;

const BLOCK = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  namespace: shop
  name: c
spec:
  podSelector:
    matchLabels:
      app: web
  ingress:
  - from:
    - ipBlock:
        cidr: 10.0.0.0/8
        except:
        - 10.1.0.0/16
    ports:
    - port: 8080
`;

/** What is done to a file that holds the policies a and b, what is enforced then, and the problem. */
const CHANGES: readonly (readonly [string, () => unknown, string, string | RegExp | undefined])[] = [
  ["truncated", () => truncateSync(at("p.yaml")), "a b", EMPTY],
  ["emptied", () => writeFileSync(at("p.yaml"), "# nothing left\n---\n"), "a b", EMPTY],
  [
    "cut off in a word",
    () => writeFileSync(at("p.yaml"), `${HALF}spec: { pod`),
    "a b",
    /(not valid YAML|cut off).*stays? in force$/,
  ],
  [
    "cut off between lines",
    () => writeFileSync(at("p.yaml"), HALF),
    "a b",
    /may be cut off.*stay in force: NetworkPolicy shop\/b$/,
  ],
  [
    "cut off by truncation",
    () => truncateSync(at("p.yaml"), OLD.length - 10),
    "a b",
    /(not valid YAML|cut off).*stays? in force$/,
  ],
  [
    "no text any more",
    () => writeFileSync(at("p.yaml"), Buffer.from([0xff, 0xfe, 0])),
    "a b",
    /not UTF-8.*stay in force$/,
  ],
  ["truncated and still open elsewhere", () => writer("p.yaml", ">"), "a b", OPEN],
  ["half-written and still open elsewhere", () => halfWritten(), "a b", OPEN],
  ["of other content, and still open elsewhere", () => appended(), "a b", OPEN],
  ["open elsewhere, and unchanged", () => writer("p.yaml", "<>"), "a b", undefined],
  ["replaced by an empty file", () => moveOver(""), "a b", EMPTY],
  [
    "replaced by half a file",
    () => moveOver(`${HALF}spec: { pod`),
    "a b",
    /(not valid YAML|cut off).*stays? in force$/,
  ],
  ["replaced by a whole file", () => moveOver(named("c")), "c", undefined],
  ["rewritten in place", () => writeFileSync(at("p.yaml"), named("c")), "c", undefined],
  ["truncated, and its objects in another file", () => moved(), "a b", /p\.yaml: is empty/],
  ["renamed", () => renameSync(at("p.yaml"), at("q.yaml")), "a b", undefined],
  ["marked as empty", () => writeFileSync(at("p.yaml"), "# weir.dev/empty\n"), "", undefined],
  ["removed", () => rmSync(at("p.yaml")), "", /^manifests: contains no manifests/],
];

const halfWritten = async () => (await writer("p.yaml", ">")).write(HALF);
const appended = async () => (await writer("p.yaml", ">>")).write("# more\n");
const moved = () => {
  writeFileSync(at("q.yaml"), OLD);
  truncateSync(at("p.yaml"));
};

function moveOver(content: string): void {
  writeFileSync(at("p.tmp"), content);
  renameSync(at("p.tmp"), at("p.yaml"));
}

function expectProblem(reading: ManifestsReading, problem: string | RegExp | undefined): void {
  const lines = linesIn(reading);
  if (problem === undefined) expect(lines).toEqual([]);
  else if (typeof problem === "string") expect(lines).toEqual([problem]);
  else expect(lines).toContainEqual(expect.stringMatching(problem));
}

const hasProblem = (reading: ManifestsReading, problem: string | RegExp | undefined): boolean => {
  const lines = linesIn(reading);
  if (problem === undefined) return lines.length === 0;
  return lines.some((line) => (typeof problem === "string" ? line === problem : problem.test(line)));
};

describe.each(CHANGES)("a file that is %s", (_, change, names, problem) => {
  const isAsExpected = (reading: ManifestsReading): boolean =>
    namesIn(reading) === names && hasProblem(reading, problem);

  test("while the agent runs", async () => {
    writeFileSync(at("p.yaml"), OLD);
    const { readings, until } = await begin();
    await change();
    expectProblem(await until("change", isAsExpected), problem);
    // Only the old and the new state occur.
    expect(readings.map(namesIn).filter((each) => each !== "a b" && each !== names)).toEqual([]);
  });

  test("while no agent runs: the next one uses what was kept", async () => {
    writeFileSync(at("p.yaml"), OLD);
    await begin();
    await end();
    await change();
    const { readings, until } = await begin();
    expectProblem(await until("change", isAsExpected), problem);
    expect(readings.map(namesIn).filter((each) => each !== names)).toEqual([]);
  });

  test("while the agent runs, and then another one starts", async () => {
    writeFileSync(at("p.yaml"), OLD);
    const first = await begin();
    await change();
    await first.until("change", isAsExpected);
    await end();
    const { readings, until } = await begin();
    expectProblem(await until("the same again", isAsExpected), problem);
    expect(readings.map(namesIn).filter((each) => each !== names)).toEqual([]);
  });
});

describe("a file that is written in steps", () => {
  test.each([
    ["after one write", [named("c")]],
    ["after several", [HALF, "# slowly", `spec: { podSelector: {} }\n---\n${named("c")}`]],
  ])("counts when it is closed, %s", async (_, steps) => {
    writeFileSync(at("p.yaml"), OLD);
    const { readings, until } = await begin();
    const { write, close } = await writer("p.yaml", ">");
    for (const step of steps) {
      await write(step);
      await until("report", (reading) => linesIn(reading).includes(OPEN));
    }
    expect(new Set(readings.map(namesIn))).toEqual(new Set(["a b"]));
    await close();
    const after = await until("new content", (reading) => namesIn(reading).includes("c"));
    expect(linesIn(after)).toEqual([]);
  });

  test("and is new: nothing of it counts before it is closed", async () => {
    writeFileSync(at("p.yaml"), OLD);
    const { until } = await begin();
    const { write, close } = await writer("q.yaml", ">");
    await write(named("c"));
    const open = await until("report", (reading) => linesIn(reading).length > 0);
    expect(namesIn(open)).toBe("a b");
    expect(linesIn(open)).toEqual([
      "manifests/q.yaml: is open for writing; its objects are not in force until it is closed",
    ]);
    await close();
    expect(linesIn(await until("new file", (reading) => namesIn(reading) === "a b c"))).toEqual([]);
  });

  test("at the first start: the first snapshot waits for it", async () => {
    const { write, close } = await writer("p.yaml", ">");
    await write(HALF);
    const { readings, until } = await begin();
    expect(readings.map(({ readable }) => readable)).toEqual([false]);
    expect(readings.map((reading) => linesIn(reading))).toEqual([
      ["manifests/p.yaml: is open for writing; the kernel keeps the last applied state"],
    ]);
    await write(OLD.slice(HALF.length));
    await close();
    await until("whole file", (reading) => namesIn(reading) === "a b");
    expect(new Set(readings.map(namesIn))).toEqual(new Set(["", "a b"]));
  });
});

describe("a mounted ConfigMap", () => {
  const mount = (version: string, files: Readonly<Record<string, string>>): void => {
    mkdirSync(at(`..${version}`));
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(at(`..${version}/${name}`), content);
      if (!readdirSync(directory).includes(name)) symlinkSync(`..data/${name}`, at(name));
    }
    symlinkSync(`..${version}`, at("..tmp"));
    renameSync(at("..tmp"), at("..data"));
  };

  test.each<readonly [string, Readonly<Record<string, string>>, string, RegExp | undefined]>([
    ["to other content", { "p.yaml": named("c"), "q.yaml": named("d") }, "c d", undefined],
    ["to one without a file", { "q.yaml": named("d") }, "d", undefined],
    ["to an empty file", { "p.yaml": "", "q.yaml": named("d") }, "a b d", /p\.yaml: is empty/],
  ])("is switched %s, live and over a restart", async (_, files, names, problem) => {
    mount("1", { "p.yaml": OLD, "q.yaml": named("d") });
    const first = await begin();
    mount("2", files);
    const isSwitched = (reading: ManifestsReading) =>
      namesIn(reading).split(" ").sort().join(" ") === names && hasProblem(reading, problem);
    await first.until("switch", isSwitched);
    await end();
    await (await begin()).until("switch", isSwitched);
  });
});

describe("the directory", () => {
  test("is replaced by an empty one while no agent runs: the kernel goes on as it is", async () => {
    writeFileSync(at("p.yaml"), OLD);
    await begin();
    await end();
    // Both are there at once, so that the new one has another number.
    renameSync(directory, join(base, "old"));
    mkdirSync(directory);
    const { readings, until } = await begin();
    expect(readings.map(({ readable }) => readable)).toEqual([false]);
    expect(readings.map((reading) => linesIn(reading))).toEqual([
      [
        "manifests: was replaced by an empty directory; if it is meant to be empty, create a file there with the comment # weir.dev/empty; the kernel keeps the last applied state",
      ],
    ]);
    const once = await readManifests(directory, { kept: join(base, "kept") });
    expect(once.readable).toBe(false);
    writeFileSync(at("none.yaml"), "# weir.dev/empty\n");
    const meant = await until("reading", ({ readable }) => readable);
    expect([namesIn(meant), linesIn(meant)]).toEqual(["", []]);
  });

  test("is emptied while no agent runs: removal removes", async () => {
    writeFileSync(at("p.yaml"), OLD);
    await begin();
    await end();
    rmSync(at("p.yaml"));
    const { readings } = await begin();
    expect(readings.map(namesIn)).toEqual([""]);
    expect(linesIn(readings[0] ?? expect.fail())).toEqual([expect.stringMatching(/contains no manifests/)]);
  });
});

describe("a file that is renamed", () => {
  const faults = [
    ["emptied", "", /q\.yaml: is empty; remove the file/],
    ["cut off", HALF.slice(0, -3), /q\.yaml: is cut off/],
    ["no YAML", "a: [", /q\.yaml:1:5: not valid YAML/],
  ] as const;

  test.each(faults)("after it was %s keeps its last good content", async (_, content, problem) => {
    writeFileSync(at("p.yaml"), OLD);
    const { until } = await begin();
    writeFileSync(at("p.yaml"), content);
    await until("report", (each) => linesIn(each).length > 0);
    renameSync(at("p.yaml"), at("q.yaml"));
    const reading = await until("new name", (each) => linesIn(each).some((line) => line.includes("q.yaml")));
    expect(namesIn(reading)).toBe("a b");
    expectProblem(reading, problem);
    await end();
    const { readings } = await begin();
    expect(readings.map(namesIn)).toEqual(["a b"]);
  });

  test.each(faults)("and %s while no agent runs keeps its last good content", async (_, content, problem) => {
    writeFileSync(at("p.yaml"), OLD);
    await begin();
    await end();
    renameSync(at("p.yaml"), at("q.yaml"));
    writeFileSync(at("q.yaml"), content);
    for (let start = 0; start < 2; start += 1) {
      const { readings, until } = await begin();
      const reading = await until("report", (each) => linesIn(each).length > 0);
      expectProblem(reading, problem);
      expect([...new Set(readings.map(namesIn))]).toEqual(["a b"]);
      await end();
    }
  });

  test("after another one with the same content was put in its place keeps it too", async () => {
    writeFileSync(at("p.yaml"), OLD);
    const { until } = await begin();
    const identity = statSync(at("p.yaml")).ino;
    moveOver(OLD);
    expect(statSync(at("p.yaml")).ino).not.toBe(identity);
    const copied = () => readFileSync(join(base, "kept", "identities.json"), "utf8");
    await expect.poll(copied).toContain(String(statSync(at("p.yaml")).ino));
    truncateSync(at("p.yaml"));
    await until("report", (each) => linesIn(each).length > 0);
    await end();
    renameSync(at("p.yaml"), at("q.yaml"));
    const { readings } = await begin();
    expect(readings.map(namesIn)).toEqual(["a b"]);
  });

  test("while it is whole is read under its new name, and declares nothing twice", async () => {
    writeFileSync(at("p.yaml"), OLD);
    const { readings, until } = await begin();
    renameSync(at("p.yaml"), at("q.yaml"));
    writeFileSync(at("q.yaml"), named("c"));
    await until("new content", (each) => namesIn(each) === "c");
    expect(readings.flatMap(linesIn)).toEqual([]);
  });

  test("is not another faulty file beside it, or in its place", async () => {
    writeFileSync(at("p.yaml"), OLD);
    const { until } = await begin();
    writeFileSync(at("q.yaml"), "a: [");
    await until("report", (each) => linesIn(each).length > 0 && namesIn(each) === "a b");
    rmSync(at("p.yaml"));
    await until("removal", (each) => namesIn(each) === "");
  });
});

describe("a file that is created", () => {
  test("in the place of a removed one, with its inode, does not inherit its content", async () => {
    writeFileSync(at("p.yaml"), OLD);
    const { until } = await begin();
    const { ino } = statSync(at("p.yaml"));
    rmSync(at("p.yaml"));
    // Some file systems assign the number of a removed file to the next one: then it is the same here.
    writeFileSync(at("q.yaml"), "");
    const isReused = statSync(at("q.yaml")).ino === ino;
    const reading = await until("report", (each) => linesIn(each).length > 0);
    expect(namesIn(reading), `inode reused: ${isReused}`).toBe("");
    await end();
    const { readings } = await begin();
    expect(readings.map(namesIn)).toEqual([""]);
  });

  test("under the name of one that was renamed while no agent ran does not take its copy", async () => {
    writeFileSync(at("p.yaml"), OLD);
    writeFileSync(at("q.yaml"), named("c"));
    await begin();
    await end();
    renameSync(at("q.yaml"), at("r.yaml"));
    renameSync(at("p.yaml"), at("q.yaml"));
    truncateSync(at("q.yaml"));
    const { readings } = await begin();
    expect(readings.map(namesIn)).toEqual(["a b c"]);
  });
});

describe("without what an earlier agent kept", () => {
  test.each([
    [
      "an empty file says nothing",
      "",
      "",
      "manifests/p.yaml: is empty; remove the file, or write the comment # weir.dev/empty into it",
    ],
    ["half a file fails closed", HALF, "a", /spec: is missing/],
  ])("%s, and is reported", async (_, content, names, problem) => {
    writeFileSync(at("p.yaml"), OLD);
    await begin({ keeps: false });
    await end();
    writeFileSync(at("p.yaml"), content);
    const { readings } = await begin({ keeps: false });
    expect(readings.map(namesIn)).toEqual([names]);
    expectProblem(readings[0] ?? expect.fail(), problem);
  });

  test("what cannot be kept is reported", async () => {
    writeFileSync(at("p.yaml"), OLD);
    writeFileSync(join(base, "kept"), "a file");
    const { until } = await begin();
    const reading = await until("report", (each) => linesIn(each).length > 0);
    expect(linesIn(reading)).toEqual([
      expect.stringMatching(/^kept: the last known good content of files cannot be saved: /),
    ]);
    expect(namesIn(reading)).toBe("a b");
  });
});

test("once: an emptied file has its previous content, and is reported", async () => {
  const how = { kept: join(base, "kept"), openForWriting: isOpenForWriting };
  writeFileSync(at("p.yaml"), OLD);
  expect(namesIn(await readManifests(directory, how))).toBe("a b");
  truncateSync(at("p.yaml"));
  const reading = await readManifests(directory, how);
  expect([namesIn(reading), linesIn(reading)]).toEqual(["a b", [EMPTY]]);
});

describe("a file that is cut off at any byte", () => {
  const text = `${named("a")}---\n${BLOCK}`;
  const start = named("a").length + 4;
  // Not directly after the end of a line: a shorter file may end there.
  const cut = Array.from({ length: BLOCK.length - 1 }, (_, index) => start + index).filter(
    (length) => text[length - 1] !== "\n",
  );

  test.each([
    ["in place", (content: string) => writeFileSync(at("p.yaml"), content)],
    ["and put in the place of the old one", (content: string) => moveOver(content)],
  ])("in the middle of a line, %s: stays as it was, and is reported", async (_, put) => {
    writeFileSync(at("p.yaml"), text);
    const whole = JSON.stringify([
      ...(await readManifests(directory, { kept: join(base, "kept") })).cluster.policies.keys(),
    ]);
    // Every seventh: they differ in what is left, and each takes a third of a second.
    for (const length of cut.filter((_each, index) => index % 7 === 3)) {
      put(text.slice(0, length));
      const reading = await readManifests(directory, {
        kept: join(base, "kept"),
        openForWriting: isOpenForWriting,
      });
      expect(JSON.stringify([...reading.cluster.policies.keys()])).toBe(whole);
      expect(reading.cluster.policies.get("shop/c")?.rules.ingress[0]).toMatchObject({
        peers: [{ kind: "block", except: [{ text: "10.1.0.0/16" }] }],
        ports: [{ first: 8080, last: 8080 }],
      });
      expect(linesIn(reading)).toEqual([`manifests/p.yaml: is cut off in the middle of a line; ${STAYS}`]);
    }
  });

  test("but a shorter one that ends where a line does is as its author intended", async () => {
    writeFileSync(at("p.yaml"), text);
    await readManifests(directory, { kept: join(base, "kept") });
    writeFileSync(at("p.yaml"), named("a"));
    const reading = await readManifests(directory, { kept: join(base, "kept") });
    expect([namesIn(reading), linesIn(reading)]).toEqual(["a", []]);
    // Without the end of the last line it is the same text.
    writeFileSync(at("p.yaml"), named("a").trimEnd());
    expect(namesIn(await readManifests(directory, { kept: join(base, "kept") }))).toBe("a");
  });
});
