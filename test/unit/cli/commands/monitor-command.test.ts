// `weir monitor` against the agent's real socket: its output, its requests, its exit codes.
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { type EventHub, openEventHub } from "../../../../src/events/packet-event-hub.ts";
import { eventRoutes } from "../../../../src/events/packet-events.ts";
import type { LocalApi } from "../../../../src/observe/socket-server.ts";
import { DENIED, SPOOFED, withText } from "../../events/sample-events.ts";
import { viewsWith } from "../views.ts";
import { type CommandWorld, openCommandWorld, runIn } from "../world.ts";

const DENIED_LINE =
  "2025-06-01T12:00:00.123Z dropped denied ingress shop/client:40000 -> shop/web:80 TCP by shop/deny,shop/web\n";
const SPOOFED_LINE =
  "2025-06-01T12:00:00.123Z dropped spoofed egress 10.0.0.77 -> 10.0.0.9 ICMP type 8 code 0 at shop/web\n";

let world: CommandWorld;
let stop: AbortController;
let hub: EventHub;
let flows: boolean[];
let omitted: number;
let api: LocalApi;

beforeEach(async () => {
  stop = new AbortController();
  world = openCommandWorld({ stopSignal: () => stop.signal });
  hub = openEventHub(undefined, () => undefined);
  flows = [];
  omitted = 0;
  api = await world.serve(
    viewsWith(),
    eventRoutes(hub, {
      wantFlows: (wanted) => void flows.push(wanted),
      leftOut: async () => omitted,
    }),
  );
});
afterEach(() => world.close());

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries++) {
    if (tries > 1_000) throw new Error("it never happened");
    await sleep(5);
  }
}

describe("past events", () => {
  it("are shown as lines or as JSON", async () => {
    hub.publish([withText(DENIED), withText(SPOOFED)]);
    expect(await world.weir("monitor")).toEqual({
      exitCode: 0,
      stdout: DENIED_LINE + SPOOFED_LINE,
      stderr: "",
    });
    const { stdout } = await world.weir("monitor", "-o", "json", "--last", "1");
    expect(JSON.parse(stdout)).toEqual(withText(SPOOFED));
  });

  it("are filtered, and then cut", async () => {
    hub.publish([withText(DENIED), withText(SPOOFED), withText(SPOOFED)]);
    for (const filter of [
      ["--reason", "denied"],
      ["--port", "80"],
      ["--from", "shop/client"],
      ["--to", "10.0.0.0/29"],
      ["--pod", "shop/client"],
      ["--policy", "shop/deny"],
      ["--from", "shop/"],
    ]) {
      const { stdout } = await world.weir("monitor", "--last", "1", ...filter);
      expect({ filter, stdout }).toEqual({ filter, stdout: DENIED_LINE });
    }
    expect((await world.weir("monitor", "--last", "0")).stdout).toBe("");
    expect((await world.weir("monitor", "--verdict", "passed")).stdout).toBe("");
  });

  it.each([
    [
      ["--pod", "shop/clinet"],
      "no pod shop/clinet is known to the agent, or in its events; did you mean shop/client?",
    ],
    [["--from", "shop/none"], /^no pod shop\/none is known/],
    [["--to", "shpo/"], "no namespace shpo/ is known to the agent, or in its events; did you mean shop/?"],
    [
      ["--policy", "shop/dney"],
      "no policy shop/dney is known to the agent, or in its events; did you mean shop/deny?",
    ],
  ])("of %j are an error: that does not exist", async (filter, reason) => {
    hub.publish([withText(DENIED)]);
    const { exitCode, stdout, stderr } = await world.weir("monitor", ...filter);
    expect({ exitCode, stdout }).toEqual({ exitCode: 4, stdout: "" });
    expect(stderr.replace(/^weir: (.*)\n$/, "$1")).toEqual(
      typeof reason === "string" ? reason : expect.stringMatching(reason),
    );
  });

  it("of pods and policies that exist now may be none", async () => {
    for (const filter of [
      ["--pod", "alpha/nginx"],
      ["--policy", "beta/nobody"],
      ["--to", "192.0.2.0/24"],
    ])
      expect(await world.weir("monitor", ...filter)).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  });

  it("are counted where they are not shown, but not beside data for programs", async () => {
    hub.publish([withText(DENIED), withText(SPOOFED), withText(SPOOFED)]);
    omitted = 7;
    expect((await world.weir("monitor", "--last", "1")).stderr).toBe(
      "weir: 2 older events not shown; see --last\n" +
        "weir: 7 dropped packets since the maps were created without an event: rate limit; `weir maps dump counters` counts all\n",
    );
    expect((await world.weir("monitor", "--last", "1", "-o", "json")).stderr).toBe("");
  });

  it("are coloured on a terminal, and whole with -o wide or yaml", async () => {
    hub.publish([withText(DENIED)]);
    const args = ["monitor", "--socket", world.socket, "--bpffs", world.bpffs];
    expect((await runIn(args, { terminal: true })).stdout).toContain("Z \u001b[31mdropped\u001b[39m denied");
    expect((await runIn(args, { terminal: true, variables: { NO_COLOR: "1" } })).stdout).toBe(DENIED_LINE);
    expect((await world.weir("monitor", "-o", "wide")).stdout).toContain(
      ": ingress of shop/web is isolated by ",
    );
    expect(parse((await world.weir("monitor", "-o", "yaml")).stdout)).toEqual(withText(DENIED));
  });

  it("need an agent", async () => {
    await api.close();
    expect(await world.weir("monitor")).toMatchObject({ exitCode: 1, stdout: "" });
    expect((await world.weir("monitor", "-f")).stderr).toBe(`weir: no agent answers at ${world.socket}\n`);
  });

  it.each([
    ["--last", "1001"],
    ["--last", "x"],
    ["--port", "65536"],
    ["--from", "nobody"],
    ["--verdict", "maybe"],
    ["-o", "xml"],
    ["--from", "10.0.0.300/24"],
    ["--to", "10.0.0.0/33"],
    ["--reason", "nonsense"],
  ])("are refused with %s %s", async (...args) => {
    expect(await world.weir("monitor", ...args)).toMatchObject({ exitCode: 2, stdout: "" });
  });
});

