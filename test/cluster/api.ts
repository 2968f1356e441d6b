// A client of the API server that sends and takes plain JSON: typed clients rename or drop fields of policies.

import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** An object as the API has it. */
export interface Manifest {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly resourceVersion?: string;
    readonly [key: string]: unknown;
  };
  readonly [key: string]: unknown;
}

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** Closes the connection only: the server itself may be away, and come back at the same address. */
export interface ApiOptions {
  /** As in "https://127.0.0.1:6443". */
  readonly url: string;
  /** File with the certificate of the server's authority; read at the first request. */
  readonly ca: string;
  readonly token: string;
}

const TIMEOUT_MS = 20_000;
const CONNECTIONS_MAX = 16;

/** The resource's name in paths, by kind. */
const RESOURCES: Readonly<Record<string, string>> = {
  NetworkPolicy: "networkpolicies",
  EndpointSlice: "endpointslices",
  ClusterNetworkPolicy: "clusternetworkpolicies",
};

const PAGE = 500;

interface Page {
  readonly items: readonly Manifest[];
  readonly metadata: { readonly continue?: string };
}

export type Api = ReturnType<typeof openApi>;

export function openApi({ url, ca, token }: ApiOptions) {
  let agent: Agent | undefined;

  /** One request; rejects only if there is no answer. */
  function call(method: string, path: string, body?: unknown): Promise<Answer> {
    agent ??= new Agent({ ca: readFileSync(ca), keepAlive: true, maxSockets: CONNECTIONS_MAX });
    const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
    const headers = { authorization: `Bearer ${token}`, accept: "application/json", "content-type": type };
    return new Promise((resolve, reject) => {
      const sent = request(url + path, { method, agent, headers, timeout: TIMEOUT_MS }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          resolve({ status: response.statusCode ?? 0, body: parsed(Buffer.concat(chunks).toString()) });
        });
      });
      sent.on("timeout", () => sent.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
      sent.on("error", reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** One request that must succeed: the body of its answer. @throws Error with the server's reason */
  async function must<T = Manifest>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await call(method, path, body);
    if (answer.status < 300) return answer.body as T;
    const reason = (answer.body as { message?: string } | undefined)?.message ?? JSON.stringify(answer.body);
    throw new Error(`${method} ${path}: status ${answer.status}: ${reason}`);
  }

  return {
    url,
    call,
    must,
    create: (object: Manifest) => must("POST", collectionOf(object), object),
    /** Replaces the whole object, whatever its version was. */
    async replace(object: Manifest): Promise<Manifest> {
      const path = pathOf(object);
      const { metadata } = await must("GET", path);
      const { resourceVersion, ...rest } = object.metadata;
      // A Service keeps the fields that the server has set.
      const version = { resourceVersion: metadata.resourceVersion };
      return must("PUT", path, { ...object, metadata: { ...rest, ...version } });
    },
    /** JSON merge patch. */
    patch: (object: Manifest, change: object, subresource = "") =>
      must("PATCH", `${pathOf(object)}${subresource}`, change),
    remove: (object: Manifest) => must("DELETE", `${pathOf(object)}?gracePeriodSeconds=0`),
    /** All objects of a kind, read page by page. */
    async list(apiVersion: string, kind: string, namespace?: string): Promise<readonly Manifest[]> {
      const path = collectionOf({ apiVersion, kind, metadata: { name: "", namespace: namespace ?? "" } });
      const found: Manifest[] = [];
      let next = "";
      do {
        const page = await must<Page>("GET", `${path}?limit=${PAGE}&continue=${encodeURIComponent(next)}`);
        for (const item of page.items) found.push({ ...item, apiVersion, kind });
        next = page.metadata.continue ?? "";
      } while (next !== "");
      return found;
    },
    close: () => agent?.destroy(),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** The path for objects of this one's kind and namespace. */
export function collectionOf({ apiVersion = "v1", kind = "", metadata }: Manifest): string {
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const resource = RESOURCES[kind] ?? `${kind.toLowerCase()}s`;
  return metadata.namespace ? `${root}/namespaces/${metadata.namespace}/${resource}` : `${root}/${resource}`;
}

export const pathOf = (object: Manifest): string => `${collectionOf(object)}/${object.metadata.name}`;
