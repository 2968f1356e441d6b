// Connections right after DNS answers: of a pod that may connect by name, and of pods that may by address, or are not isolated.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { present } from "../../src/base/assert.ts";
import { OperationError } from "../../src/base/errors.ts";
import { ipBatch } from "../../src/lab/iproute.ts";
import type { PodSpec } from "../../src/lab/lab-manifests.ts";
import type { Lab } from "../../src/lab/netns-lab.ts";
import { cleanUp, weirOutput } from "../../src/lab/weir-process.ts";
import { withProgram } from "../common/compile.ts";
import { type Ground, openGround } from "../path/ground.ts";

export interface NamesOptions {
  /** Of each pod, in all runs together: each to an address of its own. */
  readonly connections: number;
  readonly runs: number;
  readonly progress: (text: string) => void;
}

export interface NamesRow {
  readonly pod: string;
  readonly connections: number;
  /** Connections that were not there before their SYN would have been sent again. */
  readonly failures: number;
  readonly p50Ns: number;
  readonly p99Ns: number;
}

const PREFIX = "weirnames";
const RESOLVER = "10.63.66.53";
const RESOLVER_NAME = "resolver";
const WEB = "web";
const WEB_ADDRESS = "10.63.66.80";
const PORT = 80;
/** The addresses that names have: all are the web server's. */
const ADDRESSES = "198.18.0.0/16";
const ADDRESSES_MAX = 65_000;
/** A SYN that is dropped is sent again after a second. */
const CONNECT_MS_MAX = 900;
const SILENT_MS = 500;

const POLICY = (name: string, to: object): object => ({
  apiVersion: "policy.networking.k8s.io/v1alpha2",
  kind: "ClusterNetworkPolicy",
  metadata: { name },
  spec: {
    ...{ tier: "Admin", priority: 10 },
    subject: { pods: { namespaceSelector: {}, podSelector: { matchLabels: { by: name } } } },
    egress: [
      {
        ...{ name: "dns", action: "Accept", to: [{ networks: [`${RESOLVER}/32`] }] },
        protocols: [{ udp: { destinationPort: { number: 53 } } }],
      },
      {
        ...{ name: "web", action: "Accept", to: [to] },
        protocols: [{ tcp: { destinationPort: { number: PORT } } }],
      },
      { name: "nothing-else", action: "Deny", to: [{ networks: ["0.0.0.0/0", "::/0"] }] },
    ],
  },
});

const POLICIES = [
  POLICY("name", { domainNames: ["*.bench.example.net"] }),
  POLICY("address", { networks: [ADDRESSES] }),
];

const PODS: readonly PodSpec[] = ["name", "address", "nothing"].map((by, at) => ({
  ...{ name: `bench/${by}`, labels: { by }, addresses: [`10.63.66.${at + 1}`] },
}));

const addressOf = (number: number): string => `198.18.${number >> 8}.${number & 255}`;

/** Must run in a network namespace of its own. @throws OperationError, BpfError */
export async function runNames({ connections, runs, progress }: NamesOptions): Promise<readonly NamesRow[]> {
  if (connections * PODS.length > ADDRESSES_MAX)
    throw new OperationError(`at most ${Math.floor(ADDRESSES_MAX / PODS.length)} connections`, {
      ...{ operation: "measure", object: "names" },
    });
  const source = fileURLToPath(new URL("resolve.c", import.meta.url));
  return withProgram(source, async (program) => {
    const ground = await openGround({ prefix: PREFIX, pods: PODS, policies: POLICIES });
    try {
      await addServers(ground.lab, connections * PODS.length);
      return await beside(ground.lab, program, async () => {
        await weirOutput(ground.paths, ["run", "--once", "--manifests", ground.manifests]);
        try {
          return await measure(ground, program, { connections, runs, progress });
        } finally {
          cleanUp(ground.paths);
        }
      });
    } finally {
      ground.lab.close();
    }
  });
}

async function addServers(lab: Lab, names: number): Promise<void> {
  const dns = Object.fromEntries(
    Array.from({ length: names }, (_, at) => [`n${at}.bench.example.net`, [addressOf(at)]]),
  );
  await lab.add([
    { name: RESOLVER_NAME, addresses: [RESOLVER], dns },
    { name: WEB, addresses: [WEB_ADDRESS] },
  ]);
  const { netns, link } = lab.wire(WEB);
  ipBatch([`route add local ${ADDRESSES} dev lo`], netns);
  // By one neighbour: the kernel's table of them has fewer places than there are addresses.
  ipBatch([`route add ${ADDRESSES} via ${WEB_ADDRESS} dev ${link}`]);
}

/** While the web server listens. */
async function beside<T>(lab: Lab, program: string, work: () => Promise<T>): Promise<T> {
  const args = ["netns", "exec", lab.wire(WEB).netns, program, "serve", String(PORT)];
  const child = spawn("ip", args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "close");
  try {
    await Promise.race([once(child.stdout, "data"), ended]);
    if (child.exitCode !== null)
      throw new OperationError("the server ended", { operation: "start", object: WEB });
    return await work();
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}

const run = promisify(execFile);

async function measure(
  { lab }: Ground,
  program: string,
  { connections, runs, progress }: NamesOptions,
): Promise<readonly NamesRow[]> {
  await checkInForce(lab);
  const times = PODS.map((): (number | undefined)[] => []);
  let next = 0;
  for (let index = 0; index < runs; index += 1) {
    progress(`run ${index + 1} of ${runs}`);
    const count = Math.floor((connections * (index + 1)) / runs) - Math.floor((connections * index) / runs);
    for (const turn of PODS.keys()) {
      // Each is the first, the second and the third as often.
      const at = (turn + index) % PODS.length;
      const { netns } = lab.wire(present(PODS[at], "a pod").name);
      const args = [RESOLVER, PORT, next, count, CONNECT_MS_MAX].map(String);
      const { stdout } = await run("ip", ["netns", "exec", netns, program, "ask", ...args]);
      next += count;
      for (const line of stdout.trim().split("\n")) times[at]?.push(line === "-" ? undefined : Number(line));
    }
  }
  return PODS.map(({ name }, at) => rowOf(name, present(times[at], "times of a pod")));
}

/** Whether an address that is not resolved is denied just where it should be. */
async function checkInForce(lab: Lab): Promise<void> {
  for (const { name } of PODS) {
    const probe = {
      kind: "tcp",
      address: addressOf(ADDRESSES_MAX),
      port: PORT,
      timeoutMs: SILENT_MS,
    } as const;
    const { result } = await lab.probe(name, probe);
    // The server closes at once: no echo.
    const isSilent = result === "silent";
    if (isSilent !== (name === "bench/name"))
      throw new OperationError(`an address that is not resolved was ${result}`, {
        ...{ operation: "check", object: name },
      });
  }
}

function rowOf(pod: string, times: readonly (number | undefined)[]): NamesRow {
  const done = times.filter((each) => each !== undefined).sort((a, b) => a - b);
  const at = (share: number): number => present(done[Math.floor((done.length - 1) * share)], "a connection");
  return {
    ...{ pod, connections: times.length, failures: times.length - done.length },
    ...{ p50Ns: at(0.5), p99Ns: at(0.99) },
  };
}
