// A scripted server and the reflector that follows it, with times short enough for tests; and whether the two agree.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished } from "vitest";
import { openLog } from "../../../../src/base/log.ts";
import type { ClusterSnapshot, KindHealth } from "../../../../src/model/cluster-snapshot.ts";
import { selectorText } from "../../../../src/model/selector.ts";
import {
  type ApiServer,
  type ApiServerOptions,
  openApiServer,
} from "../../../../src/source/apiserver/apiserver-source.ts";
import type { Timing } from "../../../../src/source/apiserver/request-timing.ts";
import type { Kind } from "../../../../src/source/apiserver/resource-kinds.ts";
import { valueAt } from "../../../../src/source/parse/fields.ts";
import { type Objects, openObjects, openServer, type RawObject, type ServerOptions } from "./server.ts";

export const NODE = "node-1";

const QUICK: Partial<Timing> = {
  pageObjects: 3,
  answerMs: 1_000,
  pageMs: 1_500,
  initialMs: 2_000,
  idleMs: 1_500,
  lineMs: 1_000,
  watchMs: [60_000, 120_000],
  relistMs: [600_000, 1_200_000],
  retryMs: [20, 200],
  troubleMs: 300,
  onceMs: 20_000,
};

export const pod = (name: string, address: string, labels = { app: name }): RawObject => ({
  metadata: { name, namespace: "shop", labels },
  spec: { nodeName: NODE, containers: [{ name: "main", ports: [{ containerPort: 80, name: "http" }] }] },
  status: { phase: "Running", podIP: address, podIPs: [{ ip: address }] },
});

export const policy = (name: string, app: string): RawObject => ({
  metadata: { name, namespace: "shop" },
  spec: { podSelector: { matchLabels: { app } }, policyTypes: ["Ingress"], ingress: [] },
});

/** Something of every kind. */
export function someObjects(): Objects {
  const objects = openObjects();
  objects.put("Namespace", { metadata: { name: "shop", labels: { team: "a" } } });
  objects.put("Node", { metadata: { name: NODE } });
  objects.put("Node", { metadata: { name: "node-2" } });
  for (let index = 1; index <= 8; index += 1) objects.put("Pod", pod(`web-${index}`, `10.0.0.${index}`));
  objects.put("NetworkPolicy", policy("deny", "web-1"));
  objects.put("Service", {
    metadata: { name: "web", namespace: "shop" },
    spec: {
      clusterIP: "10.96.0.1",
      clusterIPs: ["10.96.0.1"],
      ports: [{ port: 80 }],
      selector: { app: "web" },
    },
  });
  objects.put("EndpointSlice", {
    metadata: { name: "web-x", namespace: "shop", labels: { "kubernetes.io/service-name": "web" } },
    addressType: "IPv4",
    endpoints: [{ addresses: ["10.0.0.1"], nodeName: NODE }],
    ports: [{ port: 80, name: "" }],
  });
  return objects;
}

export interface WorldOptions extends ServerOptions {
  readonly objects?: Objects;
  readonly timing?: Partial<Timing>;
  /** Lines of the kubeconfig's cluster and user, as JSON. */
  readonly cluster?: Readonly<Record<string, unknown>>;
  readonly user?: Readonly<Record<string, unknown>>;
  /** In bytes. */
  readonly memory?: ApiServerOptions["memory"];
  /** What an earlier agent has read is not in force. */
  readonly fresh?: true;
  /** The server is absent at first. */
  readonly down?: boolean;
}

export type World = Awaited<ReturnType<typeof openWorld>>;

export async function openWorld({ objects = someObjects(), ...options }: WorldOptions = {}) {
  const directory = mkdtempSync(join(tmpdir(), "weir-apiserver-"));
  let server = await openServer(objects, options);
  const { port } = server;
  if (options.down) await server.close();
  const kubeconfig = join(directory, "kubeconfig");
  const writeKubeconfig = (cluster = options.cluster, user = options.user): void => {
    const whole = {
      server: server.url,
      ...(options.tls ? {} : { "insecure-skip-tls-verify": true }),
      ...cluster,
    };
    writeFileSync(kubeconfig, kubeconfigText(whole, user ?? { token: "token-1" }));
  };
  writeKubeconfig();
  const log: string[] = [];
  const source = openApiServer(
    {
      credentials: { from: "kubeconfig", path: kubeconfig },
      node: NODE,
      timing: { ...QUICK, ...options.timing },
      ...(options.memory === undefined ? {} : { memory: options.memory }),
    },
    {
      ...{ log: logTo(log), now: () => new Date(), version: "test" },
      mayEnforceEarlier: () => options.fresh !== true,
    },
  );
  const readings: ClusterSnapshot[] = [];
  const stop = new AbortController();
  const watching = source.watch((reading) => readings.push(reading), stop.signal);
  const close = async (): Promise<void> => {
    stop.abort();
    await watching;
    await server.close();
  };
  onTestFinished(async () => {
    await close();
    rmSync(directory, { recursive: true });
  });
  return {
    directory,
    objects,
    source,
    readings,
    log,
    writeKubeconfig,
    close,
    get server() {
      return server;
    },
    last: () => readings.at(-1),
    /** The server starts (again) at its old address. */
    async start(changed: ServerOptions = {}) {
      server = await openServer(objects, { ...options, ...changed, port });
    },
    kind: (kind: Kind): KindHealth => kindOf(source, kind),
    /** Waits until the reflector has what the server holds, and returns how long that took. */
    converged: (what: string) => converged({ objects, readings, log, source }, what),
  };
}

