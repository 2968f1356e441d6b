// How well the API server is followed, in one line for people.

import type { KindHealth, SourceHealth } from "../model/source-health.ts";
import { countText, durationText } from "./text-output.ts";

/** "6 of 6 kinds, 12034 objects; last heard 2s ago, all listed 3m10s ago". */
export function followingText({ kinds, synced }: SourceHealth, now: Date): string {
  const followed = kinds.filter(({ state }) => state === "following").length;
  const objects = kinds.reduce((sum, kind) => sum + kind.objects, 0);
  const unlisted = kinds.filter(({ listedAt }) => listedAt === undefined).map(({ kind }) => kind);
  const listed = synced
    ? `all listed ${agoText(earliest(kinds, "listedAt"), now)}`
    : `not listed yet: ${unlisted.join(", ")}`;
  const heard = `last heard ${agoText(latest(kinds, "contactAt"), now)}`;
  return `${followed} of ${kinds.length} kinds, ${countText(objects, "object")}; ${heard}, ${listed}`;
}

type Times = "listedAt" | "contactAt";
const timesOf = (kinds: readonly KindHealth[], key: Times): number[] =>
  kinds.flatMap((kind) => (kind[key] === undefined ? [] : [Date.parse(kind[key])]));

const latest = (kinds: readonly KindHealth[], key: Times): number => Math.max(...timesOf(kinds, key));
const earliest = (kinds: readonly KindHealth[], key: Times): number => Math.min(...timesOf(kinds, key));

const agoText = (at: number, now: Date): string =>
  Number.isFinite(at) ? `${durationText(now.getTime() - at)} ago` : "never";
