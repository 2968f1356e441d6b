// Pins of inner maps: active ones are pinned and opened by path, those left by an interrupted update are removed.

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { BpfMap } from "bpf-ts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type HeldInner, heldInner, pinnedInner } from "../../src/datapath/inner-maps.ts";
import { type NestedTableFor, nestedTableOf } from "../../src/datapath/typed-maps.ts";
import { MAPS } from "../../src/gen/layout.ts";

const ROOT = `/sys/fs/bpf/wt-inner-${process.pid}`;
const DIRECTORY = join(ROOT, "policy");
const opened: { close(): void }[] = [];

const { type, keySize, valueSize, flags } = MAPS.policy.inner;
let outer: BpfMap;

beforeAll(() => {
  mkdirSync(DIRECTORY, { recursive: true });
  const template = BpfMap.create({ type, name: "wt_rows", keySize, valueSize, flags, maxEntries: 1 });
  outer = BpfMap.create({ ...MAPS.policy, name: "wt_policy", maxEntries: 16, innerMap: template });
  opened.push(template, outer);
});

afterAll(() => {
  for (const each of opened) each.close();
  rmSync(ROOT, { recursive: true, force: true });
});

/** An agent's table; it ends where a crash would end it. */
function agent(): { readonly policies: NestedTableFor<"policy">; readonly inners: HeldInner } {
  const inners = heldInner(DIRECTORY);
  opened.push(inners);
  return { inners, policies: nestedTableOf("policy", outer, inners) };
}

/** A command's, which opens pins only. */
const command = (): NestedTableFor<"policy"> => nestedTableOf("policy", outer, pinnedInner(DIRECTORY));

const pins = (): string[] => readdirSync(DIRECTORY).map((name) => name.replace(/-\d+$/, ""));

async function contentOf(policies: NestedTableFor<"policy">): Promise<Record<string, unknown>> {
  const content: Record<string, unknown> = {};
  for await (const [number, rows] of policies.all())
    content[number] = rows === undefined ? "unreadable" : await rows.read({ skipZero: true });
  return content;
}

describe("inner maps", () => {
  it("are opened by their pins by the next agent and by commands", async () => {
    const { policies, inners } = agent();
    await policies.put(3, 4, [[1, 7]]);
    await policies.put(5, 4, [[2, 8]]);
    await policies.put(3, 8, [[7, 9]]);
    expect(pins()).toEqual(["3", "5"]);
    const wanted = { 3: [[7, 9]], 5: [[2, 8]] };
    expect(await contentOf(command())).toEqual(wanted);
    inners.close();
    expect(await contentOf(agent().policies)).toEqual(wanted);
    await agent().policies.deleteBatch([5]);
  });

  it("that only wait for programs leave no pin", async () => {
    const { policies } = agent();
    await policies.synchronize(0);
    expect(pins()).not.toContain("0");
    await policies.deleteBatch([0]);
  });

  it.each<[string, (number: number) => Promise<void>]>([
    ["between pin and use", async (number) => heldInner(DIRECTORY).add(number, made())],
    [
      "between use and the removal of the pin before",
      async (number) => {
        await agent().policies.put(number, 4, [[1, 1]]);
        const map = made();
        heldInner(DIRECTORY).add(number, map);
        await outer.setInner(keyOf(number), map);
      },
    ],
    [
      "between the removal from the outer map and that of the pin",
      async (number) => {
        await agent().policies.put(number, 4, []);
        outer.delete(keyOf(number));
      },
    ],
  ])("of an agent that ended %s are swept", async (_, interrupt) => {
    await interrupt(9);
    const { policies } = agent();
    const content = await contentOf(policies);
    expect(Object.values(content)).not.toContain("unreadable");
    expect(pins()).toEqual(Object.keys(content));
    await policies.deleteBatch([9]);
    expect(pins()).not.toContain("9");
  });

  it("whose pins are gone are pinned again by the agent that holds them, and unreadable to others", async () => {
    const { policies, inners } = agent();
    await policies.put(6, 4, [[1, 5]]);
    rmSync(DIRECTORY, { recursive: true });
    expect((await contentOf(command()))[6]).toBe("unreadable");
    expect(policies.open(6)?.get(1)).toBe(5);
    expect(inners.pin()).toBeGreaterThan(0);
    expect(inners.pin()).toBe(0);
    expect((await contentOf(command()))[6]).toEqual([[1, 5]]);
  });

  it("are never taken from a pin that another process has created there", async () => {
    const { policies, inners } = agent();
    await policies.put(7, 4, [[1, 5]]);
    inners.close();
    const name = readdirSync(DIRECTORY).find((each) => each.startsWith("7-")) as string;
    rmSync(join(DIRECTORY, name));
    made().pin(join(DIRECTORY, name));
    expect((await contentOf(command()))[7]).toBe("unreadable");
  });
});

function made(): BpfMap {
  const map = BpfMap.create({ type, name: "wt_rows", keySize, valueSize, flags, maxEntries: 4 });
  opened.push(map);
  return map;
}

function keyOf(number: number): Buffer {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(number);
  return key;
}
