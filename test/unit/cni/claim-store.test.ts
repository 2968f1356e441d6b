// The file of claims, and when a claim is removed.

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { expiry, FORGET_MS, garbageOf, openClaims } from "../../../src/agent/cni/claim-store.ts";
import { parseAddress } from "../../../src/base/ip.ts";
import type { Claim } from "../../../src/cni/cni-claims.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "wt-claims-"));
});

afterEach(() => rmSync(root, { recursive: true }));

const address = parseAddress("10.0.0.7");
const claim = (containerId: string, ifindex: number, more: Partial<Claim> = {}): Claim => ({
  containerId,
  ifname: "eth0",
  network: "net",
  namespace: "alpha",
  name: containerId,
  ifindex,
  link: `veth${ifindex}`,
  addresses: address.ok ? [address.value] : [],
  ...more,
});
const path = (): string => join(root, "run", "claims.json");
const idsIn = (claims: Iterable<Claim>): string[] => [...claims].map(({ containerId }) => containerId);

describe("the file", () => {
  it("keeps claims, in order, for root alone", () => {
    const claims = openClaims(path());
    claims.put(claim("a", 1, { uid: "u" }));
    claims.put(claim("b", 2));
    claims.put(claim("a", 3));
    expect(idsIn(openClaims(path()).all())).toEqual(["b", "a"]);
    expect([...openClaims(path()).all()]).toEqual([...claims.all()]);
    expect(statSync(path()).mode & 0o777).toBe(0o600);
    claims.drop(({ containerId }) => containerId === "b");
    expect(idsIn(openClaims(path()).all())).toEqual(["a"]);
  });

  it("removes the claim of an interface of the node when it is claimed by another", () => {
    const claims = openClaims(path());
    claims.put(claim("a", 1));
    claims.put(claim("b", 1));
    expect(idsIn(claims.all())).toEqual(["b"]);
  });

  it.each([
    "",
    "{}",
    '{"version":3,"claims":[]}',
    '{"version":2,"claims":[{"containerId":"a","birth":7}]}',
    '{"version":1,"claims":{}}',
    '{"version":1,"claims":[{"containerId":"a"}]}',
  ])("that holds %s is reported, and rewritten", (text) => {
    openClaims(path()).put(claim("a", 1));
    const whole = readFileSync(path(), "utf8");
    for (const bad of [text, whole.replace('"10.0.0.7"', '"10.0.0"'), whole.slice(0, -9)]) {
      writeFileSync(path(), bad);
      const claims = openClaims(path());
      expect([claims.size(), claims.problems()[0]?.severity]).toEqual([0, "warning"]);
      claims.put(claim("b", 2));
      expect(claims.problems()).toEqual([]);
    }
  });

  it("that cannot be written is reported", () => {
    writeFileSync(join(root, "run"), "");
    const claims = openClaims(path());
    claims.put(claim("a", 1));
    expect(claims.size()).toBe(1);
    expect(claims.problems()[0]?.effect).toContain("are lost when the agent ends");
  });
});

it("claims are removed with their interface, or when no pod has used them for long", () => {
  const stays = claim("a", 1, { link: "veth1" });
  const gone = claim("b", 2, { link: "veth2" });
  // Some plugins name the link after the pod: the next one of its name has the same.
  const followed = claim("c", 3, { link: "veth1" });
  const expired = expiry(({ link, ifindex }) => link === "veth1" && ifindex === 1);
  const at = (waits: readonly Claim[], now: number): string[] =>
    idsIn([stays, gone, followed].filter(expired(new Set(waits), now)));
  expect(at([], 0)).toEqual(["b", "c"]);
  expect(at([stays], 10)).toEqual(["b", "c"]);
  expect(at([stays], FORGET_MS)).toEqual(["b", "c"]);
  expect(at([], FORGET_MS + 5)).toEqual(["b", "c"]);
  expect(at([stays], FORGET_MS + 10)).toEqual(["b", "c"]);
  expect(at([stays], FORGET_MS * 2 + 10)).toEqual(["a", "b", "c"]);
});

it("garbage is of the same network and not listed", () => {
  const isGarbage = garbageOf({ network: "net", valid: [{ containerId: "a", ifname: "eth0" }] });
  const claims = [
    claim("a", 1),
    claim("b", 2),
    claim("a", 3, { ifname: "eth1" }),
    claim("c", 4, { network: "other" }),
  ];
  expect(claims.map(isGarbage)).toEqual([false, true, true, false]);
});
