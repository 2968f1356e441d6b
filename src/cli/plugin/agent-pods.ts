// The agents of a cluster: their pods by the API server, and commands run in them (exec), many at a time.

import { type RequestOptions, request } from "node:https";
import { Writable } from "node:stream";
import { Exec, KubeConfig, type V1Status } from "@kubernetes/client-node";
import { messageOf } from "../../base/errors.ts";
import { isMap, valueAt } from "../../source/parse/fields.ts";
import { CommandError, EXIT } from "../environment.ts";

/** As kubectl has them. */
export interface ClusterOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly cluster?: string;
  readonly user?: string;
  /** In milliseconds: of each request, and of each command. */
  readonly timeoutMs: number;
}

export interface AgentPod {
  readonly node: string;
  readonly namespace: string;
  readonly name: string;
  /** Why no command can be run there: its phase. */
  readonly phase?: string;
}

export interface Done {
  readonly exitCode: number;
  readonly stdout: string;
  /** The same as it came. */
  readonly bytes: Buffer;
  readonly stderr: string;
}

/** What one agent's command did, or why it could not be run. */
export type Outcome =
  | (Done & { readonly pod: AgentPod; readonly error?: never })
  | { readonly pod: AgentPod; readonly error: string };

export interface AgentPods {
  /** By node. */
  readonly pods: readonly AgentPod[];
  /** Runs `weir ARGS` in each of the pods, or in some of them. Never rejects. */
  run(args: readonly string[], pods?: readonly AgentPod[]): Promise<readonly Outcome[]>;
  /** The node of a pod (`namespace/name`); undefined if there is no such pod, or it has none. */
  nodeOf(pod: string): Promise<string | undefined>;
}

/** The agents' pods and their container, as in deploy/weir.yaml. */
export const SELECTOR = "app.kubernetes.io/name=weir,app.kubernetes.io/component=agent";
export const CONTAINER = "weir";
/** Commands at a time. */
const PARALLEL = 16;
const BYTES_MAX = 64 << 20;

/** @throws CommandError without a kubeconfig, without the rights, or without agents (exit code 4) */
export async function openAgentPods(options: ClusterOptions): Promise<AgentPods> {
  const config = configOf(options);
  const path = `/api/v1/pods?labelSelector=${encodeURIComponent(SELECTOR)}`;
  const list = await get(config, path, options.timeoutMs);
  const items = valueAt(list, ["items"]);
  const pods = (Array.isArray(items) ? items : []).flatMap(podIn).sort((a, b) => (a.node < b.node ? -1 : 1));
  if (pods.length === 0)
    throw new CommandError(`no pod with the labels ${SELECTOR} is in the cluster`, EXIT.notFound);
  const runOne = async (pod: AgentPod, args: readonly string[]): Promise<Outcome> => {
    if (pod.phase !== undefined) return { pod, error: `pod ${pod.namespace}/${pod.name} is ${pod.phase}` };
    try {
      return { pod, ...(await exec(config, pod, { args, timeoutMs: options.timeoutMs })) };
    } catch (thrown) {
      return { pod, error: messageOf(thrown) };
    }
  };
  return {
    pods,
    async run(args, chosen = pods) {
      const outcomes: Outcome[] = [];
      const entries = chosen.entries();
      const work = async (): Promise<void> => {
        for (const [at, pod] of entries) outcomes[at] = await runOne(pod, args);
      };
      await Promise.all(Array.from({ length: Math.min(PARALLEL, chosen.length) }, work));
      return outcomes;
    },
    async nodeOf(pod) {
      const [namespace = "", name = ""] = pod.split("/");
      const where = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
      const found = await get(config, where, options.timeoutMs).catch((thrown: unknown) => {
        if (thrown instanceof CommandError && thrown.exitCode === EXIT.notFound) return undefined;
        throw thrown;
      });
      const node = valueAt(found, ["spec", "nodeName"]);
      return typeof node === "string" ? node : undefined;
    },
  };
}

function configOf({ kubeconfig, context, cluster, user }: ClusterOptions): KubeConfig {
  const config = new KubeConfig();
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
  if (cluster !== undefined || user !== undefined) {
    const now = config.getContextObject(config.getCurrentContext());
    const name = "kubectl-weir";
    config.addContext({
      name,
      cluster: cluster ?? now?.cluster ?? "",
      user: user ?? now?.user ?? "",
    });
    config.setCurrentContext(name);
  }
  if (config.getCurrentCluster() === null)
    throw new CommandError("the kubeconfig names no cluster: use --kubeconfig or --context");
  return config;
}

