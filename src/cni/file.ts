// The file that keeps claims while no agent runs.

import { readKept, unreadableFile, writeKept } from "../base/state-file.ts";
import { type Claim, claimOf, plainClaim } from "./cni-claims.ts";

/** Version 1 does not say which link of an index is meant: as long as the name has the index, it is taken for the one. */
const VERSION = 2;

/** No claims where there is no file. @throws OperationError where it cannot be read, or holds something else */
export function readClaims(path: string): readonly Claim[] {
  const kept = readKept(path, [1, VERSION]);
  if (kept === undefined) return [];
  const { claims } = kept;
  if (!Array.isArray(claims)) throw unreadableFile(path, "claims: expected a list");
  return claims.map((each, at) => {
    const claim = claimOf(each);
    if (claim === undefined) throw unreadableFile(path, `claims[${at}]: expected a claim`);
    return claim;
  });
}

/** @throws OperationError */
export const writeClaims = (path: string, claims: Iterable<Claim>): void =>
  writeKept(path, { version: VERSION, claims: [...claims].map(plainClaim) });
