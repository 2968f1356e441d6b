// A whole run over the path: two pods behind veths, the node routing between them, and each variant in every round.

import { mkdirSync, rmSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { present } from "../../src/base/assert.ts";
import { OperationError } from "../../src/base/errors.ts";
import {
  manifestDirectory,
  namespaceManifest,
  type PodSpec,
  podManifest,
} from "../../src/lab/lab-manifests.ts";
import { openLab } from "../../src/lab/netns-lab.ts";
import { cleanUp } from "../../src/lab/weir-process.ts";
import { withProgram } from "../common/compile.ts";
import { median } from "../common/median.ts";
import { openDriver } from "../packet/driver.ts";
import { type Kind, transfer } from "./transfer.ts";
import { type Ground, putUp, VARIANTS, type Variant } from "./variants.ts";

export interface PathOptions {
  readonly runs: number;
  readonly milliseconds: number;
  readonly progress: (text: string) => void;
}

export interface PathRow {
  readonly variant: Variant;
  /** Packets of 64 bytes of payload a second that came through, and as a part of what did with nothing there. */
  readonly udp: { readonly perSecond: number; readonly ratio: number };
  /** Bytes a second of one stream. */
  readonly tcp: { readonly perSecond: number; readonly ratio: number };
}

const BIN = fileURLToPath(new URL("../../bin/weir", import.meta.url));
const PREFIX = "weirpath";
const DIRECTORY = `/run/${PREFIX}`;
const KINDS: readonly Kind[] = ["udp", "tcp"];
const FLOW_PORT = 5201;
/** Served, but let through by no rule. */
const CLOSED_PORT = 5202;
const SILENT_MS = 400;

const CLIENT: PodSpec = { name: "bench/client", labels: { app: "client" }, addresses: ["10.63.62.1"] };
const SERVER: PodSpec = {
  name: "bench/server",
  labels: { app: "server" },
  addresses: ["10.63.62.2"],
  tcp: [CLOSED_PORT],
};
const SERVER_ADDRESS = "10.63.62.2";

/** Both pods are isolated in both directions, and the flows' port is let through in each. */
const POLICIES = [
  policy("client", { policyTypes: ["Ingress", "Egress"], egress: [ruleWith("to", "server")] }),
  policy("server", { policyTypes: ["Ingress", "Egress"], ingress: [ruleWith("from", "client")] }),
];

function policy(app: string, spec: object): object {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: app, namespace: "bench" },
    spec: { podSelector: { matchLabels: { app } }, ...spec },
  };
}

function ruleWith(end: "from" | "to", app: string): object {
  const ports = ["TCP", "UDP"].map((protocol) => ({ protocol, port: FLOW_PORT }));
  return { [end]: [{ podSelector: { matchLabels: { app } } }], ports };
}

type Round = ReadonlyMap<string, number>;
const cellOf = ({ id }: Variant, kind: Kind): string => `${id} ${kind}`;

/** @throws OperationError, BpfError */
export function runPath(options: PathOptions): Promise<PathRow[]> {
  const source = fileURLToPath(new URL("flow.c", import.meta.url));
  return withProgram(source, async (program) => {
    const ground = await openGround();
    try {
      const rounds: Round[] = [];
      for (let index = 1; index <= options.runs; index += 1) {
        options.progress(`run ${index} of ${options.runs}`);
        rounds.push(await goRound(ground, program, options));
      }
      return VARIANTS.map((variant) => rowOf(variant, rounds));
    } finally {
      ground.lab.close();
    }
  });
}

async function openGround(): Promise<Ground> {
  const pods = [CLIENT, SERVER];
  const lab = await openLab({ prefix: PREFIX, endpoints: pods });
  try {
    rmSync(DIRECTORY, { recursive: true, force: true });
    mkdirSync(DIRECTORY);
    lab.defer(() => rmSync(DIRECTORY, { recursive: true }));
    const manifests = manifestDirectory(join(DIRECTORY, "manifests"));
    manifests.put("all.yaml", [
      namespaceManifest("bench", {}),
      ...pods.map((pod) => podManifest(pod, lab.wire(pod.name))),
      ...POLICIES,
    ]);
    const paths = { bin: BIN, bpffs: `/sys/fs/bpf/${PREFIX}`, socket: join(DIRECTORY, "agent.sock") };
    cleanUp(paths);
    lab.defer(() => cleanUp(paths));
    const driver = await openDriver();
    lab.defer(() => driver.close());
    return { lab, pods: pods.map(({ name }) => name), driver, paths, manifests: manifests.path };
  } catch (thrown) {
    lab.close();
    throw thrown;
  }
}

async function goRound(ground: Ground, program: string, options: PathOptions): Promise<Round> {
  const round = new Map<string, number>();
  const [from, to] = [CLIENT, SERVER].map(({ name }) => ground.lab.wire(name).netns);
  const ends = { from: present(from, "the client"), to: present(to, "the server") };
  for (const variant of VARIANTS) {
    const takeAway = await putUp(ground, variant);
    try {
      await checkInForce(ground, variant);
      for (const kind of KINDS) {
        const flow = { kind, ...ends, address: SERVER_ADDRESS, port: FLOW_PORT };
        const { milliseconds } = options;
        round.set(cellOf(variant, kind), await transfer(program, cpus().length, { ...flow, milliseconds }));
      }
    } finally {
      takeAway();
    }
  }
  return round;
}

/** Whether what no rule lets through is dropped just where Weir is. */
async function checkInForce({ lab }: Ground, { id }: Variant): Promise<void> {
  const probe = { kind: "tcp", address: SERVER_ADDRESS, port: CLOSED_PORT, timeoutMs: SILENT_MS } as const;
  const { result } = await lab.probe(CLIENT.name, probe);
  const wanted = id.endsWith("weir") ? "silent" : "reached";
  if (result === wanted) return;
  throw new OperationError(`a port that no rule lets through was ${result}, not ${wanted}`, {
    operation: "check",
    object: id,
  });
}

function rowOf(variant: Variant, rounds: readonly Round[]): PathRow {
  const none = VARIANTS[0];
  const value = (round: Round, of: Variant, kind: Kind) => present(round.get(cellOf(of, kind)), of.id);
  const figures = (kind: Kind) => ({
    perSecond: median(rounds.map((round) => value(round, variant, kind))),
    ratio: median(rounds.map((round) => value(round, variant, kind) / value(round, none, kind))),
  });
  return { variant, udp: figures("udp"), tcp: figures("tcp") };
}