function podIn(item: unknown): AgentPod[] {
  const [namespace, name] = [valueAt(item, ["metadata", "namespace"]), valueAt(item, ["metadata", "name"])];
  const [node, phase] = [valueAt(item, ["spec", "nodeName"]), valueAt(item, ["status", "phase"])];
  if (typeof namespace !== "string" || typeof name !== "string" || typeof node !== "string") return [];
  const isDeleted = valueAt(item, ["metadata", "deletionTimestamp"]) !== undefined;
  const state = isDeleted ? "Terminating" : String(phase ?? "Unknown");
  return [{ namespace, name, node, ...(state === "Running" ? {} : { phase: state }) }];
}

/** @throws CommandError: 4 if there is no such object, 6 if it may not be read */
async function get(config: KubeConfig, path: string, timeoutMs: number): Promise<unknown> {
  const options: RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  const server = config.getCurrentCluster()?.server ?? "";
  const { status, body } = await new Promise<{ readonly status: number; readonly body: string }>(
    (resolve, reject) => {
      const sent = request(server + path, { ...options, method: "GET" }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
        );
      });
      const timer = setTimeout(() => sent.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
      sent.on("close", () => clearTimeout(timer));
      sent.on("error", (error) => reject(new CommandError(`${server}: ${messageOf(error)}`)));
      sent.end();
    },
  );
  const value: unknown = parsed(body);
  if (status === 200 && isMap(value)) return value;
  const message = valueAt(value, ["message"]);
  const reason = typeof message === "string" ? message : `status ${status}`;
  const exitCode =
    status === 404 ? EXIT.notFound : status === 403 || status === 401 ? EXIT.forbidden : EXIT.error;
  throw new CommandError(`${server}: ${reason}`, exitCode);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** @throws Error if the command could not be run, or did not end in time */
function exec(
  config: KubeConfig,
  { namespace, name }: AgentPod,
  { args, timeoutMs }: { readonly args: readonly string[]; readonly timeoutMs: number },
): Promise<Done> {
  return new Promise((resolve, reject) => {
    const [stdout, stderr] = [collector(reject), collector(reject)];
    let socket: { terminate(): void; on(event: string, listener: (error: Error) => void): void } | undefined;
    let isEnded = false;
    const end = (settle: () => void): void => {
      isEnded = true;
      clearTimeout(timer);
      socket?.terminate();
      settle();
    };
    const timer = setTimeout(
      () => end(() => reject(new Error(`no answer within ${timeoutMs} ms`))),
      timeoutMs,
    );
    const onStatus = (status: V1Status): void =>
      end(() => {
        const exitCode = exitCodeOf(status);
        if (exitCode === undefined) reject(new Error(status.message ?? "the command could not be run"));
        else
          resolve({
            exitCode,
            stdout: stdout.bytes().toString(),
            bytes: stdout.bytes(),
            stderr: stderr.bytes().toString(),
          });
      });
    new Exec(config)
      .exec(
        namespace,
        name,
        CONTAINER,
        ["weir", ...args],
        stdout.stream,
        stderr.stream,
        null,
        false,
        onStatus,
      )
      .then((opened) => {
        socket = opened as unknown as NonNullable<typeof socket>;
        // Too late: an open connection would keep the process.
        if (isEnded) {
          socket.terminate();
          return;
        }
        socket.on("close", () => end(() => reject(new Error("the connection was closed"))));
        socket.on("error", (error) => end(() => reject(error)));
      })
      .catch((thrown: unknown) => end(() => reject(errorOf(thrown))));
  });
}

/** The client rejects with an event of the socket, whose message is in a field. */
function errorOf(thrown: unknown): Error {
  const message = valueAt(thrown, ["message"]);
  return thrown instanceof Error ? thrown : new Error(typeof message === "string" ? message : "exec failed");
}

/** Undefined if the command did not run to its end. */
function exitCodeOf({ status, details }: V1Status): number | undefined {
  if (status === "Success") return 0;
  const code = details?.causes?.find(({ reason }) => reason === "ExitCode")?.message;
  return code === undefined ? undefined : Number(code);
}

function collector(reject: (error: Error) => void): {
  readonly stream: Writable;
  readonly bytes: () => Buffer;
} {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const stream = new Writable({
    write(chunk: Buffer, _, done) {
      bytes += chunk.length;
      if (bytes > BYTES_MAX) reject(new Error(`more than ${BYTES_MAX} bytes`));
      else chunks.push(chunk);
      done();
    },
  });
  return { stream, bytes: () => Buffer.concat(chunks) };
}
