// Whether the API server answers, and lets this agent list what it follows: for `weir check node`.

import { type CredentialOptions, openCredentials } from "./credentials.ts";
import { type Client, openClient, textOf } from "./http-client.ts";
import { Failure } from "./request-failure.ts";
import { TIMING } from "./request-timing.ts";
import { KINDS, type Kind, SERVED } from "./resource-kinds.ts";

export interface Listed {
  readonly kind: Kind;
  readonly error?: unknown;
}

const BYTES_MAX = 8 << 20;

/** Lists one object of each kind. Never rejects. */
export async function listOne(credentials: CredentialOptions, signal: AbortSignal): Promise<Listed[]> {
  let client: Client | undefined;
  try {
    client = openClient(openCredentials(credentials), TIMING, "weir-check");
    const listed: Listed[] = [];
    for (const kind of KINDS) listed.push({ kind, ...(await failureOfList(client, kind, signal)) });
    return listed;
  } catch (error) {
    return KINDS.map((kind) => ({ kind, error }));
  } finally {
    client?.close();
  }
}

async function failureOfList(
  client: Client,
  kind: Kind,
  signal: AbortSignal,
): Promise<Pick<Listed, "error">> {
  let error: unknown;
  for (const { path } of SERVED[kind]) {
    try {
      await textOf(await client.get(`${path}?limit=1`, signal), path, BYTES_MAX);
      return {};
    } catch (thrown) {
      error = thrown;
      if (!(thrown instanceof Failure) || thrown.status !== 404) break;
    }
  }
  return { error };
}
