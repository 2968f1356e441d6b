// The file of interface ownership: written whole, valid for this boot and the same links; and what a damaged one means.

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mayHaveHadClusterPolicies, openIncumbents } from "../../../src/agent/interface-history.ts";
import { isSealed, keyOf, type Pod } from "../../../src/model/cluster.ts";
import { unknownPod } from "../../../src/model/unclaimed-interface.ts";
import type { NetLink } from "../../../src/node/node-tables.ts";
import { compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import { MEMORY } from "../../../src/source/apiserver/object-memory.ts";
import type { PodInterface } from "../../../src/source/interface-discovery.ts";
import { cidr, cluster, clusterPolicy, namespace, pod, policy } from "../../support/model.ts";
import { tables, veth } from "../node/tables.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "wt-incumbents-"));
});

afterEach(() => rmSync(root, { recursive: true }));

const path = (): string => join(root, "run", "interfaces.json");

const LINK: NetLink = { ...veth(7, "veth7", 3), address: "02:00:00:00:00:07", birth: "4711" };
const at = (...links: readonly NetLink[]) => tables(links);

const WEB: Pod = {
  ...pod("shop/web", ["10.0.0.7", "fd00::7"], {
    labels: { app: "web", tier: "" },
    ports: [
      { name: "http", port: 80, protocol: "TCP" },
      { port: 53, protocol: "UDP" },
    ],
  }),
  uid: "u1",
  node: "here",
  sources: [cidr("10.9.0.0/16"), cidr("fd09::/64")],
  macs: ["52:54:00:12:34:56"],
};

const on = (of: Pod, more: Partial<PodInterface> = {}): PodInterface => ({
  pod: of,
  ifindex: 7,
  name: "veth7",
  addresses: of.ips,
  ...more,
});

const ISOLATES = policy("shop/deny", { isolates: { ingress: true, egress: false } });

/** The enforced state with these interfaces. */
function settled(file: string | undefined, ...found: readonly PodInterface[]) {
  const all = cluster({
    namespaces: [{ ...namespace("shop"), uid: "n1" }],
    pods: found.map((each) => each.pod).filter(({ retained }) => retained === undefined),
    policies: [ISOLATES],
  });
  const incumbents = openIncumbents(file);
  const { sides } = compile(all, found, NOTHING_NUMBERED).meaning;
  incumbents.settle(found, { cluster: all, sides, tables: at(LINK) });
  return incumbents;
}

it("a later agent has the records of this one, readable by root alone", () => {
  const now = settled(path(), on(WEB)).of(at(LINK));
  expect(now.get(7)).toMatchObject([
    { namespace: { known: true, uid: "n1" }, isolated: { ingress: true, egress: false } },
  ]);
  const later = openIncumbents(path());
  expect(later.of(at(LINK))).toEqual(now);
  expect([later.isKnown, later.problems()]).toEqual([true, []]);
  expect(statSync(path()).mode & 0o777).toBe(0o600);
});

it("a pod whose labels were not kept stays closed once its object is gone", () => {
  settled(path(), on(MEMORY.Pod.reduced(WEB)));
  const [incumbent] = openIncumbents(path()).of(at(LINK)).get(7) ?? [];
  expect(incumbent).toMatchObject({ pod: { name: "web", exceeds: true } });
  expect(isSealed(incumbent?.pod as Pod)).toBe(true);
});

it("a later agent has the MAC address that a link's pod is bound to, and of no other link", () => {
  const hardware = "0a:58:0a:00:00:07";
  settled(path(), on(WEB, { hardware }));
  const later = openIncumbents(path());
  expect([...later.hardwareOf(at(LINK))]).toEqual([[7, hardware]]);
  expect(later.hardwareOf(at({ ...LINK, birth: "4712" })).size).toBe(0);
  settled(path(), on(WEB));
  expect(openIncumbents(path()).hardwareOf(at(LINK)).size).toBe(0);
});

it("without a file there are no records, and no problem", () => {
  const none = openIncumbents(path());
  expect([none.of(at(LINK)).size, none.isKnown, none.problems()]).toEqual([0, false, []]);
  const unkept = settled(undefined, on(WEB));
  expect([unkept.of(at(LINK)).size, unkept.isKnown]).toEqual([1, true]);
});

it("of two pods that may have an interface both are recorded", () => {
  const other = pod("shop/other", ["10.0.0.7"]);
  settled(path(), on(WEB, { rivals: [other] }));
  expect(
    openIncumbents(path())
      .of(at(LINK))
      .get(7)
      ?.map((each) => keyOf(each.pod)),
  ).toEqual(["shop/web", "shop/other"]);
});

