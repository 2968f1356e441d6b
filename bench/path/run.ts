// A whole run over the path: two pods behind veths, the node routing between them, and each variant in every round.

import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { present } from "../../src/base/assert.ts";
import { messageOf, OperationError } from "../../src/base/errors.ts";
import type { PodSpec } from "../../src/lab/lab-manifests.ts";
import { withProgram } from "../common/compile.ts";
import { median } from "../common/median.ts";
import { randomFrom } from "../common/random.ts";
import { type Ground, openGround } from "./ground.ts";
import { otherPrefixes, type RuleWorld } from "./rules.ts";
import { type Kind, type Measurement, type Programs, transfer } from "./transfer.ts";
import { putUp, VARIANTS, type Variant } from "./variants.ts";

export interface PathOptions {
  readonly variants: readonly Variant[];
  readonly kinds: readonly Kind[];
  /** How many policies select the server's pod, one run after another. */
  readonly policies: readonly number[];
  readonly runs: number;
  readonly milliseconds: number;
  readonly progress: (text: string) => void;
}

export interface Figure extends Measurement {
  /** Median of each round's ratio to nothing on the links; of floods, to a program that drops everything. */
  readonly ratio: number;
  /** The same of CPU time: below 1 is less. Where others use the machine too, it tells what the rates do not. */
  readonly cpuRatio?: number;
}

export interface PathRow {
  readonly kind: Kind;
  readonly policies: number;
  readonly variant: Variant;
  /** Medians. */
  readonly figure: Figure;
}

const PREFIX = "weirpath";
const FLOW_PORT = 5201;
/** Served by TCP, but let through by no rule. */
const CLOSED_PORT = 5202;
/** Longer than until a SYN is sent again: the first packet after rules are loaded may be lost. */
const SILENT_MS = 1_500;

const SERVER_ADDRESS = "10.63.62.2";
const CLIENT_ADDRESS = "10.63.62.1";
const CLIENT: PodSpec = { name: "bench/client", labels: { app: "client" }, addresses: [CLIENT_ADDRESS] };
const SERVER: PodSpec = {
  name: "bench/server",
  labels: { app: "server" },
  addresses: [SERVER_ADDRESS],
  tcp: [CLOSED_PORT],
};

/**
 * Both pods are isolated in both directions, or only the server and for ingress; the flows' port is let through, and other
 * policies name peers that are not there.
 */
const policiesOf = (count: number, isolated: "both" | "ingress"): readonly object[] => [
  ...(isolated === "ingress"
    ? []
    : [
        policy("client", "client", {
          policyTypes: ["Ingress", "Egress"],
          egress: [ruleWith("to", podsOf("server"))],
        }),
      ]),
  policy("server", "server", {
    policyTypes: isolated === "ingress" ? ["Ingress"] : ["Ingress", "Egress"],
    ingress: [ruleWith("from", podsOf("client"))],
  }),
  ...otherPrefixes(count).map((cidr, index) =>
    policy(`other-${index}`, "server", {
      policyTypes: ["Ingress"],
      ingress: [ruleWith("from", { ipBlock: { cidr } })],
    }),
  ),
];

function policy(name: string, app: string, spec: object): object {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace: "bench" },
    spec: { podSelector: { matchLabels: { app } }, ...spec },
  };
}

const podsOf = (app: string): object => ({ podSelector: { matchLabels: { app } } });

function ruleWith(end: "from" | "to", peer: object): object {
  const ports = ["TCP", "UDP"].map((protocol) => ({ protocol, port: FLOW_PORT }));
  return { [end]: [peer], ports };
}

type Round = ReadonlyMap<string, Measurement>;
const cellOf = ({ id }: Pick<Variant, "id">, kind: Kind): string => `${id} ${kind}`;

/** Must run in a network namespace of its own: it puts rules there. @throws OperationError, BpfError */
export function runPath(options: PathOptions): Promise<PathRow[]> {
  const source = (file: string) => fileURLToPath(new URL(file, import.meta.url));
  return withProgram(source("flow.c"), (flow) =>
    withProgram(source("requests.c"), async (requests) => {
      const ground = await openGround({ prefix: PREFIX, pods: [CLIENT, SERVER], policies: [] });
      try {
        const rows: PathRow[] = [];
        for (const policies of options.policies)
          rows.push(...(await runWorld(ground, { flow, requests }, options, policies)));
        return rows;
      } finally {
        ground.lab.close();
      }
    }),
  );
}

