// Tables of cases: packets in their order, each with the reason that the programs must give and count.

import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { FROM_POD_HOOKS, type FromPodHook } from "../../src/base/direction.ts";
import {
  type Addresses,
  BOTH_FAMILIES,
  openWorld,
  type PodName,
  type Question,
  type World,
  type WorldOptions,
} from "./world.ts";

export interface Step extends Question {
  readonly reason: string;
}

export interface Case {
  readonly name: string;
  /** The family's addresses come with `is4` for the steps that differ. */
  readonly steps: (addresses: Addresses) => readonly Step[];
  /** Both by default. */
  readonly families?: readonly Addresses[];
}

export const into = (pod: PodName, frame: Uint8Array, reason: string, from?: number): Step => ({
  pod,
  direction: "ingress",
  frame,
  reason,
  ...(from !== undefined && { from }),
});

export const outOf = (pod: PodName, frame: Uint8Array, reason: string): Step => ({
  pod,
  direction: "egress",
  frame,
  reason,
});

/** A world for the tests of one file, with RULES enforced, and without flows before each test. */
export function useWorld(options: WorldOptions = {}): () => World {
  let world: World | undefined;
  beforeAll(async () => {
    world = await openWorld(options);
    await world.enforce();
  });
  beforeEach(() => world?.forget());
  afterAll(() => world?.close());
  return () => {
    if (world === undefined) throw new Error("the world is open only while tests run");
    return world;
  };
}

export function testTable(title: string, world: () => World, cases: readonly Case[]): void {
  describe(title, () => {
    const rows = cases.flatMap(({ name, steps, families = BOTH_FAMILIES }) =>
      families.flatMap((addresses) =>
        hooksFor(steps(addresses)).map((hook) => ({
          name: `${name} (IPv${addresses.family}${hook === "tc" ? "" : `, ${hook}`})`,
          addresses,
          steps,
          hook,
        })),
      ),
    );
    it.each(rows)("$name", ({ addresses, steps, hook }) => {
      expectSteps(world(), steps(addresses), hook);
    });
  });
}

/** What a pod sends has two programs that must agree on it. */
const hooksFor = (steps: readonly Step[]): readonly FromPodHook[] =>
  steps.some(({ direction }) => direction === "egress") ? FROM_POD_HOOKS : ["tc"];

/** All steps are run before any is judged, so that a failure shows the result of the rest. */
export function expectSteps(world: World, steps: readonly Step[], hook: FromPodHook = "tc"): void {
  const numbered = (each: Step, at: number, reason: string) =>
    `${at + 1}. ${each.direction} ${each.pod}: ${reason}`;
  const got = steps.map((step, at) => numbered(step, at, world.ask({ ...step, hook })));
  expect(got).toEqual(steps.map((step, at) => numbered(step, at, step.reason)));
}
