// Streams of all agents: lost ones are made again, pods come and go, lines come whole.
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { AgentPod, AgentPods } from "../../../../src/cli/plugin/agent-pods.ts";
import { FOLLOWED_MAX, followAgents } from "../../../../src/cli/plugin/follow-agents.ts";

type Stream = Parameters<AgentPods["stream"]>[2];

const pod = (node: string, name = `weir-${node}`): AgentPod => ({ node, name, namespace: "weir" });
const PATIENCE_MS = 20_000;

async function until(isDone: () => boolean): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; !isDone(); await sleep(2))
    if (Date.now() > deadline) throw new Error("not within the time");
}

/** `open` has the streams that are open, by pod. */
function world(pods: readonly AgentPod[]) {
  const state = { pods, opened: 0, canList: true };
  const open = new Map<string, Stream & { readonly end: (result: number | Error) => void }>();
  const agents: AgentPods = {
    cluster: "test",
    pods,
    run: () => Promise.reject(new Error("not of this test")),
    nodeOf: () => Promise.resolve(undefined),
    list: () => (state.canList ? Promise.resolve(state.pods) : Promise.reject(new Error("no rights"))),
    stream: (_, { name }, options) =>
      new Promise((resolve, reject) => {
        state.opened += 1;
        const end = (result: number | Error): void => {
          open.delete(name);
          if (typeof result === "number") resolve(result);
          else reject(result);
        };
        open.set(name, { ...options, end });
        options.signal?.addEventListener("abort", () => end(new Error("stopped")));
        options.onOpen?.();
      }),
  };
  const [lines, remarks]: [string[], string[]] = [[], []];
  const stop = new AbortController();
  const ended = followAgents(agents, {
    args: [],
    onLine: (node, line) => void lines.push(`${node} ${line}`),
    onRemark: (text) => void remarks.push(text),
    signal: stop.signal,
    times: { listMs: 20, retryMs: 5, retryMsMax: 20 },
  });
  return {
    state,
    open,
    lines,
    remarks,
    stop: () => {
      stop.abort();
      return ended;
    },
  };
}

describe("following agents", () => {
  it("has whole lines, whatever the pieces", async () => {
    const { open, lines, stop } = world([pod("a")]);
    for (const piece of ["on", "e\ntw", "o\n", "thr"]) open.get("weir-a")?.onStdout(Buffer.from(piece));
    expect(lines).toEqual(["a one", "a two"]);
    await stop();
    expect(open.size).toBe(0);
  });

  it("makes a lost connection again, and says so once", async () => {
    const { state, open, lines, remarks, stop } = world([pod("a"), pod("b")]);
    open.get("weir-a")?.end(new Error("the connection was closed"));
    await until(() => state.opened === 3);
    open.get("weir-a")?.onStdout(Buffer.from("after\n"));
    open.get("weir-b")?.onStdout(Buffer.from("other\n"));
    expect(lines).toEqual(["a after", "b other"]);
    expect(remarks).toEqual(["node a: the connection was closed; trying again", "node a: follows again"]);
    open.get("weir-b")?.onStderr(Buffer.from("weir: no agent answers at /run/weir/agent.sock\n"));
    open.get("weir-b")?.end(1);
    await until(() => state.opened === 4);
    expect(remarks.slice(2)).toEqual([
      "node b: no agent answers at /run/weir/agent.sock; trying again",
      "node b: follows again",
    ]);
    await stop();
  });

  it("follows pods that come, not those that go, and goes on where they cannot be listed", async () => {
    const { state, open, remarks, stop } = world([pod("a")]);
    state.canList = false;
    await until(() => remarks.length === 1);
    expect(remarks).toEqual(["the agents cannot be listed: no rights"]);
    state.canList = true;
    state.pods = [pod("a", "weir-a2"), pod("b")];
    await until(() => open.has("weir-a2") && open.has("weir-b"));
    open.get("weir-a")?.end(137);
    await until(() => !open.has("weir-a"));
    await sleep(50);
    expect([...open.keys()].sort()).toEqual(["weir-a2", "weir-b"]);
    expect(remarks).toHaveLength(1);
    await stop();
  });

  it("reports events that a node has missed", async () => {
    const { open, remarks, stop } = world([pod("a")]);
    open.get("weir-a")?.onStderr(Buffer.from("weir: 12 events came faster than they were read\n"));
    expect(remarks).toEqual(["node a: 12 events came faster than they were read"]);
    await stop();
  });

  it("gives up a line that does not end, and limits the nodes", async () => {
    const many = Array.from({ length: FOLLOWED_MAX + 5 }, (_, at) => pod(`n${at}`));
    const { open, remarks, stop } = world(many);
    expect(open.size).toBe(FOLLOWED_MAX);
    expect(remarks).toEqual([
      `follows ${FOLLOWED_MAX} of ${FOLLOWED_MAX + 5} nodes: choose others by --node`,
    ]);
    expect(() => open.get("weir-n1")?.onStdout(Buffer.alloc(300 << 10, "x"))).toThrow("a line of more than");
    await stop();
  });
});
