// Everything at once and at random: objects that come and go while the server misbehaves, and in the end the two agree.

import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import { KINDS, type Kind } from "../../../../src/source/apiserver/resource-kinds.ts";
import { type Fault, line, refuse } from "./server.ts";
import { openWorld, pod, policy, type World } from "./world.ts";

const NAMES = Array.from({ length: 12 }, (_, index) => `web-${index + 1}`);
const kind = fc.constantFrom<Kind>("Pod", "NetworkPolicy", "Namespace");
const name = fc.constantFrom(...NAMES);

/** Changes with an event, changes without one (as if the connection had just broken), and faults. */
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("put" as const), kind, name, number: fc.nat(250) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("remove" as const), kind, name }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("ends" as const, "breaks" as const), kind }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("garbage" as const),
      kind,
      text: fc.constantFrom("<html>\n", '{"type":"ADDED"', line({ type: "ERROR", object: { code: 410 } })),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("compact" as const, "bookmark" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("restart" as const), silent: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("refuse" as const),
      status: fc.constantFrom(401, 403, 410, 429, 500),
      times: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 60 }) }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function objectOf(of: Kind, called: string, number: number) {
  if (of === "Pod") return pod(called, `10.0.1.${number}`);
  if (of === "NetworkPolicy") return policy(called, `web-${number}`);
  return { metadata: { name: called, labels: { team: `t${number}` } } };
}

async function take(world: World, what: Step): Promise<void> {
  const { server, objects } = world;
  switch (what.do) {
    case "put":
      return server.put(what.kind, objectOf(what.kind, what.name, what.number));
    case "remove":
      return server.remove(what.kind, what.kind === "Namespace" ? what.name : `shop/${what.name}`);
    case "ends":
    case "breaks":
      return server.end(what.kind, what.do);
    case "garbage":
      return server.write(what.kind, what.text);
    case "compact":
      return objects.compact();
    case "bookmark":
      return KINDS.forEach(server.bookmark);
    case "wait":
      return sleep(what.ms);
    case "refuse":
      return server.script(refusing(what.status, what.times));
    case "restart":
      await server.close();
      if (what.silent) objects.put("Pod", pod("web-1", "10.0.9.9"));
      await world.start();
  }
}

function refusing(status: number, times: number): Fault {
  let left = times;
  return (_, response) => {
    left -= 1;
    return left >= 0 && refuse(response, status, "by chance");
  };
}

test.each([
  ["streamed lists", true],
  ["pages", false],
])("whatever happens, in the end the two agree: %s", async (what, streams) => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  console.info(`seed ${seed}`);
  const [steps = []] = fc.sample(fc.array(step, { minLength: 200, maxLength: 200, size: "max" }), {
    seed,
    numRuns: 1,
  });
  // Garbage that is half an event takes the next event with it, which only a list recovers.
  const world = await openWorld({ streams, timing: { relistMs: [500, 1_000], lineMs: 300 } });
  for (const each of steps) await take(world, each);
  world.server.script(() => false);
  await world.converged(`${steps.length} steps by chance, ${what}, seed ${seed}`);
  // The state stays the same, and requests are not repeated over and over.
  await sleep(300);
  const asked = world.server.asked.length;
  await sleep(500);
  expect(world.server.asked.length - asked).toBeLessThan(100);
  await world.converged("a while after");
});
