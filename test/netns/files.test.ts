// Manifests during a change of their content, observed from a connection: an unfinished file opens nothing, live and over a restart.

import { renameSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Agent } from "../../src/lab/weir-process.ts";
import { mismatchesOf } from "./reach.ts";
import { EVERYTHING_OPEN, FRIENDS_ONLY, FRIENDS_ONLY_HOLDS, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const FILE = "friends-only.yaml";

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-files", { [FILE]: FRIENDS_ONLY }));
  agent = await world.start();
});

afterAll(() => world?.close());

const path = (): string => join(world.manifests.path, FILE);

interface Status {
  readonly health: string;
  readonly problems: readonly { readonly text: string }[];
}

async function statusWhere(what: string, holds: (status: Status) => boolean): Promise<Status> {
  for (const deadline = Date.now() + 60_000; ; ) {
    const status: Status = JSON.parse((await world.weir("status", "-o", "json")).stdout);
    if (holds(status)) return status;
    if (Date.now() > deadline) throw new Error(`not ${what}: ${JSON.stringify(status)}`);
  }
}

beforeEach(async () => {
  world.manifests.put(FILE, FRIENDS_ONLY);
  await statusWhere("ok", ({ health }) => health === "ok");
});

describe.each<readonly [string, () => void, RegExp]>([
  ["truncated", () => truncateSync(path()), /is empty/],
  ["of half its content", () => truncateSync(path(), 60), /is cut off in the middle of a line/],
  [
    "replaced by an empty one",
    () => {
      writeFileSync(`${path()}.new`, "\n");
      renameSync(`${path()}.new`, path());
    },
    /is empty/,
  ],
])("a policy's file that is %s", (_, change, problem) => {
  const isReported = (problems: Status["problems"]): boolean =>
    problems.some(({ text }) => problem.test(text));

  it("keeps its last known good content enforced, is reported, and keeps it for the next agent", async () => {
    change();
    await statusWhere("reported", ({ problems }) => isReported(problems));
    expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
    await agent.kill();
    agent = await world.start();
    await statusWhere("reported", ({ problems }) => isReported(problems));
    expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  });

  it("does so if it happens while no agent runs", async () => {
    await agent.kill();
    change();
    agent = await world.start();
    await statusWhere("reported", ({ problems }) => isReported(problems));
    expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  });
});

it.each([
  ["the file is removed", () => world.manifests.remove(FILE)],
  ["the file says that it is empty", () => world.manifests.put(FILE, "# weir.dev/empty\n")],
])("%s: its policy is removed, and no problem is reported", async (_, change) => {
  change();
  for (const deadline = Date.now() + 60_000; ; ) {
    const mismatches = await mismatchesOf(world.lab, EVERYTHING_OPEN);
    if (mismatches.length === 0) break;
    if (Date.now() > deadline) expect(mismatches).toEqual([]);
  }
  expect((await statusWhere("ok", ({ health }) => health === "ok")).problems).toEqual([]);
});
