// Commands that have the agent do something, against its real socket: their requests, their output, their exit codes.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { routesOf } from "../../../src/agent/agent-api.ts";
import { openLog } from "../../../src/base/log.ts";
import type { ResyncView } from "../../../src/observe/api-views.ts";
import { viewsWith } from "./views.ts";
import { type CommandWorld, openCommandWorld } from "./world.ts";

let world: CommandWorld;

beforeEach(() => {
  world = openCommandWorld();
});
afterEach(() => world.close());

const openedLog = () =>
  openLog({ level: "info", format: "text", write: () => undefined, now: () => new Date(0) });

const serving = (request: () => Promise<ResyncView>, log = openedLog()) => {
  const resyncs = { request, onRequest: () => undefined, take: () => [], end: () => undefined };
  return world.serve(viewsWith(), routesOf({ resyncs }, log));
};

describe("resync", () => {
  it("reports what was repaired", async () => {
    const repaired = [
      { table: "addresses", key: "10.0.0.1", wanted: "identity 1", held: "identity 77" },
      { table: "cidrs", key: "0.0.0.0/0", held: "identity 2" },
    ];
    await serving(() => Promise.resolve({ generation: 4, repaired }));
    expect(await world.weir("resync")).toEqual({
      exitCode: 0,
      stdout: [
        "2 entries repaired; generation 4 is in force",
        "",
        "TABLE       ENTRY       WAS           IS",
        "addresses   10.0.0.1    identity 77   identity 1",
        "cidrs       0.0.0.0/0   identity 2    nothing",
        "",
      ].join("\n"),
      stderr: "",
    });
    expect(JSON.parse((await world.weir("resync", "-o", "json")).stdout)).toEqual({
      generation: 4,
      repaired,
    });
  });

  it("reports that nothing had to be", async () => {
    await serving(() => Promise.resolve({ generation: 4, repaired: [] }));
    expect((await world.weir("resync")).stdout).toBe("nothing to repair; generation 4 is in force\n");
  });

  it("fails with the agent's reason, and without an agent", async () => {
    expect(await world.weir("resync")).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: `weir: no agent answers at ${world.socket}\n`,
    });
    await serving(() => Promise.reject(new Error("no room: it has at most 2 entries")));
    const { exitCode, stderr } = await world.weir("resync");
    expect(exitCode).toBe(1);
    expect(stderr).toContain("status 500: no room: it has at most 2 entries");
  });
});

describe("log-level", () => {
  it("gets and sets it", async () => {
    const log = openedLog();
    await serving(() => Promise.reject(new Error("not asked")), log);
    expect((await world.weir("log-level")).stdout).toBe("info\n");
    expect(await world.weir("log-level", "debug")).toEqual({ exitCode: 0, stdout: "debug\n", stderr: "" });
    expect(log.level()).toBe("debug");
  });

  it("needs the agent", async () => {
    expect(await world.weir("log-level")).toMatchObject({ exitCode: 1, stdout: "" });
    expect(await world.weir("log-level", "debug")).toMatchObject({ exitCode: 1, stdout: "" });
  });
});

describe("run", () => {
  it("--socket-group must name an existing group", async () => {
    const { exitCode, stderr } = await world.weir("run", "--manifests", "/", "--socket-group", "nobody-here");
    expect(exitCode).toBe(4);
    expect(stderr).toBe(
      "weir: no group nobody-here in /etc/group; expected the name of a group there, or its number\n",
    );
  });
});
