// What the agent uses, compared with what the API server holds: every object, read independently of how the agent follows them.

import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { type Cluster, clusterFromWire, toWire } from "../../src/model/cluster.ts";
import { ask } from "../../src/observe/socket-client.ts";
import { parseDocument } from "../../src/source/parse/parse-document.ts";
import type { Api, Manifest } from "./api.ts";
import { KINDS, sliceVersion } from "./objects.ts";

const SETTLE_MS_MAX = 15_000;
const POLL_MS = 25;
const DIFFERENCES_SHOWN = 5;

/** Objects by kind, key and field. */
type Known = ReadonlyMap<string, unknown>;

/** All fields on the server that Weir uses. */
export async function heldBy(api: Api): Promise<Known> {
  const known = new Map<string, unknown>();
  const kinds = [["v1", "Namespace"], ...KINDS, [await sliceVersion(api), "EndpointSlice"]] as const;
  for (const [apiVersion, kind] of kinds) {
    for (const object of await api.list(apiVersion, kind)) {
      const [parsed] = parseDocument(inVersion1(object), { where: () => ({}) }).objects;
      if (parsed?.value === undefined) throw new Error(`${kind} ${object.metadata.name} cannot be read`);
      // As the last object that was received.
      const told = JSON.parse(JSON.stringify(toWire(parsed.value)));
      known.set(`${kind} ${keyOf(object)}`, comparable(clusterFromWire(told)));
    }
  }
  return known;
}

function keyOf({ metadata: { namespace, name } }: Manifest): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

interface BetaEndpoint {
  readonly topology?: { readonly "kubernetes.io/hostname"?: string };
}

function inVersion1(object: Manifest): Manifest {
  if (object.apiVersion !== "discovery.k8s.io/v1beta1") return object;
  const endpoints = ((object["endpoints"] ?? []) as readonly BetaEndpoint[]).map(
    ({ topology, ...endpoint }) => {
      const nodeName = topology?.["kubernetes.io/hostname"];
      return nodeName === undefined ? endpoint : { ...endpoint, nodeName };
    },
  );
  return { ...object, apiVersion: "discovery.k8s.io/v1", endpoints };
}

/** Without fields that only describe how the object was created, and without annotations of pods, which may be ignored (tenants.test.ts). */
function comparable(value: object): unknown {
  const left = ["uid", "attachment", "sources"];
  return Object.fromEntries(Object.entries(value).filter(([key]) => !left.includes(key)));
}

/** What the agent enforces; undefined before the first time. */
async function inForce(socket: string): Promise<Known | undefined> {
  const view = await ask<{ cluster: unknown }>(socket, "/v1/cluster").catch(() => undefined);
  if (view === undefined) return undefined;
  const cluster: Cluster = clusterFromWire(view.cluster);
  const tables = [
    ["Namespace", cluster.namespaces],
    ["NetworkPolicy", cluster.policies],
    ["Pod", cluster.pods],
    ["Service", cluster.services],
    ["EndpointSlice", cluster.slices],
  ] as const;
  const entries = tables.flatMap(([kind, table]) =>
    [...table].map(([key, value]) => [`${kind} ${key}`, comparable(value)] as const),
  );
  return new Map(entries);
}

function differences(held: Known, known: Known | undefined): string[] {
  if (known === undefined) return ["nothing is in force"];
  const missing = [...held.keys()].filter((key) => !known.has(key)).map((key) => `${key} is not known`);
  const stray = [...known.keys()].filter((key) => !held.has(key)).map((key) => `${key} is gone, but known`);
  const other = [...held].filter(
    ([key, value]) => known.has(key) && !isDeepStrictEqual(value, known.get(key)),
  );
  return [...missing, ...stray, ...other.map(([key]) => `${key} is known otherwise`)];
}

/**
 * Waits until the agent enforces all that the server holds at the moment of the call, and nothing else; returns how long
 * that took, in milliseconds. @throws Error with the differences if it does not
 */
export async function settled(api: Api, socket: string, waitMsMax = SETTLE_MS_MAX): Promise<number> {
  const startedAt = performance.now();
  const held = await heldBy(api);
  for (;;) {
    const found = differences(held, await inForce(socket));
    const afterMs = performance.now() - startedAt;
    if (found.length === 0) return afterMs;
    if (afterMs > waitMsMax) {
      const more = found.length > DIFFERENCES_SHOWN ? ` and ${found.length - DIFFERENCES_SHOWN} more` : "";
      throw new Error(
        `after ${Math.round(afterMs)} ms: ${found.slice(0, DIFFERENCES_SHOWN).join("; ")}${more}`,
      );
    }
    await sleep(POLL_MS);
  }
}
