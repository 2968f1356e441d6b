// Lists of denied prefixes in the kernel: read back, changed atomically, long ones.

import { setImmediate } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import { readDenied, writeDenied } from "../../src/datapath/denied-prefix-maps.ts";
import { address } from "../support/model.ts";
import { DENIED, FOE6, FOES, FRIENDS, from, useUplink } from "./uplink.ts";

const uplink = useUplink();
const screen = (wire: Uint8Array): string => uplink().screen(wire);
const listOf = async () => present(await readDenied(uplink().tables), "a list that can be read");
const countOf = (prefix: string): Promise<number> => uplink().countOf(prefix);

describe("a list", () => {
  it("is read back as it was written, in both families", async () => {
    expect([...(await listOf()).keys()].sort()).toEqual([...DENIED].sort());
  });

  it("that is already active is not written again", async () => {
    expect(await writeDenied(uplink().tables, [...DENIED].reverse())).toBe(false);
  });

  it("without entries denies nothing", async () => {
    await writeDenied(uplink().tables, []);
    for (const each of [...FOES, ...FRIENDS]) expect(screen(from(each))).toBe("passed");
  });

  it("changes atomically: what both deny is denied all the while, what neither does never is", async () => {
    const { tables } = uplink();
    const lists = [DENIED, [...DENIED.slice(1), "10.7.2.0/24", "198.51.100.0/24"]];
    let writing = true;
    const changes = (async () => {
      for (let round = 0; round < 20; round += 1) await writeDenied(tables, lists[round % 2] as string[]);
      writing = false;
    })();
    let asked = 0;
    while (writing) {
      for (const foe of FOES) expect(screen(from(foe))).toBe("denied");
      for (const friend of FRIENDS) expect(screen(from(friend))).toBe("passed");
      asked += 1;
      await setImmediate();
    }
    await changes;
    expect(asked).toBeGreaterThan(20);
  });

  it("keeps the counts of prefixes that stay, and begins those of new ones at 0", async () => {
    const { tables } = uplink();
    screen(from(address("10.7.1.1")));
    screen(from(FOE6));
    const stays = await countOf("10.7.1.0/24");
    await writeDenied(tables, ["10.7.1.0/24", "203.0.113.0/24", "203.0.114.0/24"]);
    expect(await countOf("10.7.1.0/24")).toBe(stays);
    await writeDenied(tables, ["10.7.1.0/24", "fd07::/64"]);
    expect(await countOf("fd07::/64")).toBe(0);
    screen(from(FOE6));
    expect(await countOf("fd07::/64")).toBe(1);
  });

  it("may be long", async () => {
    const { tables } = uplink();
    const many = Array.from(
      { length: 50_000 },
      (_, at) => `10.${128 + (at >> 14)}.${(at >> 6) & 255}.${(at & 63) * 4}/30`,
    );
    await writeDenied(tables, many);
    expect((await listOf()).size).toBe(50_000);
    for (const each of ["10.128.0.0", "10.131.13.63", "10.130.255.255"])
      expect(screen(from(address(each))), each).toBe("denied");
    expect(screen(from(address("10.131.255.255")))).toBe("passed");
    // Prefixes without a counter of their own share one. The previous list had some, which change their meaning only later.
    const numbers = [...(await listOf()).values()];
    expect(numbers.filter((number) => number === 0).length).toBe(50_000 - (16_383 - DENIED.length));
  });
});
