// The file that keeps claims while no agent runs: written whole, beside the old one, and moved into its place.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";
import { type Claim, claimOf, plainClaim } from "./claim.ts";

const VERSION = 1;

/** No claims where there is no file. @throws OperationError where it cannot be read, or holds something else */
export function readClaims(path: string): readonly Claim[] {
  const failure = (reason: string, cause?: unknown): OperationError =>
    new OperationError(reason, { operation: "read", object: path, cause });
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (thrown) {
    if (codeOf(thrown) === "ENOENT") return [];
    throw failure(messageOf(thrown), thrown);
  }
  const value = parsed(text);
  if (typeof value !== "object" || value === null || !("version" in value) || !("claims" in value))
    throw failure("it holds no claims");
  const { version, claims } = value;
  if (version !== VERSION) throw failure(`version: expected ${VERSION}, not ${String(version)}`);
  if (!Array.isArray(claims)) throw failure("claims: expected a list");
  return claims.map((each, at) => {
    const claim = claimOf(each);
    if (claim === undefined) throw failure(`claims[${at}]: expected a claim`);
    return claim;
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** For root alone. @throws OperationError */
export function writeClaims(path: string, claims: Iterable<Claim>): void {
  const text = JSON.stringify({ version: VERSION, claims: [...claims].map(plainClaim) });
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    writeFileSync(`${path}.new`, `${text}\n`, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  } catch (thrown) {
    throw new OperationError(messageOf(thrown), { operation: "write", object: path, cause: thrown });
  }
}
