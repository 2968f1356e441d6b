// Files that are read in processes of their own: the result is the same as in-process, within limits, and the agent goes on meanwhile.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { problemText } from "../../../../src/model/problem.ts";
import { INLINE_BYTES_MAX } from "../../../../src/source/manifests/file-contents.ts";
import {
  type ManifestsReading,
  readManifests,
  watchManifests,
} from "../../../../src/source/manifests/manifest-watch.ts";
import {
  openReaders,
  PART_OBJECTS,
  READER_LIMITS,
  READERS_MAX,
  type Readers,
} from "../../../../src/source/manifests/reader-pool.ts";
import { DOCUMENT_TOKENS_MAX, SYNTAX_ERRORS_MAX } from "../../../../src/source/manifests/yaml-reader.ts";
import { policyYaml, readingOf } from "../support.ts";

/** The limit on a busy machine. */
const EFFECT_MS = 120_000;

const never = new AbortController().signal;
const named = (name: string, spec = "{ podSelector: {} }"): string =>
  policyYaml(spec, `{ name: ${name}, namespace: shop }`);
const filled = (part: string, bytes: number): string => part.repeat(Math.ceil(bytes / part.length));
const pods = (count: number): string =>
  Array.from({ length: count }, (_, index) => {
    const labels = `{ app: web, index: "${index}" }`;
    return `{ apiVersion: v1, kind: Pod, metadata: { name: p${index}, labels: ${labels} }, status: { podIP: 10.1.${index >> 8}.${index & 255} } }\n`;
  }).join("---\n");

/** Child processes of this one that are readers. */
function readersNow(): readonly string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      const [, , , ppid] = readFileSync(`/proc/${pid}/stat`, "utf8")
        .replace(/\(.*\)/s, "x")
        .split(" ");
      return (
        Number(ppid) === process.pid &&
        readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("manifests/reader-process")
      );
    } catch {
      return false;
    }
  });
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const deadline = performance.now() + EFFECT_MS; !holds(); ) {
    if (performance.now() > deadline) throw new Error(`not within ${EFFECT_MS} ms: ${what}`);
    await sleep(5);
  }
}

let readers: Readers | undefined;
afterEach(async () => {
  readers?.close();
  readers = undefined;
  await until("no reader is left", () => readersNow().length === 0);
});

describe("what is read", () => {
  const MALFORMED = fileURLToPath(new URL("../../../fixtures/malformed", import.meta.url));
  const corpus = [MALFORMED].flatMap((directory) =>
    readdirSync(directory)
      .filter((name) => /\.ya?ml$/.test(name))
      .map((name) => readFileSync(join(directory, name), "utf8")),
  );

  test.each<readonly [string, string | Buffer]>([
    ["nothing", ""],
    ["many objects, more than come at once", pods(3 * PART_OBJECTS + 1)],
    ["exactly as many as come at once", pods(PART_OBJECTS)],
    [
      "policies, good and bad",
      `${named("a", "{ podSelector: {}, ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8, except: [10.1.0.0/16] } }], ports: [{ port: 80, endPort: 90 }] }] }")}---\n${named("b", "{ podSelector: { x: 1 } }")}`,
    ],
    ["every malformed policy of the tests", corpus.join("\n---\n")],
    ["not YAML", `${named("a")}---\na: [`],
    ["not text", Buffer.from([0xff, 0xfe, 0])],
  ])("%s: is the same as read at once", async (_, content) => {
    readers = openReaders();
    const reading = await readers.read("x.yaml", Buffer.from(content), never);
    if (Buffer.isBuffer(content))
      expect(reading.problems.map(problemText)).toEqual([
        "x.yaml: is not UTF-8 text; its objects are not in force",
      ]);
    else expect(reading).toEqual(readingOf(content));
  });

  test("one file after another, and several at once", async () => {
    readers = openReaders();
    const names = Array.from({ length: 3 * READERS_MAX }, (_, index) => `n${index}`);
    const { read } = readers;
    const all = await Promise.all(names.map((name) => read(name, Buffer.from(named(name)), never)));
    expect(all.map(({ objects }) => objects[0]?.identity)).toEqual(
      names.map((name) => `NetworkPolicy shop/${name}`),
    );
    expect(readersNow().length).toBeLessThanOrEqual(READERS_MAX);
  });
});

