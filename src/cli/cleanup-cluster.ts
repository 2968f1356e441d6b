// Waits until the DaemonSet that cleans up on every node of a cluster has done so: for the chart's uninstall hook.

import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../base/errors.ts";
import { printable } from "../observe/text-output.ts";
import { type CredentialOptions, openCredentials } from "../source/apiserver/credentials.ts";
import { type Client, openClient, textOf } from "../source/apiserver/http-client.ts";
import { TIMING } from "../source/apiserver/request-timing.ts";
import { valueAt } from "../source/parse/fields.ts";
import { CommandError, type Output } from "./environment.ts";

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
