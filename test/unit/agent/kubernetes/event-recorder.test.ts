// Events over HTTP: first, again, at the end of a problem, by several agents, refused, without an answer, and far too many.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { NOTICE_TIMING, type NoticeTiming } from "../../../../src/agent/kubernetes/event-rate-limit.ts";
import { type EventRecorder, openEventRecorder } from "../../../../src/agent/kubernetes/event-recorder.ts";
import type { Pod } from "../../../../src/model/cluster.ts";
import type { Problem } from "../../../../src/model/problem.ts";
import { type FakeServer, startServer } from "./server.ts";

const POLICY = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies";
const QUICK: NoticeTiming = {
  ...NOTICE_TIMING,
  settleMs: 5,
  turnMs: 5,
  leastMs: 5,
  retryMs: [5, 5],
  tokenMs: 1,
};
const policyProblem = (name: string, reason = "it is wrong"): Problem => ({
  severity: "error",
  object: `NetworkPolicy shop/${name}`,
  reason,
});
const POD: Pod = {
  ...{ namespace: "shop", name: "web-0", labels: new Map(), ips: [], hostNetwork: false },
  ...{ finished: false, ports: [], node: "node-a" },
};

let server: FakeServer;
const logged: string[] = [];
const tellers: EventRecorder[] = [];

beforeEach(async () => {
  server = await startServer();
  logged.length = 0;
  server.objects.set(`${POLICY}/web`, { metadata: { uid: "uid-web", resourceVersion: "7" } });
  server.objects.set("/api/v1/namespaces/shop/pods/web-0", {
    metadata: { uid: "uid-pod", resourceVersion: "9" },
  });
  server.objects.set("/api/v1/nodes/node-a", { metadata: { uid: "uid-node", resourceVersion: "3" } });
});
afterEach(async () => {
  for (const recorder of tellers.splice(0)) await recorder.close();
  await server.close();
});

function open(
  timing: NoticeTiming = QUICK,
  node = "node-a",
  now = () => new Date("2026-11-21T13:00:00.000Z"),
) {
  const write = (message: string, fields = {}) => void logged.push(`${message} ${JSON.stringify(fields)}`);
  const log = { debug: write, info: write, warn: write, error: write };
  const recorder = openEventRecorder({ client: server.client, node, timing }, { log, now });
  tellers.push(recorder);
  const report = (...problems: Problem[]) =>
    recorder.update({ problems, pods: new Map([["shop/web-0", POD]]) });
  return { recorder, report };
}

const until = (condition: () => unknown) => vi.waitUntil(condition, { timeout: 60_000, interval: 5 });
const events = () => [...server.events.values()];
const resultsOf = (recorder: EventRecorder) =>
  Object.fromEntries(recorder.counts().map(({ result, reason, count }) => [`${result} ${reason}`, count]));

