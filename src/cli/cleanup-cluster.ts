// Cleanup through the API server: waiting for the nodes, and removing the node condition.

import { setTimeout as sleep } from "node:timers/promises";
import { CONDITION_TYPE } from "../agent/kubernetes/node-condition.ts";
import { messageOf } from "../base/errors.ts";
import { printable } from "../observe/text-output.ts";
import { type CredentialOptions, openCredentials } from "../source/apiserver/credentials.ts";
import { type Client, openClient, textOf } from "../source/apiserver/http-client.ts";
import { TIMING } from "../source/apiserver/request-timing.ts";
import { isMap, valueAt } from "../source/parse/fields.ts";
import { CommandError, type Output } from "./environment.ts";

// Waits until the DaemonSet that cleans up on every node of a cluster has done so: for the chart's uninstall hook.

export interface Waiting {
  readonly namespace: string;
  readonly name: string;
  readonly credentials: CredentialOptions;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Where it says how far it is, each time that changes. */
  readonly out: Output;
}

const ASK_AGAIN_MS = 1_000;
const BYTES_MAX = 1 << 20;

/** @throws CommandError where not all nodes are clean in time */
export async function waitForNodes({ namespace, name, credentials, ...rest }: Waiting): Promise<void> {
  const { timeoutMs, signal, out } = rest;
  const client = openClient(openCredentials(credentials), TIMING, "weir-cleanup");
  const path = `/apis/apps/v1/namespaces/${namespace}/daemonsets/${name}`;
  const ending = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  let last = "";
  try {
    for (;;) {
      const seen = await progressOf(client, path, ending);
      if (seen.text !== last && !ending.aborted) out.write(`${printable(seen.text)}\n`);
      if (seen.done) return;
      if (ending.aborted) {
        last ||= seen.text;
        break;
      }
      last = seen.text;
      await sleep(ASK_AGAIN_MS, undefined, { signal: ending }).catch(() => undefined);
    }
  } finally {
    client.close();
  }
  const why = signal.aborted ? "it was stopped" : `${timeoutMs / 1000} s have passed`;
  throw new CommandError(
    `${why}, and not every node is clean: ${last}; which: kubectl -n ${namespace} get pods -o wide | grep ${name}`,
  );
}

interface Progress {
  readonly done: boolean;
  readonly text: string;
}

/** Never throws: the API server may be away for a while. */
async function progressOf(client: Client, path: string, signal: AbortSignal): Promise<Progress> {
  let object: unknown;
  try {
    object = JSON.parse(await textOf(await client.get(path, signal), path, BYTES_MAX));
  } catch (error) {
    return { done: false, text: messageOf(error) };
  }
  const numberAt = (...at: string[]): number => {
    const value = valueAt(object, at);
    return typeof value === "number" ? value : 0;
  };
  if (numberAt("status", "observedGeneration") < numberAt("metadata", "generation"))
    return { done: false, text: "the DaemonSet is not yet on the nodes" };
  const nodes = numberAt("status", "desiredNumberScheduled");
  const clean = numberAt("status", "numberReady");
  return { done: clean >= nodes, text: `${clean} of ${nodes} nodes are clean` };
}

// Removes the agents' condition from all nodes: it outlives the agents, and their rights end with them.

/** A node names all its images: some tens of kB each. */
const PAGE_NODES = 50;

export interface Removing {
  readonly credentials: CredentialOptions;
  readonly signal: AbortSignal;
}

/** Gives the names of the nodes that had it. @throws CommandError where one of them keeps it */
export async function removeConditions({ credentials, signal }: Removing): Promise<readonly string[]> {
  const client = openClient(openCredentials(credentials), TIMING, "weir-cleanup");
  try {
    const names = await nodesWithCondition(client, signal);
    for (const name of names) {
      const body = { status: { conditions: [{ type: CONDITION_TYPE, $patch: "delete" }] } };
      const type = "application/strategic-merge-patch+json";
      await client.send({ method: "PATCH", path: `/api/v1/nodes/${name}/status`, body, type }, signal);
    }
    return names;
  } catch (thrown) {
    throw new CommandError(`the condition ${CONDITION_TYPE} stays on nodes: ${messageOf(thrown)}`);
  } finally {
    client.close();
  }
}

async function nodesWithCondition(client: Client, signal: AbortSignal): Promise<readonly string[]> {
  const names: string[] = [];
  let next = "";
  do {
    const path = `/api/v1/nodes?limit=${PAGE_NODES}&continue=${encodeURIComponent(next)}`;
    const page: unknown = await client.send({ method: "GET", path }, signal);
    const items: unknown = valueAt(page, ["items"]);
    for (const node of Array.isArray(items) ? items : []) {
      const name: unknown = valueAt(node, ["metadata", "name"]);
      const conditions: unknown = valueAt(node, ["status", "conditions"]);
      if (typeof name !== "string" || !Array.isArray(conditions)) continue;
      if (conditions.some((each) => isMap(each) && each["type"] === CONDITION_TYPE)) names.push(name);
    }
    const token: unknown = valueAt(page, ["metadata", "continue"]);
    next = typeof token === "string" ? token : "";
  } while (next !== "");
  return names;
}
