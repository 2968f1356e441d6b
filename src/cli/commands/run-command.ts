// `weir run`: the agent.

import { readFileSync } from "node:fs";
import { release } from "node:os";
import type { Command } from "commander";
import type { AgentOptions } from "../../agent/reconcile-loop.ts";
import type { UplinkOptions } from "../../agent/uplinks.ts";
import { codeOf } from "../../base/errors.ts";
import type { StatusView } from "../../observe/api-views.ts";
import { printable } from "../../observe/text-output.ts";
import { askAgentIfAble, isSilence } from "../agent-client.ts";
import {
  bypassPath,
  cniEntry,
  cniPaths,
  countersPath,
  historyPath,
  keptManifests,
  keptPath,
  pluginPath,
} from "../cni-paths.ts";
import { type Exits, note } from "../command.ts";
import type { Resolved } from "../config/config-resolve.ts";
import type { Config, Key } from "../config/config-schema.ts";
import { CommandError, type Context, EXIT, objectPath, versionOf } from "../environment.ts";
import { sourceOf } from "../source-options.ts";

/** Of this start alone; all else is configuration. */
interface Options {
  readonly config?: string;
  readonly printConfig?: true;
  readonly once?: true;
}

const HELP = `
Reads Namespaces, Pods, NetworkPolicies, Services and EndpointSlices from the API server or from Kubernetes YAML,
enforces the policies on this node's pods, and follows changes of them and of the interfaces until it is stopped. The
kernel keeps enforcing when it ends; \`weir cleanup\` removes everything.

A pod's interface is found through its status.podIPs, or named by an annotation:
  weir.dev/interface: veth12ab        the host's end of its veth
  weir.dev/netns: pod-a               its network namespace, as \`ip netns\` names it

A pod's packets must come from its own addresses, or from prefixes and MAC addresses that annotations name:
  weir.dev/allowed-sources: 10.8.0.0/16,fd08::/64
  weir.dev/allowed-macs: 52:54:00:12:34:56

Every option but the first three can also be set in a file (--config FILE: metricsListen: "off") and in the
environment (WEIR_METRICS_LISTEN=off). Precedence: flag, environment, file, default.

Examples:
  weir run --manifests /etc/weir/manifests            enforce, and follow changes
  weir run --kubeconfig ~/.kube/config --node-name n1    follow the API server, as node n1
  weir run --manifests ./policies --once              apply once, then exit
  weir run --manifests . --log-format json            log lines for a collector
  weir run --manifests . --uplink eth0 --deny-cidrs deny.txt    and drop packets from the prefixes in deny.txt
  weir run --config /etc/weir/config.yaml --print-config    the effective configuration

Exit codes:
  0 stopped (or applied, with --once), 1 error (with --once: also if something could not be read or enforced),
  2 wrong usage, 4 no such directory`;

/** The flags of the configuration are added by addConfigFlags: their schema takes a while to load. */
export function addRun(parent: Command, exits: Exits): void {
  parent
    .command("run")
    .description("enforce the policies of a cluster, or of a directory of manifests")
    .option("--config <file>", "YAML with any of the options below that have a value (or WEIR_CONFIG)")
    .option("--print-config", "print the effective configuration, with where each option was set, and exit")
    .option("--once", "apply once and exit; the kernel keeps enforcing")
    .addHelpText("after", HELP)
    .action(exits(run));
}

export async function addConfigFlags(program: Command): Promise<void> {
  const { configFlags } = await import("../config/config-options.ts");
  const command = program.commands.find((each) => each.name() === "run");
  for (const flag of configFlags()) command?.addOption(flag);
}

async function run(context: Context, options: Options, command: Command): Promise<number> {
  const { env, settings } = context;
  const resolved = await resolvedOf(context, options, command);
  if (options.printConfig === true) {
    env.stdout.write(resolved.text);
    return EXIT.ok;
  }
  const { config } = resolved;
  const source = sourceOf(resolved, env);
  const uplinks = uplinksOf(resolved);
  const denyUnknown = denyUnknownOf(resolved);
  // Two agents would undo each other's work: checked before anything changes.
  const other = await askAgentIfAble<StatusView>(context, "status");
  if (!isSilence(other)) {
    throw new CommandError(`another agent runs (pid ${other.pid}, at ${settings.socket}); one node has one`);
  }
  if (other.hangs) throw new CommandError(`${other.reason}; one node has one agent`);
  const given = {
    ...settings,
    source,
    once: options.once === true,
    object: objectPath(env),
    cni: cniOf(context, resolved),
    kept: keptPath(settings),
    keptBypasses: bypassPath(settings),
    keptManifests: keptManifests(settings),
    accounting: {
      counters: countersPath(settings),
      history: {
        directory: config.historyDir ?? historyPath(settings),
        bytesMax: config.historySize * 1024 * 1024,
      },
    },
    ...(uplinks === undefined ? {} : { uplinks }),
    ...(denyUnknown === undefined ? {} : { denyUnknown }),
  };
  const agentOptions = { ...given, ...(await optionsOf(config)) };
  const signal = env.stopSignal();
  const [{ runAgent }, { openLog }, { LAYOUT_DIGEST }] = await Promise.all([
    import("../../agent/reconcile-loop.ts"),
    import("../../base/log.ts"),
    import("../../gen/layout.ts"),
  ]);
  const log = openLog({
    level: config.logLevel,
    format: config.logFormat,
    write: (line) => env.stderr.write(`${printable(line.trimEnd())}\n`),
    now: env.now,
  });
  const version = versionOf(env.root);
  log.info("starting", {
    version,
    layout: LAYOUT_DIGEST,
    kernel: release(),
    pid: process.pid,
    source: source.kind === "manifests" ? source.path : "apiserver",
    ...settings,
  });
  return runAgent(agentOptions, { log, signal, now: env.now, version });
}

