// `weir run`: the agent.

import { existsSync } from "node:fs";
import { isIP } from "node:net";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { UplinkOptions } from "../agent/uplinks.ts";
import { FROM_POD_HOOKS, type FromPodHook } from "../base/hooks.ts";
import { MODES, type Mode } from "../model/mode.ts";
import { printable } from "../observe/text.ts";
import type { StatusView } from "../observe/view.ts";
import { askAgentIfAble, isSilence } from "./agent-client.ts";
import type { Exits } from "./command.ts";
import { CommandError, type Context, EXIT, objectPath } from "./env.ts";
import { groupNumber } from "./group.ts";
import { versionOf } from "./installation.ts";

const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
const LOG_FORMATS = ["text", "json"] as const;

interface Options {
  readonly manifests: string;
  readonly once?: true;
  readonly fromPodHook: FromPodHook;
  readonly uplink?: readonly string[];
  readonly denyCidrs?: string;
  readonly socketGroup?: string;
  readonly eventsFile?: string;
  readonly eventsFileSize: number;
  readonly eventsFileCount: number;
  readonly mode: Mode;
  readonly metricsListen: Listen;
  readonly metricsPolicies: boolean;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  readonly logFormat: (typeof LOG_FORMATS)[number];
}

const HELP = `
Reads Kubernetes YAML (Namespace, Pod, NetworkPolicy, Service, EndpointSlice), enforces the policies on this node's
pods, and follows changes of the files and interfaces until it is stopped. What it has put into the kernel stays in
force when it ends; \`weir cleanup\` takes that away.

A pod's interface is found through its status.podIPs, or named by an annotation:
  weir.dev/interface: veth12ab        the host's end of its veth
  weir.dev/netns: pod-a               its network namespace, as \`ip netns\` names it

A pod's packets must come from its own addresses, or from prefixes that an annotation names:
  weir.dev/allowed-sources: 10.8.0.0/16,fd08::/64

Examples:
  weir run --manifests /etc/weir/manifests            enforce, and follow changes
  weir run --manifests ./policies --once              apply what is there, and leave it to the kernel
  weir run --manifests . --log-format json            log lines for a collector
  weir run --manifests . --uplink eth0 --deny-cidrs deny.txt    and drop what comes from the prefixes in deny.txt

Exit codes:
  0 stopped (or applied, with --once), 1 error (with --once: also if something could not be read or enforced),
  2 wrong usage, 4 no such directory`;

export function addRun(parent: Command, exits: Exits): void {
  parent
    .command("run")
    .description("enforce the policies of a directory of manifests")
    .requiredOption("--manifests <dir>", "directory of Kubernetes YAML, watched for changes")
    .option("--once", "apply it, then leave; the kernel goes on enforcing")
    .addOption(
      new Option("--mode <mode>", "audit: drop nothing by policy, only tell what would be dropped")
        .choices(MODES)
        .default("enforce"),
    )
    .addOption(
      new Option("--from-pod-hook <hook>", "where what pods send is filtered")
        .choices(FROM_POD_HOOKS)
        .default("tc"),
    )
    .option("--uplink <interfaces>", "drop denied sources on these interfaces: names, with commas", namesOf)
    .option("--deny-cidrs <file>", "the denied sources: a prefix or address a line, watched for changes")
    .option("--events-file <path>", "write events there too, a line of JSON each")
    .addOption(
      new Option("--events-file-size <MiB>", "begin a new file at this size")
        .argParser(countFrom)
        .default(10),
    )
    .addOption(
      new Option("--events-file-count <count>", "files to keep, the older ones as PATH.1, PATH.2")
        .argParser(countFrom)
        .default(5),
    )
    .addOption(
      new Option("--metrics-listen <address>", "where Prometheus asks: an address and port, or off")
        .argParser(listenFrom)
        .default(METRICS_DEFAULT, `${METRICS_DEFAULT.host}:${METRICS_DEFAULT.port}`),
    )
    .option("--no-metrics-policies", "leave out the metrics of each policy")
    .option("--socket-group <group>", "members of this group may ask the agent too (mode 0660)")
    .addOption(
      new Option("--log-level <level>", "the least that is logged").choices(LOG_LEVELS).default("info"),
    )
    .addOption(
      new Option("--log-format <format>", "log lines for people or for programs")
        .choices(LOG_FORMATS)
        .default("text"),
    )
    .addHelpText("after", HELP)
    .action(exits(run));
}

