// A real kube-apiserver over a real etcd, on loopback ports and in a directory of their own: started, broken, removed.

import { execFileSync } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { present } from "../../src/base/assert.ts";
import { messageOf } from "../../src/base/errors.ts";
import { Teardown } from "../../src/lab/teardown.ts";
import { type Api, openApi } from "./api.ts";
import { Child } from "./child.ts";

const START_MS_MAX = 120_000;
const POLL_MS = 100;
const ADMIN_TOKEN = "admin-of-the-test";

export interface Servers {
  /** As cluster-admin. */
  readonly api: Api;
  readonly url: string;
  /** Major and minor version of the API server, as in [1, 20]. */
  readonly version: readonly [number, number];
  /** Of the admin. */
  readonly token: string;
  /** Directory of the servers' files; removed by `close`. */
  readonly directory: string;
  /** File with the certificate that the API server's is checked against. */
  readonly ca: string;
  /** Key that signs the tokens of service accounts, in PEM. */
  readonly serviceAccountKey: string;
  /** The running processes, without those that were killed. */
  readonly apiserver: Server;
  readonly etcd: Server;
  /** One call of etcd's JSON gateway, as in "kv/put". */
  etcdCall(path: string, body: object): Promise<Record<string, unknown>>;
  /** Copies the data of etcd, which must not run, and returns the path of the copy. */
  saveData(): string;
  /** Replaces the data of etcd, which must not run, by a copy. */
  restoreData(copy: string): void;
  close(): void;
}

export interface Server {
  /** Starts it (it must not run) and waits until it serves. */
  start(): Promise<void>;
  kill(): Promise<void>;
  freeze(): void;
  thaw(): void;
}

/** `npm run test:cluster` sets these; see tools/kubernetes.sh. */
function binary(name: "KUBE_APISERVER" | "ETCD"): string {
  const path = process.env[`TEST_ASSET_${name}`];
  if (path === undefined || !existsSync(path)) {
    throw new Error(
      `TEST_ASSET_${name} names no program: run the tests of the cluster by \`npm run test:cluster\``,
    );
  }
  return path;
}

function versionOf(apiserver: string): readonly [number, number] {
  const said = execFileSync(apiserver, ["--version"], { encoding: "utf8" });
  const [, major, minor] = /v(\d+)\.(\d+)/.exec(said) ?? [];
  if (minor === undefined) throw new Error(`${apiserver} --version says ${JSON.stringify(said)}`);
  return [Number(major), Number(minor)];
}

/** A port that is unused at the moment. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

export interface ServersOptions {
  /** Where the API server listens, and its address in the cluster. */
  readonly host: string;
  /** Whether pods get a token of their service account; then a controller manager must create the accounts. */
  readonly serviceAccounts: boolean;
  /** Users besides the admin: token, name and groups. */
  readonly users: readonly {
    readonly token: string;
    readonly name: string;
    readonly groups: readonly string[];
  }[];
}

const FOR_THE_AGENT_ALONE: ServersOptions = { host: "127.0.0.1", serviceAccounts: false, users: [] };

/** Starts both. @throws Error with the end of a server's log if one does not start */
export async function openServers(options = FOR_THE_AGENT_ALONE): Promise<Servers> {
  const directory = mkdtempSync(join(tmpdir(), "weir-cluster-"));
  const teardown = new Teardown();
  teardown.defer(() => rmSync(directory, { recursive: true, force: true, maxRetries: 3 }));
  try {
    const servers = await serversIn(directory, teardown, options);
    await servers.etcd.start();
    await servers.apiserver.start();
    return servers;
  } catch (thrown) {
    teardown.close();
    throw thrown;
  }
}

