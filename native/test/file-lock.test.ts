// Locks on directories of the BPF filesystem: exclusive, gone with their process, and of the directory, not of its path.
import { mkdirSync, rmdirSync, statSync } from "node:fs";
import { expect, test } from "vitest";
import { FileLock } from "../lib/index.ts";
import { closing, expectCode, pinPath, runChild } from "./support.ts";

const acquire = (path: string) => closing(FileLock.acquire(path) as FileLock);

test("a lock is exclusive until it is closed", () => {
  const path = pinPath();
  mkdirSync(path);
  const lock = acquire(path);
  expect(FileLock.acquire(path)).toBeUndefined();
  lock.close();
  lock.close();
  expect(lock.closed).toBe(true);
  acquire(path);
});

test("it excludes other processes, and ends with its own", async () => {
  const path = pinPath();
  mkdirSync(path);
  const ask = `console.log(bpf.FileLock.acquire(${JSON.stringify(path)}) !== undefined);`;
  const lock = acquire(path);
  expect((await runChild(ask)).stdout).toBe("false\n");
  lock.close();
  expect((await runChild(`${ask} process.kill(process.pid, "SIGKILL");`)).stdout).toBe("true\n");
  acquire(path);
});

test("it is the directory's, wherever its path leads by now", async () => {
  const path = pinPath();
  mkdirSync(path);
  const lock = acquire(path);
  const { dev, ino } = statSync(path);
  expect(lock.identity).toEqual({ device: dev, inode: ino });
  rmdirSync(path);
  mkdirSync(path);
  expect(lock.identity).not.toEqual({ device: dev, inode: statSync(path).ino });
  acquire(path);
});

test("what cannot be opened is an error", async () => {
  await expectCode("ENOENT", () => FileLock.acquire(pinPath()));
  await expectCode("ARGUMENT", () => FileLock.acquire(""));
});