describe("a reader", () => {
  test("ends when there is nothing to read for a while", async () => {
    readers = openReaders();
    await readers.read("x.yaml", Buffer.from(named("a")), never);
    expect(readersNow()).toHaveLength(1);
    await until("the reader is gone", () => readersNow().length === 0);
    expect((await readers.read("x.yaml", Buffer.from(named("b")), never)).objects).toHaveLength(1);
  });

  test.each<readonly [string, Partial<typeof READER_LIMITS>, string, RegExp]>([
    [
      "time",
      { cpuMs: 1_000 },
      filled("- {a: [b, c]}\n", 2_000_000),
      /^x\.yaml: takes more than 1 s of CPU time to be parsed; divide it/,
    ],
    [
      "memory",
      { heapMib: 24 },
      filled("- {a: [b, c]}\n", 1_000_000),
      /^x\.yaml: needs too much memory to be parsed \(24 MiB\); divide it/,
    ],
  ])("has a limit of %s, and the next file is read", async (_, limits, text, problem) => {
    readers = openReaders({ ...READER_LIMITS, ...limits });
    const reading = await readers.read("x.yaml", Buffer.from(text), never);
    expect(reading.failed).toBe(true);
    expect(reading.problems.map(problemText)).toEqual([expect.stringMatching(problem)]);
    expect((await readers.read("x.yaml", Buffer.from(named("b")), never)).objects).toHaveLength(1);
  });

  test("that ends for a reason of its own is a failure of that moment", async () => {
    readers = openReaders();
    const reading = readers.read("x.yaml", Buffer.from(filled("- {a: [b, c]}\n", 1_000_000)), never);
    await until("it reads", () => readersNow().length === 1);
    for (const pid of readersNow()) process.kill(Number(pid), "SIGTERM");
    const { failed, isTransient, problems } = await reading;
    expect({ failed, isTransient }).toEqual({ failed: true, isTransient: true });
    expect(problems.map(problemText)).toEqual([
      "x.yaml: cannot be parsed now: its parser process ended (SIGTERM); its objects are not in force",
    ]);
  });

  test("ends when its caller gives up", async () => {
    readers = openReaders();
    const stop = new AbortController();
    const reading = readers.read("x.yaml", Buffer.from(filled("- {a: [b, c]}\n", 2_000_000)), stop.signal);
    await until("it reads", () => readersNow().length === 1);
    stop.abort();
    expect((await reading).failed).toBe(true);
    await until("the reader is gone", () => readersNow().length === 0);
  });
});

/** Contents that the YAML library takes long for, and how reading them ends. */
const WORST: readonly (readonly [string, string, RegExp])[] = [
  ["opened lists", filled("[", 400_000), /nested too deeply/],
  ["opened maps", filled('{"a":', 400_000), /nested too deeply/],
  ["lists in lists", filled("- ", 400_000), /nested too deeply/],
  ["closed lists", filled("]", 400_000), /has more errors than are listed/],
  ["wrong brackets", `[${filled("}", 400_000)}`, /has more errors than are listed/],
  ["maps in a line", filled("a: b: c\n", 400_000), /nested too deeply/],
  ["tabs", filled("\ta: 1\n", 400_000), /has more errors than are listed/],
  ["wrong escapes", `a: "${filled("\\q", 400_000)}"`, /has more errors than are listed/],
  ["documents with errors", filled("a: [\n---\n", 400_000), /has more errors than are listed/],
  ["many tokens", filled("a, ", DOCUMENT_TOKENS_MAX).replace(/^/, "["), /the document is too large/],
  [
    "aliases of aliases",
    `a: &a [x]\n${Array.from({ length: 5_000 }, (_, i) => `k${i}: &k${i} [*${i === 0 ? "a" : `k${i - 1}`}, *a]\n`).join("")}`,
    /aliases make more than|nested deeper/,
  ],
  ["equal keys", filled("k: v\n", 200_000), /duplicate key|must be/],
];