async function serversIn(directory: string, teardown: Teardown, options: ServersOptions): Promise<Servers> {
  const program = binary("KUBE_APISERVER");
  const version = versionOf(program);
  const [client, peer, secure] = [await freePort(), await freePort(), await freePort()];
  const etcdUrl = `http://127.0.0.1:${client}`;
  const url = `https://${options.host}:${secure}`;
  const data = join(directory, "etcd");
  const certificates = join(directory, "certificates");
  const ca = join(certificates, "apiserver.crt");
  const serviceAccountKey = keyIn(directory);
  const users = [{ token: ADMIN_TOKEN, name: "admin", groups: ["system:masters"] }, ...options.users];
  const lines = users.map(({ token, name, groups }) => `${token},${name},${name},"${groups.join(",")}"\n`);
  writeFileSync(join(directory, "tokens.csv"), lines.join(""), { mode: 0o600 });
  const api = openApi({ url, ca, token: ADMIN_TOKEN });
  teardown.defer(() => api.close());
  const etcd = server(etcdCommand(data, { client: etcdUrl, peer: `http://127.0.0.1:${peer}` }), {
    log: join(directory, "etcd.log"),
    teardown,
    serves: async () => {
      const answer = await fetch(`${etcdUrl}/health`);
      return ((await answer.json()) as { health: unknown }).health === "true";
    },
  });
  const apiserver = server(apiserverCommand(program, { version, directory, etcdUrl, secure, options }), {
    log: join(directory, "kube-apiserver.log"),
    teardown,
    serves: async () => existsSync(ca) && (await api.call("GET", "/readyz")).status === 200,
  });
  let copies = 0;
  return {
    api,
    url,
    version,
    token: ADMIN_TOKEN,
    directory,
    ca,
    serviceAccountKey,
    apiserver,
    etcd,
    async etcdCall(path, body) {
      const answer = await fetch(`${etcdUrl}/v3/${path}`, { method: "POST", body: JSON.stringify(body) });
      const said = (await answer.json()) as Record<string, unknown>;
      if (!answer.ok) throw new Error(`etcd: ${path}: ${JSON.stringify(said)}`);
      return said;
    },
    saveData() {
      copies += 1;
      const copy = join(directory, `etcd-copy-${copies}`);
      cpSync(data, copy, { recursive: true });
      return copy;
    },
    restoreData(copy) {
      rmSync(data, { recursive: true });
      cpSync(copy, data, { recursive: true });
    },
    close: () => teardown.close(),
  };
}

function keyIn(directory: string): string {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const key = privateKey.export({ type: "pkcs1", format: "pem" }).toString();
  writeFileSync(join(directory, "service-accounts.key"), key, { mode: 0o600 });
  return key;
}

function etcdCommand(data: string, { client, peer }: { readonly client: string; readonly peer: string }) {
  const urls = {
    "listen-client-urls": client,
    "advertise-client-urls": client,
    "listen-peer-urls": peer,
    "initial-advertise-peer-urls": peer,
    "initial-cluster": `default=${peer}`,
  };
  const flags = Object.entries(urls).map(([name, value]) => `--${name}=${value}`);
  return [binary("ETCD"), `--data-dir=${data}`, ...flags];
}

interface ApiserverPlace {
  readonly version: readonly [number, number];
  readonly directory: string;
  readonly etcdUrl: string;
  readonly secure: number;
  readonly options: ServersOptions;
}

/** It generates its own certificate. */
function apiserverCommand(
  program: string,
  { version, directory, etcdUrl, secure, options: { host, serviceAccounts } }: ApiserverPlace,
) {
  mkdirSync(join(directory, "certificates"), { recursive: true });
  const key = join(directory, "service-accounts.key");
  const [, minor] = version;
  const flags: Readonly<Record<string, string>> = {
    "etcd-servers": etcdUrl,
    "cert-dir": join(directory, "certificates"),
    "secure-port": String(secure),
    "bind-address": host,
    "advertise-address": host,
    "service-account-key-file": key,
    "service-account-signing-key-file": key,
    "service-account-issuer": "https://kubernetes.default.svc",
    "token-auth-file": join(directory, "tokens.csv"),
    "authorization-mode": "Node,RBAC",
    ...(serviceAccounts ? {} : { "disable-admission-plugins": "ServiceAccount" }),
    "service-cluster-ip-range": "10.96.0.0/16,fd00:10:96::/108",
    "allow-privileged": "true",
    // The names of nodes are not in DNS.
    "kubelet-preferred-address-types": "InternalIP",
    // Off by default before 1.21 and 1.22. Without the second one a server drops `serving` and `terminating` from endpoints.
    ...(minor < 23 ? { "feature-gates": "IPv6DualStack=true,EndpointSliceTerminatingCondition=true" } : {}),
  };
  return [program, ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`)];
}

interface Surroundings {
  readonly log: string;
  readonly teardown: Teardown;
  /** Whether it works; may throw if it does not. */
  readonly serves: () => Promise<boolean>;
}

function server(command: readonly string[], { log, teardown, serves }: Surroundings): Server {
  let child: Child | undefined;
  teardown.defer(() => child?.close());
  const running = (): Child => present(child, `${command[0]} runs`);
  return {
    async start() {
      const started = new Child(command, log);
      child = started;
      const deadline = Date.now() + START_MS_MAX;
      let reason = "it does not serve";
      for (;;) {
        started.check();
        const isUp = await serves().catch((thrown: unknown) => {
          reason = messageOf(thrown);
          return false;
        });
        if (isUp) return;
        if (Date.now() > deadline) throw new Error(`${command[0]}: ${reason}:\n${started.tail()}`);
        await sleep(POLL_MS);
      }
    },
    async kill() {
      await running().kill();
      child = undefined;
    },
    freeze: () => running().freeze(),
    thaw: () => running().thaw(),
  };
}
