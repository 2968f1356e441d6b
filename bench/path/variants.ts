// What stands on the host side of the pods' links while flows cross them, and how it gets there and away again.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { BpfLink, type BpfProgram, hasTcx, type LinkSpec } from "bpf-ts";
import { assertNever, present } from "../../src/base/assert.ts";
import { OperationError } from "../../src/base/errors.ts";
import { cleanUp, weirOutput } from "../../src/lab/weir-process.ts";
import type { Ground } from "./ground.ts";
import {
  conntrackText,
  ipsetText,
  iptablesText,
  nftLinearText,
  nftSetsText,
  type RuleWorld,
  TABLE,
} from "./rules.ts";

export const VARIANTS = [
  { id: "none", what: "nothing" },
  { id: "tc-empty", what: "an empty tc program in both directions" },
  { id: "tc-drop", what: "a tc program that drops all that pods send: only for floods" },
  { id: "tc-weir", what: "Weir, as it is by default" },
  { id: "tc-weir-ingress", what: "the same where only the server's pod is isolated, and only for ingress" },
  { id: "xdp-empty", what: "an empty native XDP program on what pods send" },
  { id: "xdp-weir", what: "Weir with --from-pod-hook xdp" },
  { id: "conntrack", what: "the kernel's conntrack, and nftables that accept what is established" },
  { id: "conntrack-weir", what: "Weir on a node that has conntrack on, as with kube-proxy" },
  { id: "nft-sets", what: "nftables with verdict maps, interval sets and conntrack" },
  { id: "nft-linear", what: "nftables with a rule for each policy and conntrack" },
  { id: "iptables-ipset", what: "iptables and ipset in Calico's style" },
] as const;
export type Variant = (typeof VARIANTS)[number];

/** Takes a variant away. */
export type TakeAway = () => Promise<void>;

/** Puts it there. Errors: OperationError, BpfError. */
export async function putUp(ground: Ground, { id }: Variant, rules?: RuleWorld): Promise<TakeAway> {
  const world = () => present(rules, "a world of rules");
  switch (id) {
    case "none":
      return async () => undefined;
    case "tc-empty":
      return attached(ground, ground.driver.nothing("tc"), "tc");
    case "tc-drop":
      return attached(ground, ground.driver.drop(), "tc-from-pod");
    case "xdp-empty":
      return attached(ground, ground.driver.nothing("xdp"), "xdp");
    case "tc-weir":
    case "tc-weir-ingress":
      return enforced(ground, "tc");
    case "xdp-weir":
      return enforced(ground, "xdp");
    case "conntrack":
      return nft(conntrackText());
    case "conntrack-weir":
      return both(await nft(conntrackText()), () => enforced(ground, "tc"));
    case "nft-sets":
      return nft(nftSetsText(world()));
    case "nft-linear":
      return nft(nftLinearText(world()));
    case "iptables-ipset":
      return iptables(world());
    default:
      return assertNever(id, "variant");
  }
}

async function both(first: TakeAway, second: () => Promise<TakeAway>): Promise<TakeAway> {
  try {
    const takeAway = await second();
    return async () => {
      await takeAway();
      await first();
    };
  } catch (thrown) {
    await first();
    throw thrown;
  }
}

/** @throws OperationError with what the command says */
function command(name: string, args: readonly string[], input = ""): void {
  const { status, stderr, error } = spawnSync(name, args, { input, encoding: "utf8" });
  if (status === 0) return;
  throw new OperationError(error?.message ?? stderr.trim(), { operation: "run", object: name });
}

async function nft(text: string): Promise<TakeAway> {
  command("nft", ["-f", "-"], text);
  return async () => command("nft", ["delete", "table", "inet", TABLE]);
}

async function iptables(world: RuleWorld): Promise<TakeAway> {
  const takeAway = async (): Promise<void> => {
    command("iptables", ["-F"]);
    command("iptables", ["-X"]);
    // By nftables, iptables leaves its hooks behind.
    spawnSync("nft", ["delete", "table", "ip", "filter"], { stdio: "ignore" });
    command("ipset", ["destroy"]);
  };
  command("ipset", ["restore"], ipsetText(world));
  try {
    command("iptables-restore", ["--noflush"], iptablesText(world));
  } catch (thrown) {
    await takeAway();
    throw thrown;
  }
  return takeAway;
}

/** Where a program is attached at each pod's link; "tc" is both directions. */
type Place = "tc" | "tc-from-pod" | "xdp";

async function attached({ lab, pods }: Ground, program: BpfProgram, place: Place): Promise<TakeAway> {
  const links: BpfLink[] = [];
  const takeAway = async (): Promise<void> => {
    for (const link of links) {
      // A clsact filter outlives the link.
      if (link.info.kind === "clsact") await link.detach();
      link.close();
    }
  };
  try {
    for (const pod of pods) {
      const ifindex = Number(readFileSync(`/sys/class/net/${lab.wire(pod).link}/ifindex`, "utf8"));
      for (const spec of specsOf(place, ifindex)) links.push(await BpfLink.attach(program, spec));
    }
  } catch (thrown) {
    await takeAway();
    throw thrown;
  }
  return takeAway;
}

function specsOf(place: Place, ifindex: number): readonly LinkSpec[] {
  if (place === "xdp") return [{ kind: "xdp", ifindex, mode: "native" }];
  const directions = place === "tc" ? (["ingress", "egress"] as const) : (["ingress"] as const);
  return directions.map((direction) =>
    hasTcx()
      ? { kind: "tcx", ifindex, direction }
      : { kind: "clsact", ifindex, direction, handle: 1, priority: 1, removeQdisc: true },
  );
}

/** No agent runs while anything is measured: it enforces without. */
async function enforced({ paths, manifests }: Ground, hook: "tc" | "xdp"): Promise<TakeAway> {
  try {
    await weirOutput(paths, ["run", "--once", "--manifests", manifests, "--from-pod-hook", hook]);
  } catch (thrown) {
    cleanUp(paths);
    throw thrown;
  }
  return async () => cleanUp(paths);
}
