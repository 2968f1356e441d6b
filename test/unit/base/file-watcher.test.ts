// Changes of a directory or file end a wait long before its time, also after either was replaced.
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { type FileWatcher, openFileWatcher } from "../../../src/base/file-watcher.ts";

/** Longer than the test may take: only an event ends such a wait in time. */
const NEVER_MS = 3_600_000;

let root: string;
let stop: AbortController;
let watcher: FileWatcher;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "weir-watch-"));
  stop = new AbortController();
});
afterEach(() => {
  stop.abort();
  watcher.close();
  rmSync(root, { recursive: true, force: true });
});

async function opened(name: string): Promise<FileWatcher> {
  watcher = openFileWatcher(join(root, name), stop.signal);
  expect(await watcher.follow()).toBeUndefined();
  return watcher;
}

it("a file that is written, in a directory that is watched", async () => {
  mkdirSync(join(root, "d"));
  await opened("d");
  writeFileSync(join(root, "d", "a"), "1");
  await watcher.wait(NEVER_MS);
});

it("a file that is created, written, and replaced by another", async () => {
  await opened("f");
  for (const text of ["1", "2"]) {
    writeFileSync(join(root, "f"), text);
    await watcher.wait(NEVER_MS);
    expect(await watcher.follow()).toBeUndefined();
  }
  writeFileSync(join(root, "g"), "3");
  renameSync(join(root, "g"), join(root, "f"));
  await watcher.wait(NEVER_MS);
});

it("a directory that was replaced by another of its name", async () => {
  mkdirSync(join(root, "d"));
  await opened("d");
  mkdirSync(join(root, "next"));
  renameSync(join(root, "d"), join(root, "old"));
  renameSync(join(root, "next"), join(root, "d"));
  await watcher.wait(NEVER_MS);
  expect(await watcher.follow()).toBeUndefined();
  writeFileSync(join(root, "d", "a"), "1");
  await watcher.wait(NEVER_MS);
});

it("a directory that is absent is no error, and is watched once it exists", async () => {
  await opened("d/e");
  mkdirSync(join(root, "d", "e"), { recursive: true });
  expect(await watcher.follow()).toBeUndefined();
  writeFileSync(join(root, "d", "e", "a"), "1");
  await watcher.wait(NEVER_MS);
});

it("without an event the wait ends after its time, on abort at once", async () => {
  mkdirSync(join(root, "d"));
  await opened("d");
  await watcher.wait(10);
  const wait = watcher.wait(NEVER_MS);
  stop.abort();
  await wait;
});
