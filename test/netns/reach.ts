// Expectations as text: who reaches whom with which protocols, one line each, and the probes that such a line means.

import { parseAddress } from "../../src/base/ip.ts";
import {
  type ExpectedShot,
  isAsExpected,
  type Measured,
  measuredText,
  measureExpected,
} from "../../src/lab/measure-reachability.ts";
import type { Lab } from "../../src/lab/netns-lab.ts";
import type { ProbeKind } from "../../src/lab/pod-protocol.ts";

/** A probe of a line, by the line's number in the table. */
interface LineShot extends ExpectedShot {
  readonly line: number;
}

/**
 * The lines of a table: `FROM[@SOURCE] -> TO[@ADDRESS] KIND[/PORT]... : FAMILIES`. FAMILIES names those that reach, "46",
 * "4-", "-6" or "--". Every family is tried, unless SOURCE or ADDRESS fixes one. "#" begins a comment.
 */
export const linesOf = (table: string): string[] =>
  table
    .split("\n")
    .map((line) => line.replace(/#.*$/, "").trim().replaceAll(/\s+/g, " "))
    .filter((line) => line !== "");

const LINE =
  /^(?<from>[^@ ]+)(?:@(?<source>\S+))? -> (?<to>[^@ ]+)(?:@(?<address>\S+))? (?<what>.+) : (?<families>[4-][6-])$/;

function shotsOf(lab: Lab, text: string, line: number): LineShot[] {
  const parts = LINE.exec(text)?.groups;
  if (parts === undefined) throw new Error(`not an expectation: ${text}`);
  const { from = "", source, to = "", address, what = "", families = "" } = parts;
  const fixed = source === undefined ? undefined : familyOf(source);
  const targets = address === undefined ? lab.wire(to).addresses.map(({ text }) => text) : [address];
  return targets
    .filter((target) => fixed === undefined || familyOf(target) === fixed)
    .flatMap((target) =>
      what.split(" ").map((kindAndPort): LineShot => {
        const [kind = "", port] = kindAndPort.split("/");
        return {
          line,
          from,
          expected: families.includes(String(familyOf(target))),
          probe: {
            kind: kind as ProbeKind,
            address: target,
            ...(port === undefined ? {} : { port: Number(port) }),
            ...(source === undefined ? {} : { source }),
          },
        };
      }),
    );
}

function familyOf(text: string): 4 | 6 {
  const parsed = parseAddress(text);
  if (!parsed.ok) throw new Error(`${text}: ${parsed.reason}`);
  return parsed.value.family;
}

/** Mismatches by line; a line that holds has an empty list. The whole table is measured at once. */
export async function mismatches(lab: Lab, lines: readonly string[]): Promise<Map<string, string[]>> {
  const shots = lines.flatMap((text, line) => {
    const found = shotsOf(lab, text, line);
    if (found.length === 0) throw new Error(`no address to try: ${text}`);
    return found;
  });
  const measured = await measureExpected(lab, shots);
  const wrong = (line: number): Measured<LineShot>[] =>
    measured.filter((each) => each.shot.line === line && !isAsExpected(each));
  return new Map(lines.map((text, line) => [text, wrong(line).map(measuredText)]));
}

/** As `mismatches`, for a whole table, in one list. */
export const mismatchesOf = async (lab: Lab, table: string): Promise<string[]> =>
  [...(await mismatches(lab, linesOf(table))).values()].flat();
