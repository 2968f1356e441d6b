// Snapshots read from lines, and the differences of two of them.
import { describe, expect, it } from "vitest";
import {
  compareSnapshots,
  isMaterial,
  SNAPSHOT_FORMAT,
  type Snapshot,
  snapshotFrom,
  snapshotTable,
} from "../../../src/observe/map-snapshot.ts";
import { tableText } from "../../../src/observe/text-output.ts";
import { lines as textLines } from "./lines.ts";

const HEAD = JSON.stringify({ format: SNAPSHOT_FORMAT, takenAt: "2025-01-01T00:00:00.000Z", generation: 1 });

async function* each(lines: readonly string[]): AsyncIterable<string> {
  yield* lines;
}

const of = (...entries: readonly (readonly [table: string, entry: string])[]): Promise<Snapshot> =>
  snapshotFrom(each([HEAD, ...entries.map(([table, entry]) => `{"table":"${table}","entry":${entry}}`)]));

const told = async (before: Promise<Snapshot>, after: Promise<Snapshot>): Promise<string[]> =>
  tableText(snapshotTable(compareSnapshots(await before, await after)))
    .trimEnd()
    .split("\n");

describe("two moments", () => {
  it("are compared entry by entry, field by field", async () => {
    const before = of(
      ["cidrs", '{"cidr":"10.0.0.0/8","identity":1,"meaning":["a"]}'],
      ["addresses", '{"address":"10.0.0.1","identity":4}'],
      ["addresses", '{"address":"10.0.0.2","identity":5,"pod":"a/b"}'],
      ["policy", '{"policy":2,"cells":[{"identity":0,"row":0},{"identity":4,"row":2,"peers":["x"]}]}'],
      [
        "counters",
        '{"id":1,"direction":"ingress","reason":"denied","packets":18446744073709551610,"bytes":60}',
      ],
      [
        "conntrack",
        '{"protocol":"TCP","local":"10.0.0.1","localPort":80,"remote":"::1","remotePort":4,"ifindex":7,"state":["replied"],"expiresMs":7}',
      ],
      ["node", '{"generation":1,"version":1}'],
    );
    const after = of(
      ["cidrs", '{"cidr":"10.0.0.0/8","identity":1}'],
      ["cidrs", '{"cidr":"fd00::/8","identity":3}'],
      ["addresses", '{"address":"10.0.0.2","identity":6}'],
      ["policy", '{"policy":2,"cells":[{"identity":0,"row":0},{"identity":6,"row":2}]}'],
      [
        "counters",
        '{"id":1,"direction":"ingress","reason":"denied","packets":18446744073709551615,"bytes":60}',
      ],
      [
        "conntrack",
        '{"protocol":"TCP","local":"10.0.0.1","localPort":80,"remote":"::1","remotePort":4,"ifindex":7,"state":["replied","confirmed"],"expiresMs":3}',
      ],
      ["node", '{"generation":2,"version":0}'],
    );
    expect(await told(before, after)).toEqual(
      textLines(`
        TABLE       CHANGE    ENTRY                     WHAT
        cidrs       added     fd00::/8                  identity 3
        addresses   removed   10.0.0.1                  identity 4
        addresses   changed   10.0.0.2                  identity 5 -> 6
        policy      changed   2                         cells -{identity:4,row:2} +{identity:6,row:2}
        conntrack   changed   TCP 10.0.0.1 80 ::1 4 7   state +confirmed
        counters    changed   1 ingress denied          packets 18446744073709551610 -> 18446744073709551615 (+5)
        node        changed   node                      generation 1 -> 2, version 1 -> 0`),
    );
  });

  it("that differ only by what the programs write have no relevant difference", async () => {
    const counters = (packets: number) =>
      of(["counters", `{"id":1,"direction":"ingress","reason":"denied","packets":${packets}}`]);
    const differences = compareSnapshots(await counters(1), await counters(2));
    expect(differences).toHaveLength(1);
    expect(differences.filter(isMaterial)).toEqual([]);
    const [cidr] = compareSnapshots(await of(), await of(["cidrs", '{"cidr":"::/0","identity":1}']));
    expect(cidr && isMaterial(cidr)).toBe(true);
  });
});

it.each([
  [[], "the file is empty"],
  [["{}"], "line 1: expected a snapshot of format weir-snapshot/1"],
  [["x"], "line 1: expected a JSON object"],
  [[HEAD, "[]"], "line 2: expected a JSON object"],
  [[HEAD, '{"table":"cidrs"}'], "line 2: expected a table and an entry"],
])("lines %j are refused", async (lines, reason) => {
  await expect(snapshotFrom(each(lines))).rejects.toThrow(reason);
});

it("a table of another version is skipped", async () => {
  expect((await of(["tomorrow", "{}"])).tables.size).toBe(0);
});