describe("Events", () => {
  it("name the policy with its uid, so that kubectl describe finds them", async () => {
    const { recorder, report } = open();
    report(policyProblem("web"));
    await until(() => server.events.size === 1);
    expect(events()[0]).toEqual({
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: { name: expect.stringMatching(/^web\.[0-9a-f]{16}$/), namespace: "shop" },
      eventTime: "2026-11-21T13:00:00.000000Z",
      type: "Warning",
      reason: "PolicyInvalid",
      action: "ReadPolicy",
      note: "it is wrong",
      regarding: {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        namespace: "shop",
        name: "web",
        uid: "uid-web",
        resourceVersion: "7",
      },
      reportingController: "weir.dev/agent",
      reportingInstance: "node-a",
    });
    await until(() => resultsOf(recorder)["created PolicyInvalid"] === 1);
  });

  it("are emitted for the node and its pods", async () => {
    const { report } = open();
    report(
      { severity: "error", object: "Pod shop/web-0", reason: "no interface", topic: "interface" },
      { severity: "error", reason: "70000 identities", topic: "capacity" },
    );
    await until(() => server.events.size === 2);
    expect(
      events()
        .map(({ metadata, reason, regarding }) => [metadata.namespace, reason, regarding["uid"]])
        .sort(),
    ).toEqual([
      ["kube-system", "CapacityExceeded", "uid-node"],
      ["shop", "InterfaceUnknown", "uid-pod"],
    ]);
  });

  it("are one, however many reconciliations, agents and restarts see the problem", async () => {
    const { report } = open();
    for (let round = 0; round < 20; round += 1) report(policyProblem("web"));
    await until(() => server.events.size === 1);
    const others = [open(QUICK, "node-b"), open(QUICK, "node-a")];
    for (const other of others) other.report(policyProblem("web"));
    for (const { recorder } of others) await until(() => resultsOf(recorder)["known PolicyInvalid"] === 1);
    expect(server.events.size).toBe(1);
  });

  it("on a pod are one for an agent that was restarted", async () => {
    const problem: Problem = {
      severity: "error",
      object: "Pod shop/web-0",
      reason: "none",
      topic: "interface",
    };
    const first = open();
    first.report(problem);
    await until(() => server.events.size === 1);
    await first.recorder.close();
    const second = open();
    second.report({ ...problem, reason: "none, for 12 s" });
    await until(() => resultsOf(second.recorder)["known InterfaceUnknown"] === 1);
    expect(server.events.size).toBe(1);
  });

  it("come again in the next period, and after the policy was changed", async () => {
    let now = new Date("2026-11-21T13:00:00.000Z");
    const { report, recorder } = open({ ...QUICK, periodMs: 300_000 }, "node-a", () => now);
    report(policyProblem("web"));
    await until(() => server.events.size === 1);
    await recorder.close();
    now = new Date(now.getTime() + 300_000);
    open(QUICK, "node-b", () => now).report(policyProblem("web"));
    await until(() => server.events.size === 2);
    server.objects.set(`${POLICY}/web`, { metadata: { uid: "uid-web", resourceVersion: "8" } });
    open(QUICK, "node-c", () => now).report(policyProblem("web"));
    await until(() => server.events.size === 3);
  });

  it("end with a normal one when the problem is solved", async () => {
    const { recorder, report } = open();
    report(policyProblem("web"));
    await until(() => resultsOf(recorder)["created PolicyInvalid"] === 1);
    report();
    await until(() => server.events.size === 2);
    expect(events()[1]).toMatchObject({
      type: "Normal",
      reason: "ProblemSolved",
      note: "PolicyInvalid no longer holds: it is wrong",
      regarding: { uid: "uid-web" },
    });
  });

  it("are not emitted for an object that is gone, or for another one in its place", async () => {
    const { recorder, report } = open();
    report(policyProblem("none"), policyProblem("web"));
    await until(() => resultsOf(recorder)["gone PolicyInvalid"] === 1 && server.events.size === 1);
    server.objects.set(`${POLICY}/web`, { metadata: { uid: "uid-of-another", resourceVersion: "9" } });
    report();
    await until(() => resultsOf(recorder)["gone ProblemSolved"] === 1);
    expect(server.events.size).toBe(1);
  });

  it("that are refused are counted, logged once and not retried", async () => {
    const { recorder, report } = open();
    server.answer = ({ method }) => (method === "POST" ? 403 : undefined);
    for (const name of ["a", "b", "c"]) {
      server.objects.set(`${POLICY}/${name}`, { metadata: { uid: name, resourceVersion: "1" } });
    }
    report(policyProblem("a"), policyProblem("b"), policyProblem("c"));
    await until(() => resultsOf(recorder)["refused PolicyInvalid"] === 3);
    expect(logged.filter((line) => line.startsWith("a problem cannot be reported"))).toHaveLength(1);
    server.answer = undefined;
    report(policyProblem("a"), policyProblem("b"), policyProblem("c"), policyProblem("web"));
    await until(() => server.events.size === 1);
    expect(events().map(({ regarding }) => regarding["name"])).toEqual(["web"]);
    await until(() => logged.at(-1)?.startsWith("Events can be reported again"));
  });

  it("are retried after a server that fails or does not answer, but not for ever", async () => {
    const { recorder, report } = open({ ...QUICK, answerMs: 50 });
    server.answer = () => (server.asked.length % 2 === 0 ? "silence" : 500);
    report(policyProblem("web"));
    await until(() => resultsOf(recorder)["failed PolicyInvalid"] === 3);
    server.answer = undefined;
    await recorder.close();
    const second = open();
    server.answer = () => (server.asked.length <= 4 ? 503 : undefined);
    second.report(policyProblem("web"));
    await until(() => server.events.size === 1);
  });

  it("of 10,000 problems come at the configured rate, and emitting takes no time", async () => {
    const { recorder, report } = open({ ...QUICK, burst: 5, tokenMs: 3_600_000, entriesMax: 100 });
    const names = Array.from({ length: 10_000 }, (_, index) => `p${index}`);
    for (const name of names)
      server.objects.set(`${POLICY}/${name}`, { metadata: { uid: name, resourceVersion: "1" } });
    for (let round = 0; round < 3; round += 1) report(...names.map((name) => policyProblem(name)));
    await until(() => server.events.size === 5);
    expect(resultsOf(recorder)["left-out PolicyInvalid"]).toBe(9_900);
    await recorder.close();
    expect(server.events.size).toBe(5);
  });

  it("of objects with long names have names that the API server accepts", async () => {
    const name = `${"a".repeat(235)}-.${"b".repeat(16)}`;
    server.objects.set(`${POLICY}/${name}`, { metadata: { uid: "uid-long", resourceVersion: "1" } });
    const { report } = open(QUICK, "n".repeat(253));
    report(policyProblem(name, "x".repeat(5_000)));
    await until(() => server.events.size === 1);
    const [event] = events();
    expect(event?.metadata.name).toMatch(
      /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/,
    );
    expect(event?.metadata.name.length).toBeLessThanOrEqual(253);
    expect(event?.reportingInstance).toHaveLength(128);
    expect(Buffer.byteLength(event?.note ?? "")).toBeLessThanOrEqual(1_024);
  });

  it("stop at once when the agent ends, also in the middle of a request", async () => {
    const { recorder, report } = open({ ...QUICK, answerMs: 3_600_000 });
    server.answer = () => "silence";
    report(policyProblem("web"));
    await until(() => server.asked.length === 1);
    await recorder.close();
    report(policyProblem("web"));
    expect(server.asked).toHaveLength(1);
  });
});