describe("while a file is read", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "wt-readers-"));
    mkdirSync(join(directory, "m"));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const at = (name: string): string => join(directory, "m", name);
  const linesIn = ({ problems }: ManifestsReading): readonly string[] => problems.map(problemText);

  async function watching(
    work: (newest: () => ManifestsReading | undefined) => Promise<void>,
  ): Promise<void> {
    const stop = new AbortController();
    let newest: ManifestsReading | undefined;
    const ended = watchManifests(join(directory, "m"), {
      signal: stop.signal,
      onChange: (reading) => {
        newest = reading;
      },
    });
    try {
      await until("first reading", () => newest !== undefined);
      await work(() => newest);
    } finally {
      stop.abort();
      await ended;
    }
  }

  test.each(WORST)(
    "of %s, the agent's own thread is free, and another file's change takes effect",
    async (_, text, problem) => {
      expect(text.length).toBeGreaterThan(INLINE_BYTES_MAX);
      const good = `${named("a")}---\n${filled("# a comment\n", INLINE_BYTES_MAX)}`;
      writeFileSync(at("big.yaml"), good);
      writeFileSync(at("small.yaml"), named("b"));
      await watching(async (newest) => {
        await until("both", () => newest()?.cluster.policies.size === 2);
        const before = process.cpuUsage();
        writeFileSync(at("big.yaml"), text);
        await until(
          "it is read",
          () => readersNow().length > 0 || linesIn(newest() ?? expect.fail()).length > 0,
        );
        writeFileSync(at("small.yaml"), named("c"));
        await until("the change", () => newest()?.cluster.policies.has("shop/c") === true);
        await until("the problem", () =>
          linesIn(newest() ?? expect.fail()).some((line) => problem.test(line)),
        );
        const { user, system } = process.cpuUsage(before);
        const taken = newest() ?? expect.fail();
        // The last known good content of the one, the newest of the other.
        expect([...taken.cluster.policies.keys()].sort()).toEqual(["shop/a", "shop/c"]);
        expect(linesIn(taken).length).toBeLessThanOrEqual(SYNTAX_ERRORS_MAX + 1);
        expect((user + system) / 1_000).toBeLessThan(3_000);
      });
    },
  );

  test("and its reader is ended, it is read by another one", async () => {
    writeFileSync(at("small.yaml"), named("b"));
    await watching(async (newest) => {
      writeFileSync(at("big.yaml"), pods(3_000));
      await until("it is read", () => readersNow().length > 0);
      for (const pid of readersNow()) process.kill(Number(pid), "SIGTERM");
      await until("the pods", () => newest()?.cluster.pods.size === 3_000);
      expect(linesIn(newest() ?? expect.fail())).toEqual([]);
    });
  });

  test("of many objects, another file's change takes effect before them", async () => {
    writeFileSync(at("small.yaml"), named("b"));
    await watching(async (newest) => {
      writeFileSync(at("big.yaml"), pods(5_000));
      await until("it is read", () => readersNow().length > 0);
      writeFileSync(at("small.yaml"), named("c"));
      await until("the change", () => newest()?.cluster.policies.has("shop/c") === true);
      expect(newest()?.cluster.pods.size).toBe(0);
      await until("the pods", () => newest()?.cluster.pods.size === 5_000);
      expect(linesIn(newest() ?? expect.fail())).toEqual([]);
    });
  });

  test("the first snapshot waits for it, and so does one alone", async () => {
    writeFileSync(at("big.yaml"), pods(500));
    writeFileSync(at("small.yaml"), named("b"));
    const seen: ManifestsReading[] = [];
    const stop = new AbortController();
    const ended = watchManifests(join(directory, "m"), {
      signal: stop.signal,
      onChange: (reading) => void seen.push(reading),
    });
    await until("all", () => seen.at(-1)?.readable === true);
    stop.abort();
    await ended;
    expect(
      seen
        .filter(({ readable }) => readable)
        .map(({ cluster }) => [cluster.pods.size, cluster.policies.size]),
    ).toEqual([[500, 1]]);
    const once = await readManifests(join(directory, "m"));
    expect([once.cluster.pods.size, once.cluster.policies.size]).toEqual([500, 1]);
  });

  test("a file that is replaced meanwhile is read again, and its old content never counts", async () => {
    writeFileSync(at("small.yaml"), named("b"));
    await watching(async (newest) => {
      writeFileSync(at("big.yaml"), pods(5_000));
      await until("it is read", () => readersNow().length > 0);
      writeFileSync(at("big.yaml"), pods(700));
      await until("the pods", () => (newest()?.cluster.pods.size ?? 0) > 0);
      expect(newest()?.cluster.pods.size).toBe(700);
    });
  });

  test("a file that is moved away and comes back large loses nothing in between", async () => {
    const large = `${named("a")}---\n${pods(3_000)}`;
    writeFileSync(at("big.yaml"), named("a"));
    writeFileSync(at("small.yaml"), named("b"));
    const policies: number[] = [];
    await watching(async (newest) => {
      const noting = setInterval(() => policies.push(newest()?.cluster.policies.size ?? -1), 2);
      rmSync(at("big.yaml"));
      await sleep(100);
      writeFileSync(at("big.yaml"), large);
      await until("the pods", () => newest()?.cluster.pods.size === 3_000);
      clearInterval(noting);
    });
    expect(new Set(policies)).toEqual(new Set([2]));
  });
});
