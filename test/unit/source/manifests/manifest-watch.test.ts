// Watching real files: what changes takes effect, and what is half-way or broken removes nothing.

import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { problemText } from "../../../../src/model/problem.ts";
import {
  type ManifestsReading,
  RESCAN_MS,
  type WatchOptions,
  watchManifests,
} from "../../../../src/source/manifests/manifest-watch.ts";
import { policyYaml } from "../support.ts";

/** The limit on a busy machine; test/netns/live.test.ts prints how long it takes here. */
const EFFECT_MS = 60_000;

let base: string;
let directory: string;
let stop: AbortController;
let watching: Promise<void> | undefined;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "wt-watch-"));
  directory = join(base, "manifests");
  mkdirSync(directory);
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  await watching;
  rmSync(base, { recursive: true, force: true });
});

const at = (name: string): string => join(directory, name);
const named = (name: string, spec = "{ podSelector: {} }"): string =>
  policyYaml(spec, `{ name: ${name}, namespace: shop }`);
const namesIn = (reading: ManifestsReading): string =>
  [...reading.cluster.policies.keys()].map((key) => key.slice(5)).join(" ");
const linesIn = (reading: ManifestsReading): string => reading.problems.map(problemText).join("\n");

/** Starts watching, by events alone by default; returns all snapshots so far, and a wait for the newest one to be as expected. */
async function start(path = directory, options: Partial<WatchOptions> = {}) {
  const readings: ManifestsReading[] = [];
  watching = watchManifests(path, {
    rescanMs: 60_000,
    ...options,
    signal: stop.signal,
    onChange: (reading) => {
      readings.push(reading);
      return options.onChange?.(reading);
    },
  });
  const newest = (): ManifestsReading | undefined => readings.at(-1);
  const until = async (wanted: (reading: ManifestsReading) => boolean): Promise<ManifestsReading> => {
    const deadline = performance.now() + EFFECT_MS;
    for (;;) {
      const reading = newest();
      if (reading !== undefined && wanted(reading)) return reading;
      if (performance.now() > deadline) {
        throw new Error(
          `not within ${EFFECT_MS} ms: ${reading && `${namesIn(reading)}\n${linesIn(reading)}`}`,
        );
      }
      await sleep(5);
    }
  };
  const untilNames = (names: string) => until((reading) => namesIn(reading) === names);
  await until(() => true);
  return { readings, newest, until, untilNames };
}

describe("takes effect when", () => {
  test("files come, change and go", async () => {
    writeFileSync(at("a.yaml"), named("a"));
    const { untilNames, until, readings } = await start();
    expect(readings.map(namesIn)).toEqual(["a"]);
    writeFileSync(at("b.yaml"), named("b"));
    await untilNames("a b");
    writeFileSync(at("a.yaml"), named("a", "{ podSelector: {}, ingress: [{}] }"));
    await until((reading) => reading.cluster.policies.get("shop/a")?.rules.ingress.length === 1);
    rmSync(at("a.yaml"));
    await untilNames("b");
    writeFileSync(at("b.yaml"), named("renamed"));
    await untilNames("renamed");
  });

  test("a file is replaced by renaming another over it, or by moving it away first, as editors do", async () => {
    writeFileSync(at("a.yaml"), named("a"));
    const { untilNames, readings } = await start();
    writeFileSync(at("a.yaml.tmp"), named("b"));
    renameSync(at("a.yaml.tmp"), at("a.yaml"));
    await untilNames("b");
    renameSync(at("a.yaml"), at("a.yaml~"));
    await sleep(120);
    writeFileSync(at("a.yaml"), `${named("b")}---\n${named("c")}`);
    await untilNames("b c");
    expect(readings.map(namesIn)).toEqual(["a", "b", "b c"]);
  });

  test("a change of the same length, right after another", async () => {
    writeFileSync(at("a.yaml"), named("a"));
    const { untilNames } = await start();
    for (const name of ["b", "c", "d"]) {
      writeFileSync(at("a.yaml"), named(name));
      await untilNames(name);
    }
  });

  test("the links of a mounted ConfigMap are switched", async () => {
    for (const version of ["1", "2"]) {
      mkdirSync(at(`..${version}`));
      writeFileSync(at(`..${version}/p.yaml`), named(`v${version}`));
    }
    symlinkSync("..1", at("..data"));
    symlinkSync("..data/p.yaml", at("p.yaml"));
    const { untilNames } = await start();
    await untilNames("v1");
    symlinkSync("..2", at("..data_tmp"));
    renameSync(at("..data_tmp"), at("..data"));
    rmSync(at("..1"), { recursive: true });
    await untilNames("v2");
  });

  test("the target of a link changes, without an event", async () => {
    writeFileSync(join(base, "elsewhere"), named("a"));
    symlinkSync("../elsewhere", at("p.yaml"));
    const { untilNames } = await start(directory, { rescanMs: RESCAN_MS });
    writeFileSync(join(base, "elsewhere"), `${named("a")}---\n${named("b")}`);
    await untilNames("a b");
  });

  test("one file instead of a directory", async () => {
    writeFileSync(at("one"), named("a"));
    writeFileSync(at("other.yaml"), named("other"));
    const { untilNames, until } = await start(at("one"));
    await untilNames("a");
    writeFileSync(at("one"), `${named("a")}---\n${named("b")}`);
    await untilNames("a b");
    rmSync(at("one"));
    const reading = await until(({ problems }) => problems.length > 0);
    expect(namesIn(reading)).toBe("a b");
    writeFileSync(at("one"), named("c"));
    await untilNames("c");
  });
});

