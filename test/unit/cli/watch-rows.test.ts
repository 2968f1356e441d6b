// `weir get … --watch` against an agent whose answers change: what it writes again, and that it ends on request.
import { afterEach, beforeEach, expect, it } from "vitest";
import type { EndpointView } from "../../../src/observe/api-views.ts";
import { viewsWith } from "./views.ts";
import { type CommandWorld, openCommandWorld } from "./world.ts";

let stop: AbortController;
let written: string;
let world: CommandWorld;

beforeEach(() => {
  stop = new AbortController();
  written = "";
  world = openCommandWorld({
    stopSignal: () => stop.signal,
    stdout: {
      write: (text) => {
        written += text;
      },
    },
  });
});
afterEach(() => world.close());

const endpoint = (name: string, isolatedBy: readonly string[] = []): EndpointView => ({
  namespace: "alpha",
  name,
  labels: {},
  addresses: ["10.0.0.1"],
  state: "enforced",
  ingress: { isolatedBy, policy: isolatedBy.length },
  egress: { isolatedBy: [], policy: 0 },
});

const waitFor = (text: string): Promise<void> =>
  expect.poll(() => written, { timeout: 60_000, interval: 20 }).toContain(text) as Promise<void>;

it("a table goes on with the rows that change, in its columns", async () => {
  let endpoints = [endpoint("a"), endpoint("b")];
  await world.serve({ ...viewsWith(), endpoints: () => endpoints });
  const watching = world.weir("get", "endpoints", "--watch");
  await waitFor("b     ");
  endpoints = [endpoint("a", ["alpha/deny"]), endpoint("b")];
  await waitFor("deny");
  endpoints = [endpoint("b")];
  await waitFor("removed");
  stop.abort();
  expect(await watching).toMatchObject({ exitCode: 0, stderr: "" });
  expect(written.split("\n")).toEqual([
    "NAMESPACE   POD   INTERFACE   ID   ADDRESSES   INGRESS   EGRESS   STATE",
    "alpha       a     -           -    10.0.0.1    open      open     enforced",
    "alpha       b     -           -    10.0.0.1    open      open     enforced",
    "alpha       a     -           -    10.0.0.1    deny      open     enforced",
    "alpha       a     -           -    10.0.0.1    deny      open     removed",
    "",
  ]);
});

it("other formats come object by object, and an agent that is not there yet is waited for", async () => {
  const watching = world.weir("get", "policies", "-w", "-o", "ndjson");
  // Long enough for a first look, which finds no agent.
  await new Promise((resolve) => setTimeout(resolve, 300));
  await world.serve(viewsWith());
  await waitFor('"nobody"');
  stop.abort();
  const { exitCode, stderr } = await watching;
  expect(exitCode).toBe(0);
  const rows = written
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(rows.map(({ name, enforced }) => [name, enforced])).toEqual([
    ["access-nginx", 1],
    ["nobody", 0],
  ]);
  expect(stderr === "" || stderr === `weir: no agent answers at ${world.socket}; waiting for one\n`).toBe(
    true,
  );
});