describe("-f", () => {
  it("begins with the latest, and goes on until it is stopped", async () => {
    hub.publish([withText(SPOOFED), withText(SPOOFED)]);
    const outcome = world.weir("monitor", "-f", "--last", "1");
    await until(() => hub.followers() === 1);
    hub.publish([withText(DENIED)]);
    await sleep(50);
    stop.abort();
    expect(await outcome).toEqual({ exitCode: 0, stdout: SPOOFED_LINE + DENIED_LINE, stderr: "" });
    await until(() => hub.followers() === 0);
    expect(flows).toEqual([]);
  });

  it("has the programs report new flows for as long as it runs", async () => {
    const outcome = world.weir("monitor", "-f", "--flows");
    const other = world.weir("monitor", "-f", "--verdict", "passed");
    await until(() => hub.followers() === 2);
    expect(flows).toEqual([true]);
    stop.abort();
    await Promise.all([outcome, other]);
    await until(() => flows.length === 2);
    expect(flows).toEqual([true, false]);
  });

  it("reports that the agent has ended", async () => {
    const outcome = world.weir("monitor", "-f");
    await until(() => hub.followers() === 1);
    await api.close();
    expect(await outcome).toEqual({ exitCode: 1, stdout: "", stderr: "weir: the agent has ended\n" });
  });

  it("is refused if too many follow", async () => {
    const ends = Array.from({ length: 8 }, () => hub.follow(() => undefined));
    const { exitCode, stderr } = await world.weir("monitor", "-f");
    expect([exitCode, stderr]).toEqual([
      1,
      `weir: follow the agent at ${world.socket}: status 400: 8 clients follow already, the maximum\n`,
    ]);
    for (const end of ends) end();
  });
});