async function resolvedOf({ env }: Context, options: Options, command: Command): Promise<Resolved> {
  const [{ flagLayer, misspeltVariables }, { layersOf, resolveConfig }] = await Promise.all([
    import("../config/config-options.ts"),
    import("../config/config-resolve.ts"),
  ]);
  const layers = [flagLayer(command), ...(await layersOf(env, options.config))];
  for (const misspelt of misspeltVariables(env)) note(env, misspelt);
  return resolveConfig(layers);
}

/** Neither does anything without the other. */
function uplinksOf({ config: { uplink, denyCidrs }, nameOf }: Resolved): UplinkOptions | undefined {
  if (uplink === undefined && denyCidrs === undefined) return undefined;
  if (uplink !== undefined && denyCidrs !== undefined) {
    return { interfaces: [...new Set(uplink)], denied: denyCidrs };
  }
  const [given, missing]: [Key, Key] =
    uplink === undefined ? ["denyCidrs", "uplink"] : ["uplink", "denyCidrs"];
  throw new CommandError(`${nameOf(given)} needs ${nameOf(missing)}; see: weir run --help`, EXIT.usage);
}

function denyUnknownOf({ config: { unknownPods, ignoreInterfaces }, nameOf }: Resolved) {
  if (unknownPods === "deny") return { ignored: ignoreInterfaces ?? [] };
  if (ignoreInterfaces === undefined) return undefined;
  const [given, missing] = [nameOf("ignoreInterfaces"), nameOf("unknownPods")];
  throw new CommandError(`${given} needs ${missing} deny; see: weir run --help`, EXIT.usage);
}

function cniOf({ env, settings }: Context, { config, nameOf }: Resolved): AgentOptions["cni"] {
  const { cniConfDir: confDir, cniBinDir: binDir } = config;
  const paths = cniPaths(settings);
  if (confDir === undefined && binDir === undefined) return paths;
  if (confDir !== undefined && binDir !== undefined) {
    const entry = cniEntry(settings, { timeout: config.cniTimeout, failOpen: config.cniFailOpen });
    return { ...paths, install: { confDir, binDir, binary: pluginPath(env), entry } };
  }
  const [given, missing]: [Key, Key] =
    confDir === undefined ? ["cniBinDir", "cniConfDir"] : ["cniConfDir", "cniBinDir"];
  throw new CommandError(`${nameOf(given)} needs ${nameOf(missing)}; see: weir run --help`, EXIT.usage);
}

type FromConfig = Pick<
  AgentOptions,
  | "mode"
  | "fromPodHook"
  | "conntrackFlows"
  | "socketGroup"
  | "eventsFile"
  | "probes"
  | "metrics"
  | "kubernetes"
>;

/** @throws CommandError where there is no such group */
async function optionsOf(config: Config): Promise<FromConfig> {
  const { listenOf } = await import("../config/config-schema.ts");
  const listen = listenOf(config.metricsListen);
  const probes = listenOf(config.probeListen);
  const { eventsFile: path, socketGroup } = config;
  return {
    mode: config.mode,
    fromPodHook: config.fromPodHook,
    conntrackFlows: config.conntrackFlows,
    kubernetes: { events: config.kubernetesEvents, condition: config.nodeCondition },
    ...(socketGroup === undefined ? {} : { socketGroup: groupNumber(socketGroup) }),
    ...(path === undefined
      ? {}
      : {
          eventsFile: {
            path,
            bytesMax: config.eventsFileSize * 1024 * 1024,
            files: config.eventsFileCount,
          },
        }),
    ...(probes === undefined || probes === "off" ? {} : { probes }),
    ...(listen === undefined || listen === "off"
      ? {}
      : { metrics: { listen, policies: config.metricsPolicies } }),
  };
}

// The number of a group of users, by its name or as it is.

/** As in group(5); images without that file have groups by number only. */
const FILE = "/etc/group";

/** @throws CommandError where there is no such group (exit code 4) */
export function groupNumber(text: string): number {
  if (/^[0-9]{1,9}$/.test(text)) return Number(text);
  for (const line of groupLines()) {
    const [name, , number] = line.split(":");
    if (name === text && /^[0-9]+$/.test(number ?? "")) return Number(number);
  }
  throw new CommandError(
    `no group ${text} in ${FILE}; expected the name of a group there, or its number`,
    EXIT.notFound,
  );
}

function groupLines(): string[] {
  try {
    return readFileSync(FILE, "utf8").split("\n");
  } catch (thrown) {
    if (codeOf(thrown) === "ENOENT") return [];
    throw thrown;
  }
}
