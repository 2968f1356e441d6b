// Whatever makes the directory of the agent's socket first, members of the socket's group can pass through it.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { makePrivateDirectory } from "../../../src/base/private-directory.ts";
import { openHistoryStore } from "../../../src/history/history-store.ts";
import { openKept } from "../../../src/source/manifests/last-known-good-copies.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "wt-private-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const modeOf = (path: string): number => statSync(path).mode & 0o777;
const open = 0o777 & ~process.umask();

const makers: readonly (readonly [name: string, make: (directory: string) => Promise<unknown>])[] = [
  ["by itself", makePrivateDirectory],
  ["by the history", (directory) => openHistoryStore({ directory, bytesMax: 1024 * 1024 }, 0)],
  [
    "by the copies of manifests",
    (directory) =>
      openKept(directory, root, {
        whole: () => {
          throw new Error("there is nothing to read");
        },
      }).save(new Map(), "1:1"),
  ],
];

it.each(makers)("is closed to others, and the one above it is not: made %s", async (_, make) => {
  const directory = join(root, "weir", "private");
  await make(directory);
  expect([modeOf(dirname(directory)), modeOf(directory)]).toEqual([open & 0o755, 0o700]);
});
