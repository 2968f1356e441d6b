// Random lives of pods on a node, of which the agent sees the links at once and the objects late: an interface always has the
// policies of the pod whose it really is, from the moment when that one's object names its address. An address is used again only
// when the agent has seen all that objects said before its end, and not by the pod whose object still names it.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { randomFrom } from "../../../bench/common/random.ts";
import { openIncumbents } from "../../../src/agent/interface-history.ts";
import { openAppearances } from "../../../src/agent/interface-tracking.ts";
import { holdersOf } from "../../../src/model/address-ownership.ts";
import { type Cluster, EMPTY_CLUSTER, keyOf, type Pod } from "../../../src/model/cluster.ts";
import { compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import { openInterfaceResolver } from "../../../src/source/interface-discovery.ts";
import { address, namespace, pod, policy } from "../../support/model.ts";
import { route, tables, veth } from "../node/tables.ts";

const STEPS = 120;
const NAMES = ["a", "b", "c", "d"];
const ADDRESSES = [1, 2, 3, 4].map((last) => `10.0.0.${last}`);
const LINKS = 9;
/** The address of the other end in every network namespace has this index. */
const INNER = 2;

const DENY = policy("x/deny", {
  subject: { requirements: [{ operator: "In", key: "isolated", values: ["yes"] }] },
  isolates: { ingress: true, egress: true },
  egress: [],
});

/** What really runs. */
interface Sandbox {
  readonly ifindex: number;
  readonly number: number;
  readonly key: string;
  readonly uid: string;
  readonly ip: string;
  readonly routed: boolean;
  readonly inside: boolean;
  /** The interface was once known to be its pod's. */
  isKnown: boolean;
  wasIsolated: boolean;
}

/** The agent's part, as reconciliations use it; a new one has only the file. */
const openAgent = (file: string) => ({
  incumbents: openIncumbents(file),
  appearances: openAppearances(),
  resolver: openInterfaceResolver(),
  numbering: NOTHING_NUMBERED,
});

const isRunning = (object: Pod | undefined): boolean =>
  object !== undefined && !object.finished && object.deleting !== true;

const isIn = (pods: readonly Pod[], { key, uid }: Sandbox): boolean =>
  pods.some((each) => keyOf(each) === key && each.uid === uid);

let checked = 0;

test.each(fc.sample(fc.integer(), { numRuns: 25 }))("lives %i", { timeout: 120_000 }, (seed) => {
  const random = randomFrom(seed);
  const below = (n: number): number => random.below(n);
  const pick = <T>(all: readonly T[]): T => all[below(all.length)] as T;
  const lags = below(3) > 0;
  const directory = mkdtempSync(join(tmpdir(), "wt-lives-"));
  const file = join(directory, "interfaces.json");
  const objects = new Map<string, Pod>();
  const views: ReadonlyMap<string, Pod>[] = [new Map()];
  /** Each with the first view that says all of its earlier use. */
  const free = ADDRESSES.map((ip) => ({ ip, after: 0 }));
  let seen = 0;
  let sandboxes: readonly Sandbox[] = [];
  let started = 0;
  let uid = 0;
  let agent = openAgent(file);

  const set = (key: string, value: Pod | undefined): void => {
    if (value === undefined) objects.delete(key);
    else objects.set(key, value);
    views.push(new Map(objects));
  };
  const start = ({ uid: own, ...of }: Pod): void => {
    const usable = free.filter(({ ip, after }) => after <= seen && !of.ips.some(({ text }) => text === ip));
    const next = below(2) === 0 ? usable[0] : usable.at(-1);
    if (next === undefined || own === undefined) return;
    free.splice(free.indexOf(next), 1);
    const { ip } = next;
    const taken = new Set(sandboxes.map(({ ifindex }) => ifindex));
    const ifindex = pick(
      Array.from({ length: LINKS }, (_, index) => index + 10).filter((n) => !taken.has(n)),
    );
    const how = below(3);
    const is = { ifindex, number: started, key: keyOf(of), uid: own, ip };
    sandboxes = [
      ...sandboxes,
      { ...is, routed: how !== 0, inside: how !== 1, isKnown: false, wasIsolated: false },
    ];
    started += 1;
  };
  const end = (sandbox: Sandbox): void => {
    sandboxes = sandboxes.filter((each) => each !== sandbox);
    free.push({ ip: sandbox.ip, after: views.length - 1 });
  };

  function live(): void {
    const key = `x/${pick(NAMES)}`;
    const object = objects.get(key);
    const sandbox = sandboxes.find((each) => each.key === key && each.uid === object?.uid);
    const ended = object?.deleting === true || object?.finished === true;
    const what = below(13);
    if (object === undefined) {
      if (what > 3) return;
      uid += 1;
      const labels = { labels: below(2) === 0 ? {} : { isolated: "yes" } };
      const made = { ...pod(key, [], labels), uid: String(uid), node: "here" };
      set(key, made);
      if (what > 1) start(made);
    } else if (what < 3) {
      if (sandbox === undefined && !ended) start(object);
    } else if (what < 7) {
      if (sandbox !== undefined && !object.finished) set(key, { ...object, ips: [address(sandbox.ip)] });
    } else if (what === 7) set(key, { ...object, deleting: true });
    else if (what === 8) {
      if (sandbox !== undefined && ended) end(sandbox);
    } else if (what === 9) {
      // By force, where its sandbox is still there.
      if (ended || below(3) === 0) set(key, undefined);
    } else if (what === 10) {
      const left = sandboxes.filter((each) => objects.get(each.key)?.uid !== each.uid);
      if (left.length > 0 && below(3) === 0) end(pick(left));
    } else if (what === 11) {
      if (sandbox !== undefined && below(2) === 0) set(key, { ...object, finished: true });
    } else if (sandbox !== undefined && !ended) {
      // A new sandbox of the same pod, whose object still has the old address; or none, where it cannot be made.
      end(sandbox);
      if (below(2) === 0) start(object);
    }
  }

  function reconcile(step: number): void {
    const view = views[seen] as ReadonlyMap<string, Pod>;
    const known = tables(
      sandboxes.map(({ ifindex, number }) => ({
        ...veth(ifindex, `v${ifindex}`, 100 + number),
        peer: INNER,
        birth: String(number),
      })),
      {
        inside: new Map(
          sandboxes
            .filter(({ inside }) => inside)
            .map(({ number, ip }) => [
              100 + number,
              [{ ifindex: INNER, family: 4 as const, address: ip, length: 32, scope: 0, flags: 0 }],
            ]),
        ),
        routes: sandboxes.filter(({ routed }) => routed).map(({ ip, ifindex }) => route(`${ip}/32`, ifindex)),
      },
    );
    const cluster: Cluster = {
      ...EMPTY_CLUSTER,
      namespaces: new Map([["x", namespace("x")]]),
      nodes: new Map(),
      pods: view,
      policies: new Map([[keyOf(DENY), DENY]]),
    };
    const node = { tables: () => known, idOf: () => undefined };
    const resolved = agent.resolver(cluster, node, {
      node: "here",
      incumbents: agent.incumbents.of(known),
      bound: agent.incumbents.hardwareOf(known),
      appeared: agent.appearances.see(cluster.pods),
      now: "now",
    });
    const compiled = compile(resolved.cluster, resolved.found, agent.numbering);
    agent.numbering = compiled.numbering;
    const { sides } = compiled.meaning;
    const holders = holdersOf(resolved.cluster);
    for (const sandbox of sandboxes) {
      const where = `v${sandbox.ifindex} of ${sandbox.key} ${sandbox.uid}, step ${step} of seed ${seed}`;
      const object = view.get(sandbox.key);
      const found = resolved.found.find(({ ifindex }) => ifindex === sandbox.ifindex);
      const isIts = found !== undefined && isIn([found.pod, ...(found.rivals ?? [])], sandbox);
      const entry = sides.find(({ local }) => local.ifindex === sandbox.ifindex);
      const isIsolated = entry?.sides.ingress?.isolated === true && entry.sides.egress?.isolated === true;
      const runs = object?.uid === sandbox.uid && isRunning(object);
      if (object !== undefined && runs && object.ips.some(({ text }) => text === sandbox.ip)) {
        expect(isIts, `the interface: ${where}`).toBe(true);
        expect(isIn(holders.get(sandbox.ip)?.pods ?? [], sandbox), `the address: ${where}`).toBe(true);
        expect(isIsolated || object.labels.get("isolated") !== "yes", `isolation: ${where}`).toBe(true);
        // One of several running pods keeps no part of it beyond its object.
        sandbox.isKnown ||= [found?.pod, ...(found?.rivals ?? [])].every(
          (each) => each === undefined || isIn([each], sandbox) || !isRunning(view.get(keyOf(each))),
        );
        sandbox.wasIsolated ||= object.labels.get("isolated") === "yes";
      } else if (sandbox.isKnown) {
        expect(isIts, `retained: ${where}`).toBe(true);
        expect(isIsolated || !sandbox.wasIsolated, `as isolated as before: ${where}`).toBe(true);
      }
      checked += 1;
    }
    agent.incumbents.settle(resolved.found, { cluster: resolved.cluster, sides, tables: known });
  }

  try {
    for (let step = 0; step < STEPS; step += 1) {
      live();
      if (below(2) === 0) continue;
      if (below(16) === 0) {
        agent = openAgent(file);
        seen = views.length - 1;
      }
      seen = lags ? Math.min(views.length - 1, seen + below(4)) : views.length - 1;
      reconcile(step);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("there was something to be checked", () => {
  expect(checked).toBeGreaterThan(100);
});
