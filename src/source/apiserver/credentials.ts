// The server and the credentials: a kubeconfig or the pod's own service account, read again when it may have changed.

import { readFileSync, statSync } from "node:fs";
import { Agent as HttpAgent } from "node:http";
import { Agent, type RequestOptions } from "node:https";
import { dirname, resolve } from "node:path";
import { KubeConfig } from "@kubernetes/client-node";
import { parse } from "yaml";
import { messageOf, OperationError } from "../../base/errors.ts";
import { isMap, valueAt } from "../parse/fields.ts";

export type CredentialOptions =
  | { readonly from: "kubeconfig"; readonly path: string; readonly context?: string }
  /** `root` is a prefix of the paths of the service account's files. */
  | { readonly from: "cluster"; readonly root?: string };

/** What a request is made with. */
export interface Access {
  /** Without a slash at its end. */
  readonly server: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly agent: HttpAgent;
}

export interface Credentials {
  /** For status: the server and where its address is from. */
  readonly text: string;
  /** Reads what may have changed: token, certificates. Errors: whatever is wrong with them. */
  access(): Promise<Access>;
  /** After a refusal: everything is read again. */
  renew(): void;
  close(): void;
}

interface Loaded {
  readonly config: KubeConfig;
  /** Modification time of the kubeconfig; 0 in a cluster. */
  readonly stamp: number;
  readonly server: string;
  readonly tokenFile: string | undefined;
  readonly proxied: boolean;
}

/** Idle connections are kept for the next request, and probed like those that Go's client makes. */
const KEEP_ALIVE_MS = 30_000;

/** Errors: OperationError where there is no such file, context, cluster or user. */
export function openCredentials(options: CredentialOptions): Credentials {
  let loaded = load(options);
  let stale = false;
  let agent: { readonly key: string; readonly agent: HttpAgent } | undefined;
  const current = (): Loaded => {
    if (stale || stampOf(options) !== loaded.stamp) loaded = load(options);
    stale = false;
    return loaded;
  };
  return {
    text: `${loaded.server} (${options.from === "cluster" ? "in cluster" : options.path})`,
    async access() {
      const { config, server, tokenFile, proxied } = current();
      const tls: RequestOptions = {};
      await config.applyToHTTPSOptions(tls);
      const { ca, cert, key, rejectUnauthorized, servername } = tls;
      const material = { ca, cert, key, rejectUnauthorized, servername };
      const id = JSON.stringify([server, material]);
      if (agent?.key !== id) {
        // The connections of the old one end with the requests on them.
        const made = { ...withoutUndefined(material), keepAlive: true, keepAliveMsecs: KEEP_ALIVE_MS };
        agent = { key: id, agent: server.startsWith("https:") ? new Agent(made) : new HttpAgent(made) };
      }
      return {
        server,
        headers: headersOf(tls, tokenFile),
        // Only client-node supports proxies.
        agent: proxied && tls.agent instanceof HttpAgent ? tls.agent : agent.agent,
      };
    },
    renew() {
      stale = true;
    },
    close: () => agent?.agent.destroy(),
  };
}

const withoutUndefined = (value: object): object =>
  Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined && each !== null));

function headersOf({ headers, auth }: RequestOptions, tokenFile: string | undefined): Record<string, string> {
  const given: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers ?? {}))
    if (name.toLowerCase() !== "authorization" || tokenFile === undefined) given[name] = String(value).trim();
  // Always from the file: the kubelet replaces it before the token in it expires.
  if (tokenFile !== undefined) given["Authorization"] = `Bearer ${readFileSync(tokenFile, "utf8").trim()}`;
  else if (auth) given["Authorization"] = `Basic ${Buffer.from(auth).toString("base64")}`;
  return given;
}

function stampOf(options: CredentialOptions): number {
  return options.from === "cluster" ? 0 : (statSync(options.path, { throwIfNoEntry: false })?.mtimeMs ?? 0);
}

function load(options: CredentialOptions): Loaded {
  const stamp = stampOf(options);
  const config = new KubeConfig();
  try {
    if (options.from === "cluster") config.loadFromCluster(options.root);
    else config.loadFromFile(options.path);
    if (options.from === "kubeconfig" && options.context !== undefined)
      config.setCurrentContext(options.context);
    const { server, proxyUrl } = clusterIn(config);
    return { config, stamp, server, tokenFile: tokenFileOf(config, options), proxied: Boolean(proxyUrl) };
  } catch (error) {
    const object = options.from === "cluster" ? "the pod's service account" : options.path;
    throw new OperationError(messageOf(error), { operation: "read", object, cause: error });
  }
}

function clusterIn(config: KubeConfig): { readonly server: string; readonly proxyUrl?: string | undefined } {
  const name = config.getCurrentContext();
  if (!name) throw new Error("current-context is missing; set it to a context of the file");
  const context = config.getContextObject(name);
  const there = config.getContexts().map((each) => each.name);
  if (!context) throw new Error(`has no context ${name}; expected one of ${there.join(", ") || "none"}`);
  const cluster = config.getCluster(context.cluster);
  if (!cluster) throw new Error(`contexts[${name}].cluster: there is no cluster ${context.cluster}`);
  // Without a user client-node would not even apply the cluster's certificate authority.
  if (!config.getUser(context.user))
    throw new Error(`contexts[${name}].user: there is no user ${context.user}`);
  if (!/^https?:\/\//.test(cluster.server) || !URL.canParse(cluster.server))
    throw new Error(`clusters[${cluster.name}].cluster.server: ${cluster.server} is not an HTTP URL`);
  return cluster;
}

/** The file that the token is in. client-node has a kubeconfig's `tokenFile` under another name, and reads it once. */
function tokenFileOf(config: KubeConfig, options: CredentialOptions): string | undefined {
  const user = config.getCurrentUser();
  if (options.from === "cluster") return user?.authProvider?.config?.tokenFile;
  const document: unknown = parse(readFileSync(options.path, "utf8"));
  const users = valueAt(document, ["users"]);
  const entry = Array.isArray(users) ? users.find((each) => isMap(each) && each["name"] === user?.name) : [];
  const file = valueAt(entry, ["user", "tokenFile"]);
  return typeof file === "string" && !user?.token ? resolve(dirname(options.path), file) : undefined;
}