const kindOf = (source: ApiServer, kind: Kind): KindHealth => {
  const found = source.health().kinds.find((each) => each.kind === kind);
  if (found === undefined) throw new Error(`${kind} is not followed`);
  return found;
};

const logTo = (lines: string[]) =>
  openLog({
    level: "debug",
    format: "text",
    write: (text) => lines.push(text.trimEnd()),
    now: () => new Date(),
  });

export const kubeconfigText = (cluster: unknown, user: unknown): string =>
  JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "test",
    clusters: [{ name: "test", cluster }],
    users: [{ name: "test", user }],
    contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
  });

/** Far more than anything here takes, even on a busy machine. */
const CONVERGE_MS = 60_000;

interface Converging {
  readonly objects: Objects;
  readonly readings: readonly ClusterSnapshot[];
  readonly log: readonly string[];
  readonly source: ApiServer;
}

async function converged({ objects, readings, log, source }: Converging, what: string): Promise<void> {
  const begun = performance.now();
  const agrees = (): boolean => {
    const reading = readings.at(-1);
    if (reading?.readable !== true) return false;
    return source.health().kinds.every(({ state }) => state === "following") && isDeepEqual(reading, objects);
  };
  while (!agrees()) {
    if (performance.now() - begun > CONVERGE_MS) {
      const reading = readings.at(-1);
      expect({ readable: reading?.readable, log, state: reading && told(reading) }).toEqual(
        expected(objects),
      );
      throw new Error("the state is right, but not every kind is followed");
    }
    await sleep(5);
  }
  console.info(`converged after ${(performance.now() - begun).toFixed(0)} ms: ${what}`);
}

const isDeepEqual = (reading: ClusterSnapshot, objects: Objects): boolean =>
  JSON.stringify(told(reading)) === JSON.stringify(expected(objects));

type Told = Readonly<Record<string, readonly string[]>>;

/** The snapshot's objects of each kind, a text for each object, sorted. */
function told({ cluster }: ClusterSnapshot): Told {
  const { namespaces, pods, policies, services, slices } = cluster;
  const texts = <T>(map: ReadonlyMap<string, T>, text: (value: T) => unknown): string[] =>
    [...map].map(([key, value]) => `${key} ${JSON.stringify(text(value))}`).sort();
  return {
    Namespace: texts(namespaces, ({ labels }) => labels.get("team")),
    NetworkPolicy: texts(policies, ({ subject }) => selectorText(subject)),
    Pod: texts(pods, ({ labels, ips, uid }) => [labels.get("app"), ips.map(({ text }) => text), uid]),
    Service: texts(services, ({ clusterIps }) => clusterIps.map(({ text }) => text)),
    EndpointSlice: texts(slices, ({ endpoints }) => endpoints.map(({ address }) => address.text)),
  };
}

/** The same of the server's own objects, read without the code under test. */
function expected(objects: Objects): Told {
  const texts = (kind: Kind, text: (at: (...path: (string | number)[]) => unknown) => unknown): string[] =>
    [...objects.of(kind)]
      .map(([key, object]) => `${key} ${JSON.stringify(text((...path) => valueAt(object, path)))}`)
      .sort();
  const each = (list: unknown, ...path: (string | number)[]): unknown[] =>
    Array.isArray(list) ? list.map((item: unknown) => valueAt(item, path)) : [];
  return {
    Namespace: texts("Namespace", (at) => at("metadata", "labels", "team")),
    NetworkPolicy: texts("NetworkPolicy", (at) => `app=${at("spec", "podSelector", "matchLabels", "app")}`),
    Pod: texts("Pod", (at) => [
      at("metadata", "labels", "app"),
      each(at("status", "podIPs"), "ip"),
      at("metadata", "uid"),
    ]),
    Service: texts("Service", (at) => at("spec", "clusterIPs")),
    EndpointSlice: texts("EndpointSlice", (at) => each(at("endpoints"), "addresses", 0)),
  };
}
