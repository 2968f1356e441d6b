// Dumps as text: every format is the same as if it were written whole, and large ones are never held whole.
import { expect, it } from "vitest";
import { parse } from "yaml";
import type { Format } from "../../../../src/cli/command.ts";
import { writeDump } from "../../../../src/cli/dump/dump-writer.ts";
import type { Env } from "../../../../src/cli/environment.ts";
import { type Dump, dumpOf, dumpOfPod } from "../../../../src/observe/dump/map-dump.ts";
import { left, right } from "../../../../src/observe/text-output.ts";
import { ROOT } from "../world.ts";

async function written(dump: Dump, output: Format, headers = true): Promise<string[]> {
  const pieces: string[] = [];
  const env = { stdout: { write: (text: string) => pieces.push(text) }, root: ROOT } as unknown as Env;
  await writeDump(env, dump, { output, headers });
  return pieces;
}

const text = async (dump: Dump, output: Format, headers = true): Promise<string> =>
  (await written(dump, output, headers)).join("");

interface Record_ {
  readonly name: string;
  readonly count: bigint;
}

const dumpFrom = (records: Iterable<Record_>): Dump =>
  dumpOf(records, {
    columns: [left("NAME"), right("COUNT")],
    rows: ({ name, count }) => [[name, String(count)]],
    json: (record) => record,
    pods: ({ name }) => [name],
  });

const SOME: Record_[] = [
  { name: "alpha/a", count: 2n ** 64n - 1n },
  { name: "line\nbreak", count: 7n },
];

it("JSON and YAML are as if written whole, to the last digit", async () => {
  const whole =
    '[\n  {\n    "name": "alpha/a",\n    "count": 18446744073709551615\n  },\n' +
    '  {\n    "name": "line\\nbreak",\n    "count": 7\n  }\n]\n';
  expect(await text(dumpFrom(SOME), "json")).toBe(whole);
  expect(await text(dumpFrom(SOME), "ndjson")).toBe(
    '{"name":"alpha/a","count":18446744073709551615}\n{"name":"line\\nbreak","count":7}\n',
  );
  expect(parse(await text(dumpFrom(SOME), "yaml"), { intAsBigInt: true })).toEqual(SOME);
});

it("nothing is an empty list, or only titles", async () => {
  expect(await text(dumpFrom([]), "json")).toBe("[]\n");
  expect(await text(dumpFrom([]), "yaml")).toBe("[]\n");
  expect(await text(dumpFrom([]), "ndjson")).toBe("");
  expect(await text(dumpFrom([]), "table")).toBe("NAME   COUNT\n");
  expect(await text(dumpFrom([]), "table", false)).toBe("");
});

it("a single object is not a list", async () => {
  const single = { ...dumpFrom(SOME.slice(1)), single: true };
  expect(JSON.parse(await text(single, "json"))).toEqual({ name: "line\nbreak", count: 7 });
  expect(parse(await text(single, "yaml"))).toEqual({ name: "line\nbreak", count: 7 });
});

it("entries are filtered by pod", async () => {
  expect(await text(dumpOfPod(dumpFrom(SOME), "alpha/a"), "table", false)).toBe(
    "alpha/a   18446744073709551615\n",
  );
});

it.each(["table", "json", "ndjson", "yaml"] as const)(
  "%s of many comes in pieces, created as they are written",
  async (output) => {
    let made = 0;
    let aheadMax = 0;
    function* many(): Iterable<Record_> {
      for (; made < 10_000; made++) yield { name: `alpha/${made}`, count: BigInt(made) };
    }
    let seen = 0;
    const env = {
      stdout: {
        write(piece: string) {
          seen += piece.match(/alpha\//g)?.length ?? 0;
          aheadMax = Math.max(aheadMax, made + 1 - seen);
        },
      },
      root: ROOT,
    } as unknown as Env;
    await writeDump(env, dumpFrom(many()), { output, headers: true });
    expect(seen).toBe(10_000);
    expect(aheadMax).toBeLessThan(10);
  },
);

it("a later row that is wider widens its column from there on", async () => {
  const records = Array.from({ length: 1_500 }, (_, at) => ({
    name: "x".repeat(at < 1_200 ? 4 : 9),
    count: 1n,
  }));
  const lines = (await text(dumpFrom(records), "table")).split("\n");
  expect(lines[0]).toBe("NAME   COUNT");
  expect(lines[1]).toBe("xxxx       1");
  expect(lines[1_500]).toBe("xxxxxxxxx       1");
});