describe("half-way and broken", () => {
  test("a file that is truncated and filled again loses nothing in between", async () => {
    writeFileSync(at("a.yaml"), `${named("a")}---\n${named("b")}`);
    const { untilNames, readings } = await start();
    writeFileSync(at("a.yaml"), "");
    await sleep(100);
    writeFileSync(at("a.yaml"), named("a"), { flag: "a" });
    await sleep(100);
    writeFileSync(at("a.yaml"), `---\n${named("b")}---\n${named("c")}`, { flag: "a" });
    await untilNames("a b c");
    expect(readings.map(namesIn)).toEqual(["a b", "a b c"]);
  });

  test("a file that stops being YAML keeps its content until it is repaired", async () => {
    writeFileSync(at("a.yaml"), named("a"));
    const { until, untilNames } = await start();
    writeFileSync(at("a.yaml"), `${named("a")}  - [`);
    const broken = await until(({ problems }) => problems.length > 0);
    expect(namesIn(broken)).toBe("a");
    expect(broken.cluster.policies.get("shop/a")?.unreadable).toBeUndefined();
    expect(linesIn(broken)).toMatch(
      /a\.yaml:5:.* not valid YAML: .*; its last known good object stays in force/,
    );
    writeFileSync(at("b.yaml"), named("b"));
    await untilNames("a b");
    writeFileSync(at("a.yaml"), named("c"));
    expect(linesIn(await untilNames("c b"))).toBe("");
  });

  test("one wrong policy keeps its last good version, the others change", async () => {
    writeFileSync(at("a.yaml"), `${named("a", "{ podSelector: {}, ingress: [{}] }")}---\n${named("b")}`);
    const { until } = await start();
    writeFileSync(
      at("a.yaml"),
      `${named("a", "{ podSelector: {}, ingress: [{ form: [] }] }")}---\n${named("b2")}`,
    );
    const reading = await until(({ problems }) => problems.length > 0);
    expect(namesIn(reading)).toBe("a b2");
    expect(reading.cluster.policies.get("shop/a")?.rules.ingress).toHaveLength(1);
    expect(linesIn(reading)).toMatch(
      /unknown field; expected from or ports; its last known good version stays in force$/,
    );
  });
});

describe("the directory", () => {
  test("is removed: all stays enforced; is recreated: its new content counts", async () => {
    writeFileSync(at("a.yaml"), named("a"));
    const { until, untilNames } = await start();
    rmSync(directory, { recursive: true });
    const gone = await until(({ problems }) => problems.length > 0);
    expect(namesIn(gone)).toBe("a");
    expect(linesIn(gone)).toBe(
      `${directory}: cannot be read: ENOENT: no such file or directory; the last known good state stays in force`,
    );
    mkdirSync(directory);
    writeFileSync(at("b.yaml"), named("b"));
    expect(linesIn(await untilNames("b"))).toBe("");
    writeFileSync(at("c.yaml"), named("c"));
    await untilNames("b c");
  });

  test("is replaced by another of its name, and that one is watched", async () => {
    writeFileSync(at("a.yaml"), named("a"));
    const { untilNames } = await start();
    mkdirSync(join(base, "new"));
    writeFileSync(join(base, "new", "b.yaml"), named("b"));
    renameSync(directory, join(base, "old"));
    renameSync(join(base, "new"), directory);
    await untilNames("b");
    writeFileSync(at("c.yaml"), named("c"));
    await untilNames("b c");
  });

  test("is absent at first", async () => {
    rmSync(directory, { recursive: true });
    const { newest, untilNames } = await start();
    expect(newest()?.problems.map((problem) => problem.effect)).toEqual([
      "the kernel keeps the last applied state",
    ]);
    mkdirSync(directory);
    writeFileSync(at("a.yaml"), named("a"));
    await untilNames("a");
  });
});

describe("onChange", () => {
  test("gets few snapshots of a burst, never two at once, and the last state in the end", async () => {
    let inside = 0;
    let insideMax = 0;
    const { readings, until } = await start(directory, {
      onChange: async () => {
        inside += 1;
        insideMax = Math.max(insideMax, inside);
        await sleep(60);
        inside -= 1;
      },
    });
    for (let index = 0; index < 100; index += 1) {
      writeFileSync(at(`${index % 10}.yaml`), named(`p${index}`));
      await sleep(2);
    }
    await until(
      (reading) => namesIn(reading) === Array.from({ length: 10 }, (_, index) => `p${90 + index}`).join(" "),
    );
    expect(insideMax).toBe(1);
    expect(readings.length).toBeLessThan(50);
  });

  test("gets nothing if nothing has changed", async () => {
    writeFileSync(at("a.yaml"), named("a"));
    const { readings } = await start();
    writeFileSync(at("a.yaml"), named("a"));
    writeFileSync(at("unrelated.txt"), "x");
    await sleep(800);
    expect(readings).toHaveLength(1);
  });

  test("ends the watch by throwing", async () => {
    const failing = watchManifests(directory, {
      signal: stop.signal,
      onChange: () => {
        throw new Error("wanted");
      },
    });
    await expect(failing).rejects.toThrow("wanted");
  });

  test("gets nothing after the signal, which ends the watch at once", async () => {
    const { readings } = await start();
    stop.abort();
    const started = performance.now();
    await watching;
    // Long before it would look again by itself.
    expect(performance.now() - started).toBeLessThan(30_000);
    writeFileSync(at("a.yaml"), named("a"));
    await sleep(300);
    expect(readings).toHaveLength(1);
  });
});