type Listen = { readonly host: string; readonly port: number } | "off";

const METRICS_DEFAULT = { host: "127.0.0.1", port: 9469 };

/** "127.0.0.1:9469", "[::1]:9469", ":9469" (every address), or "off". */
function listenFrom(text: string): Listen {
  if (text === "off") return text;
  const [, v6, other, digits] = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]*)):(\d{1,5})$/i.exec(text) ?? [];
  const host = v6 ?? (other || "::");
  const port = Number(digits);
  const isAddress = isIP(host) === (v6 === undefined && host !== "::" ? 4 : 6);
  if (digits === undefined || port > 65_535 || !isAddress)
    throw new InvalidArgumentError("Write it as 127.0.0.1:9469, [::1]:9469, :9469 or off.");
  return { host, port };
}

/** Names of interfaces, as the kernel takes them; that they exist is asked when they are attached to. */
function namesOf(text: string): readonly string[] {
  const names = text.split(",").map((name) => name.trim());
  const wrong = names.find((name) => !/^[^/\s]{1,15}$/.test(name) || name === "." || name === "..");
  if (wrong === undefined) return [...new Set(names)];
  throw new InvalidArgumentError(`${JSON.stringify(wrong)} is no name of an interface.`);
}

/** Neither does anything without the other. */
function uplinksOf({ uplink, denyCidrs }: Options): UplinkOptions | undefined {
  if (uplink === undefined && denyCidrs === undefined) return undefined;
  if (uplink !== undefined && denyCidrs !== undefined) return { interfaces: uplink, denied: denyCidrs };
  const [given, missing] = uplink === undefined ? ["--deny-cidrs", "--uplink"] : ["--uplink", "--deny-cidrs"];
  throw new CommandError(`${given} needs ${missing}; see: weir run --help`, EXIT.usage);
}

function countFrom(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError("Write a number from 1 to 9999.");
  return Number(text);
}

async function run(context: Context, options: Options): Promise<number> {
  const { env, settings } = context;
  const uplinks = uplinksOf(options);
  // Two agents would undo each other's work: asked before anything is touched.
  const other = await askAgentIfAble<StatusView>(context, "status");
  if (!isSilence(other)) {
    throw new CommandError(`another agent runs (pid ${other.pid}, at ${settings.socket}); one node has one`);
  }
  if (other.hangs) throw new CommandError(`${other.reason}; one node has one agent`);
  // Later it may come and go; at the start it is a slip of the pen.
  if (!existsSync(options.manifests))
    throw new CommandError(`${options.manifests} does not exist`, EXIT.notFound);
  const group = options.socketGroup === undefined ? undefined : groupNumber(options.socketGroup);
  const signal = env.stopSignal();
  const [{ runAgent }, { openLog }] = await Promise.all([import("../agent.ts"), import("../base/log.ts")]);
  const log = openLog({
    level: options.logLevel,
    format: options.logFormat,
    write: (line) => env.stderr.write(`${printable(line.trimEnd())}\n`),
    now: env.now,
  });
  return runAgent(
    {
      ...settings,
      source: { kind: "manifests", path: options.manifests },
      once: options.once === true,
      fromPodHook: options.fromPodHook,
      mode: options.mode,
      object: objectPath(env),
      ...(uplinks === undefined ? {} : { uplinks }),
      ...(group === undefined ? {} : { socketGroup: group }),
      ...(options.eventsFile === undefined
        ? {}
        : {
            eventsFile: {
              path: options.eventsFile,
              bytesMax: options.eventsFileSize * 1024 * 1024,
              files: options.eventsFileCount,
            },
          }),
      ...(options.metricsListen === "off"
        ? {}
        : { metrics: { listen: options.metricsListen, policies: options.metricsPolicies } }),
    },
    { log, signal, now: env.now, version: versionOf(env.root) },
  );
}
