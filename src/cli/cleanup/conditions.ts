// Removes the agents' condition from all nodes: it outlives the agents, and their rights end with them.

import { CONDITION_TYPE } from "../../agent/kubernetes/node-condition.ts";
import { messageOf } from "../../base/errors.ts";
import { type CredentialOptions, openCredentials } from "../../source/apiserver/credentials.ts";
import { type Client, openClient } from "../../source/apiserver/http-client.ts";
import { TIMING } from "../../source/apiserver/request-timing.ts";
import { isMap, valueAt } from "../../source/parse/fields.ts";
import { CommandError } from "../environment.ts";

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
