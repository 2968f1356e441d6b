// The cluster that the options of kubectl name, and requests to its API server.

import { request as httpRequest } from "node:http";
import { request as httpsRequest, type RequestOptions } from "node:https";
import { type Cluster, KubeConfig, type User } from "@kubernetes/client-node";
import { messageOf } from "../../base/errors.ts";
import { isMap, valueAt } from "../../source/parse/fields.ts";
import { CommandError, EXIT } from "../environment.ts";

/** As kubectl has them. */
export interface ClusterOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly cluster?: string;
  readonly user?: string;
  readonly server?: string;
  readonly token?: string;
  readonly as?: string;
  readonly asGroup?: readonly string[];
  readonly certificateAuthority?: string;
  readonly insecureSkipTlsVerify?: true;
  readonly tlsServerName?: string;
  /** In milliseconds: of each request, and of each command; 0 for unlimited. */
  readonly timeoutMs: number;
}

/** The library's impersonates users alone. */
class Config extends KubeConfig {
  groups: readonly string[] = [];

  override async applyToHTTPSOptions(options: RequestOptions): Promise<void> {
    await super.applyToHTTPSOptions(options);
    if (this.groups.length > 0)
      options.headers = { ...options.headers, "Impersonate-Group": [...this.groups] };
  }
}

/** @throws CommandError if the kubeconfig cannot be read, or has no such cluster */
export function openCluster(options: ClusterOptions): KubeConfig {
  const { kubeconfig, context } = options;
  const config = new Config();
  try {
    if (kubeconfig === undefined) config.loadFromDefault();
    else config.loadFromFile(kubeconfig);
  } catch (thrown) {
    throw new CommandError(`the kubeconfig cannot be read: ${messageOf(thrown)}`);
  }
  if (context !== undefined) {
    if (config.getContextObject(context) === null)
      throw new CommandError(`no context ${context} is in the kubeconfig`, EXIT.notFound);
    config.setCurrentContext(context);
  }
  override(config, options);
  if (config.getCurrentCluster() === null)
    throw new CommandError("the kubeconfig names no cluster: use --kubeconfig or --context");
  return config;
}

const OWN = "kubectl-weir";

/** A context of our own, with what the options change of the current one. */
function override(config: Config, options: ClusterOptions): void {
  const now = config.getContextObject(config.getCurrentContext());
  const cluster = clusterOf(config, options, now?.cluster);
  const user = userOf(config, options, now?.user);
  if (cluster === undefined && user === undefined) return;
  // The library throws if a name is taken.
  if (cluster !== undefined) config.addCluster({ ...cluster, name: OWN });
  if (user !== undefined) config.addUser({ ...user, name: OWN });
  config.addContext({
    name: OWN,
    cluster: cluster === undefined ? (now?.cluster ?? "") : OWN,
    user: user === undefined ? (now?.user ?? "") : OWN,
  });
  config.setCurrentContext(OWN);
  config.groups = options.asGroup ?? [];
}

/** Undefined if no option changes it. @throws CommandError if there is none of the name */
function clusterOf(
  config: Config,
  options: ClusterOptions,
  current: string | undefined,
): Cluster | undefined {
  const { cluster, server, certificateAuthority, insecureSkipTlsVerify, tlsServerName } = options;
  const changes = {
    ...(server === undefined ? {} : { server }),
    ...(insecureSkipTlsVerify === undefined ? {} : { skipTLSVerify: true }),
    ...(certificateAuthority === undefined ? {} : { caFile: certificateAuthority }),
    ...(tlsServerName === undefined ? {} : { tlsServerName }),
  };
  if (cluster === undefined && Object.keys(changes).length === 0) return undefined;
  const base = config.getCluster(cluster ?? current ?? "") ?? undefined;
  if (cluster !== undefined && base === undefined)
    throw new CommandError(`no cluster ${cluster} is in the kubeconfig`, EXIT.notFound);
  const { caData, ...rest } = base ?? { name: OWN, server: "", skipTLSVerify: false };
  // Data would win over the file.
  const isOwnAuthority = certificateAuthority === undefined && caData !== undefined;
  return { ...rest, ...(isOwnAuthority ? { caData } : {}), ...changes };
}

/** As `clusterOf`. */
function userOf(config: Config, options: ClusterOptions, current: string | undefined): User | undefined {
  const { user, token, as, asGroup = [] } = options;
  if (asGroup.length > 0 && as === undefined)
    throw new CommandError("--as-group is only for --as", EXIT.usage);
  if (user === undefined && token === undefined && as === undefined) return undefined;
  const base = config.getUser(user ?? current ?? "") ?? undefined;
  if (user !== undefined && base === undefined)
    throw new CommandError(`no user ${user} is in the kubeconfig`, EXIT.notFound);
  return {
    ...(token === undefined ? (base ?? { name: OWN }) : { name: OWN, token }),
    ...(as === undefined ? {} : { impersonateUser: as }),
  };
}

/** An object by its path. @throws CommandError: 4 if there is no such object, 6 if it may not be read */
export async function get(config: KubeConfig, path: string, timeoutMs: number): Promise<unknown> {
  const options: RequestOptions = {};
  try {
    await config.applyToHTTPSOptions(options);
  } catch (thrown) {
    throw new CommandError(`the credentials of the kubeconfig cannot be used: ${messageOf(thrown)}`);
  }
  const server = config.getCurrentCluster()?.server ?? "";
  const { status, body } = await answerOf(server + path, options, timeoutMs).catch((thrown: unknown) => {
    throw new CommandError(`${server}: ${messageOf(thrown)}`);
  });
  const value: unknown = parsed(body);
  if (status === 200 && isMap(value)) return value;
  const message = valueAt(value, ["message"]);
  const reason = typeof message === "string" ? message : `status ${status}`;
  const exitCode =
    status === 404 ? EXIT.notFound : status === 403 || status === 401 ? EXIT.forbidden : EXIT.error;
  throw new CommandError(`${server}: ${reason}`, exitCode);
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

function answerOf(url: string, options: RequestOptions, timeoutMs: number): Promise<Answer> {
  const request = url.startsWith("http://") ? httpRequest : httpsRequest;
  return new Promise((resolve, reject) => {
    const sent = request(url, { ...options, method: "GET" }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      );
    });
    const late = (): void => void sent.destroy(new Error(`no answer within ${timeoutMs} ms`));
    const timer = timeoutMs === 0 ? undefined : setTimeout(late, timeoutMs);
    sent.on("close", () => clearTimeout(timer));
    sent.on("error", reject);
    sent.end();
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