describe("a link is the same", () => {
  const { birth: _, ...unborn } = LINK;

  it.each<readonly [string, NetLink, boolean]>([
    ["as it was", LINK, true],
    ["with another name", { ...LINK, name: "renamed" }, true],
    ["with another hardware address", { ...LINK, address: "ee:ee:ee:ee:ee:ee" }, true],
    ["with its other end elsewhere", { ...LINK, peerNetns: 9 }, true],
    ["with another birth", { ...LINK, birth: "4712" }, false],
    ["that sysfs does not describe", unborn, true],
    ["that sysfs does not describe, with another name", { ...unborn, name: "renamed" }, false],
    [
      "that sysfs does not describe, with another hardware address",
      { ...unborn, address: "02:00:00:00:00:08" },
      false,
    ],
    ["with another index", { ...LINK, ifindex: 8 }, false],
  ])("%s", (_, link, isSame) => {
    settled(path(), on(WEB));
    expect(openIncumbents(path()).of(at(link)).size).toBe(isSame ? 1 : 0);
  });
});

describe("what is retained", () => {
  const gone: Pod = {
    ...WEB,
    retained: {
      isolated: { ingress: false, egress: true },
      since: "2026-01-01T00:00:00Z",
      why: "its object was deleted",
    },
  };

  it("stays isolated as it was, and if it has become isolated, since the same time", () => {
    settled(path(), on(gone));
    expect(openIncumbents(path()).of(at(LINK)).get(7)).toMatchObject([
      {
        isolated: { ingress: true, egress: true },
        lost: { since: "2026-01-01T00:00:00Z", why: "its object was deleted" },
      },
    ]);
  });

  it("is not isolated permanently because it is isolated now", () => {
    settled(
      path(),
      on({ ...gone, retained: { ...gone.retained, sealed: true } as NonNullable<Pod["retained"]> }),
    );
    expect(openIncumbents(path()).of(at(LINK)).get(7)).toMatchObject([
      { isolated: { ingress: false, egress: true } },
    ]);
  });

  it("is not an unknown pod if it is recorded as none", () => {
    settled(path(), on(unknownPod("veth7")));
    const known = openIncumbents(path()).of(at(LINK));
    expect([known.has(7), known.get(7)]).toEqual([true, []]);
  });
});

describe("a file", () => {
  it("of another boot is ignored, though it can be read", () => {
    settled(path(), on(WEB));
    writeFileSync(path(), readFileSync(path(), "utf8").replace(/"boot":"[^"]*"/, '"boot":"another"'));
    const later = openIncumbents(path());
    expect([later.of(at(LINK)).size, later.isKnown, later.problems()]).toEqual([0, true, []]);
  });

  it("that is damaged anywhere is ignored, is a problem, and is replaced", () => {
    settled(path(), on(WEB));
    const whole = readFileSync(path(), "utf8");
    const damaged = [
      "",
      "[]",
      "{}",
      whole.slice(0, -9),
      whole.replace('"version":1', '"version":9'),
      whole.replace('"10.0.0.7"', '"10.0.0"'),
      whole.replace('"ingress":true', '"ingress":"yes"'),
      whole.replace('"TCP"', '"ICMP"'),
      whole.replace('"fd09::/64"', '"fd09::/640"'),
      whole.replace('"ifindex":7', '"ifindex":"7"'),
      whole.replace('"known":true', '"known":1'),
    ];
    for (const text of damaged) {
      expect(text).not.toBe(whole);
      writeFileSync(path(), text);
      const later = openIncumbents(path());
      expect([text, later.of(at(LINK)).size, later.isKnown, later.problems().length]).toEqual([
        text,
        0,
        false,
        1,
      ]);
      expect(later.problems()[0]).toMatchObject({ severity: "error", topic: "interface" });
      const force = settled(path(), on(WEB));
      expect(force.problems()).toEqual([]);
      expect(readFileSync(path(), "utf8")).toBe(whole);
    }
  });

  it("that cannot be written is a problem, and what is in memory goes on", () => {
    writeFileSync(join(root, "run"), "");
    const incumbents = settled(path(), on(WEB));
    expect([incumbents.of(at(LINK)).size, incumbents.problems().length]).toEqual([1, 1]);
  });
});

describe("whether cluster policies may be in force", () => {
  const settleWith = (...names: readonly string[]): void => {
    const all = cluster({ clusterPolicies: names.map((name) => clusterPolicy(name)) });
    openIncumbents(path()).settle([], { cluster: all, sides: [], tables: at(LINK) });
  };

  it("is recorded with what was enforced", () => {
    settleWith();
    expect(mayHaveHadClusterPolicies(path())).toBe(false);
    settleWith("deny");
    expect(mayHaveHadClusterPolicies(path())).toBe(true);
  });

  it("is assumed where nothing is recorded, in this boot, or the file is damaged", () => {
    expect(mayHaveHadClusterPolicies(path())).toBe(true);
    expect(mayHaveHadClusterPolicies(undefined)).toBe(true);
    settleWith();
    writeFileSync(path(), readFileSync(path(), "utf8").replace(/"boot":"[^"]*"/, '"boot":"another"'));
    expect(mayHaveHadClusterPolicies(path())).toBe(true);
    writeFileSync(path(), "{");
    expect(mayHaveHadClusterPolicies(path())).toBe(true);
  });
});
