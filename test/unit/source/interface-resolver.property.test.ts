// Random histories of pods, claims and links: a resolver that has followed them finds what one without a history finds.

import fc from "fast-check";
import { expect, test } from "vitest";
import { randomFrom } from "../../../bench/common/random.ts";
import { openIncumbents } from "../../../src/agent/interface-history.ts";
import { openAppearances } from "../../../src/agent/interface-tracking.ts";
import { patched } from "../../../src/base/versioned-map.ts";
import { type Cluster, EMPTY_CLUSTER, keyOf, type Pod } from "../../../src/model/cluster.ts";
import type { NodeTables } from "../../../src/node/node-tables.ts";
import {
  type ClaimedInterface,
  openInterfaceResolver,
  type Resolved,
  resolveInterfaces,
} from "../../../src/source/interface-discovery.ts";
import { address, namespace, pod } from "../../support/model.ts";
import { route, tables, veth } from "../node/tables.ts";

const HERE = "here";
const ADDRESSES = [1, 2, 3, 4, 5, 6].map((last) => `10.0.0.${last}`);
const STEPS = 150;

const textOf = ({ cluster, found, missing, problems }: Resolved): string =>
  JSON.stringify(
    {
      found,
      missing,
      problems,
      held: cluster.ownership?.held,
      appeared: cluster.ownership?.appeared,
      pods: new Map([...cluster.pods].sort(([a], [b]) => (a < b ? -1 : 1))),
    },
    (_, value: unknown) => {
      if (typeof value === "bigint") return String(value);
      return value instanceof Map ? [...value] : value;
    },
  );

const seeds = fc.sample(fc.integer(), { numRuns: 20 });

/** How often the resolver found that nothing has changed for this node. */
let kept = 0;

test.each(seeds)("history %i", { timeout: 120_000 }, (seed) => {
  const random = randomFrom(seed);
  const pick = <T>(all: readonly T[]): T => all[random.below(all.length)] as T;
  const incumbents = openIncumbents(undefined);
  const appearances = openAppearances();
  const resolver = openInterfaceResolver();
  const space = namespace("x");
  let cluster: Cluster = { ...EMPTY_CLUSTER, namespaces: new Map([["x", space]]), nodes: new Map() };
  let known: NodeTables = tables([], {});
  let claims: readonly ClaimedInterface[] = [];
  const adopted = new Map();
  const podAt = (): Pod => ({
    ...pod(
      `x/${pick(["a", "b", "c", "d"])}`,
      ADDRESSES.filter(() => random.below(6) === 0),
    ),
    node: pick([HERE, "there", "elsewhere"]),
    uid: pick(["1", "2"]),
    finished: random.below(8) === 0,
    ...(random.below(8) === 0 ? { deleting: true } : {}),
  });
  const linksOf = (): NodeTables => {
    const links = [1, 2, 3].filter(() => random.below(4) > 0);
    // The third leads to the namespace of the first, as a further interface of its pod.
    const namespaceOf = (n: number): number => (n === 3 ? 1 : n);
    const inside = links.map((n) => ({
      ...{ ifindex: n, family: 4 as const, address: pick(ADDRESSES), length: 32, scope: 0, flags: 0 },
    }));
    return tables(
      links.map((n) => ({ ...veth(n, `v${n}`, namespaceOf(n)), peer: n, birth: `b${n}` })),
      {
        inside: Map.groupBy(inside, ({ ifindex }) => namespaceOf(ifindex)),
        routes: links.map((n) => route(`${pick(ADDRESSES)}/32`, n)),
      },
    );
  };
  known = linksOf();
  let last: Resolved["found"] | undefined;
  for (let step = 0; step < STEPS; step += 1) {
    const what = random.below(20);
    if (what === 0) known = linksOf();
    else if (what === 1) claims = [];
    else if (what === 2) {
      const ifindex = pick([1, 2, 3]);
      claims = [
        { ifindex, name: `v${ifindex}`, pod: `x/${pick(["a", "b"])}`, addresses: [address(pick(ADDRESSES))] },
      ];
    } else {
      const next = podAt();
      const value = random.below(4) === 0 ? undefined : next;
      cluster = { ...cluster, pods: patched(cluster.pods, new Map([[keyOf(next), value]])) };
    }
    const options = {
      node: HERE,
      claims,
      adopted,
      incumbents: incumbents.of(known),
      bound: incumbents.hardwareOf(known),
      appeared: appearances.see(cluster.pods),
      now: "now",
    };
    const node = { tables: () => known, idOf: () => undefined };
    const followed = resolver(cluster, node, options);
    expect(textOf(followed), `step ${step} of seed ${seed}`).toBe(
      textOf(resolveInterfaces(cluster, node, options)),
    );
    if (followed.found === last) kept += 1;
    last = followed.found;
    incumbents.settle(followed.found, { cluster: followed.cluster, sides: [], tables: known });
  }
});

test("what is of no concern to this node is not resolved again", () => {
  expect(kept).toBeGreaterThan(0);
});