async function runWorld(
  ground: Ground,
  programs: Programs,
  options: PathOptions,
  policies: number,
): Promise<PathRow[]> {
  const ends = (pod: PodSpec, address: string) => ({ address, link: ground.lab.wire(pod.name).link });
  const world: RuleWorld = {
    client: ends(CLIENT, CLIENT_ADDRESS),
    server: ends(SERVER, SERVER_ADDRESS),
    port: FLOW_PORT,
    policies,
  };
  const variants = await availableOf(ground, world, options);
  const { kinds } = options;
  const rounds: Round[] = [];
  for (let index = 1; index <= options.runs; index += 1) {
    options.progress(`${policies} policies, run ${index} of ${options.runs}`);
    rounds.push(await goRound(ground, programs, { ...options, variants: shuffled(variants, index), world }));
  }
  return kinds.flatMap((kind) =>
    variants
      .filter((variant) => rounds[0]?.has(cellOf(variant, kind)))
      .map((variant) => ({ kind, policies, variant, figure: figureOf(variant, kind, rounds) })),
  );
}

/** Those that this machine can do; what others lack is reported. The baselines are always among them. */
async function availableOf(
  ground: Ground,
  world: RuleWorld,
  { variants, progress }: PathOptions,
): Promise<readonly Variant[]> {
  const wanted = VARIANTS.filter((variant) => BASELINES.has(variant.id) || variants.includes(variant));
  const found: Variant[] = [];
  for (const variant of wanted)
    if (!RULES.has(variant.id)) found.push(variant);
    else
      try {
        await (await putUp(ground, variant, { ...world, policies: 1 }))();
        found.push(variant);
      } catch (thrown) {
        progress(`left out, this machine cannot do it: ${variant.what}: ${messageOf(thrown)}`);
      }
  return found;
}

const BASELINES: ReadonlySet<string> = new Set(["none", "tc-drop"]);
const RULES: ReadonlySet<string> = new Set([
  "conntrack",
  "conntrack-weir",
  "nft-sets",
  "nft-linear",
  "iptables-ipset",
]);
/** Those that let everything through. */
const OPEN: ReadonlySet<string> = new Set(["none", "tc-empty", "xdp-empty", "conntrack"]);

function shuffled(variants: readonly Variant[], seed: number): readonly Variant[] {
  const random = randomFrom(seed);
  return variants
    .map((variant) => ({ variant, at: random.below(2 ** 32) }))
    .sort((a, b) => a.at - b.at)
    .map(({ variant }) => variant);
}

interface RoundOptions extends PathOptions {
  readonly world: RuleWorld;
}

async function goRound(ground: Ground, programs: Programs, options: RoundOptions): Promise<Round> {
  const { variants, kinds, milliseconds, world } = options;
  const round = new Map<string, Measurement>();
  const [from, to] = [CLIENT, SERVER].map(({ name }) => ground.lab.wire(name).netns);
  const ends = { from: present(from, "the client"), to: present(to, "the server"), address: SERVER_ADDRESS };
  for (const variant of variants) {
    ground.setPolicies(policiesOf(world.policies, variant.id === "tc-weir-ingress" ? "ingress" : "both"));
    const takeAway = await putUp(ground, variant, world);
    try {
      await checkInForce(ground, variant);
      for (const kind of variant.id === "tc-drop" ? kinds.filter((each) => each === "flood") : kinds) {
        const port = kind === "flood" ? CLOSED_PORT : FLOW_PORT;
        round.set(
          cellOf(variant, kind),
          await transfer(programs, cpus().length, { kind, ...ends, port, milliseconds }),
        );
      }
    } finally {
      await takeAway();
    }
  }
  return round;
}

/** Whether what no rule lets through is dropped just where it should be. */
async function checkInForce({ lab }: Ground, { id }: Variant): Promise<void> {
  const probe = { kind: "tcp", address: SERVER_ADDRESS, port: CLOSED_PORT, timeoutMs: SILENT_MS } as const;
  const { result } = await lab.probe(CLIENT.name, probe);
  const wanted = OPEN.has(id) ? "reached" : "silent";
  if (result === wanted) return;
  throw new OperationError(`a port that no rule lets through was ${result}, not ${wanted}`, {
    operation: "check",
    object: id,
  });
}

function figureOf(variant: Variant, kind: Kind, rounds: readonly Round[]): Figure {
  const baseline = { id: kind === "flood" ? "tc-drop" : "none" } as const;
  const of = (each: Pick<Variant, "id">) =>
    rounds.map((round) => present(round.get(cellOf(each, kind)), each.id));
  const [own, base] = [of(variant), of(baseline)];
  const middle = (key: keyof Measurement) => median(own.map((each) => each[key] ?? 0));
  const ratioOf = (key: "perSecond" | "cpuNs") =>
    median(own.map((each, index) => (each[key] ?? 0) / present(base[index]?.[key], "a baseline")));
  const common = { perSecond: middle("perSecond"), ratio: ratioOf("perSecond") };
  if (kind === "tcp") return common;
  const cpu = { cpuNs: middle("cpuNs"), cpuRatio: ratioOf("cpuNs") };
  if (kind !== "ask" && kind !== "connect") return { ...common, ...cpu };
  return { ...common, ...cpu, p50Ns: middle("p50Ns"), p99Ns: middle("p99Ns") };
}
