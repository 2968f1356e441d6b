// The table of commands, the options that all of them take, and how a command line becomes an exit code.

import { resolve } from "node:path";
import { type Argument, Command, CommanderError, Option } from "commander";
import { codeOf, messageOf } from "../base/errors.ts";
import { hintText } from "../base/nearest-word.ts";
import { printable } from "../observe/text-output.ts";
import type { Adder, Exits } from "./command.ts";
import { addBypassEnd, addBypassList, addBypassNode, addBypassPod } from "./commands/bypass-command.ts";
import { addCheckNode } from "./commands/check-node-command.ts";
import { addCleanup } from "./commands/cleanup-command.ts";
import { addCniInstall, addCniStatus, addCniUninstall } from "./commands/cni-command.ts";
import { addCompletion } from "./commands/completion-command.ts";
import { addConntrackFlush, addConntrackList } from "./commands/conntrack-command.ts";
import { addDescribeEndpoint, addDescribePolicy } from "./commands/describe-command.ts";
import { addDiff } from "./commands/diff-command.ts";
import { addDrops } from "./commands/drops-command.ts";
import { addGetEndpoints } from "./commands/get-endpoints-command.ts";
import { addGetPolicies } from "./commands/get-policies-command.ts";
import { addGetReachability } from "./commands/get-reachability-command.ts";
import { addLint } from "./commands/lint-command.ts";
import { addLogLevel } from "./commands/log-level-command.ts";
import { addMapsDump, addMapsList } from "./commands/maps-command.ts";
import { addMonitor } from "./commands/monitor-command.ts";
import { addResync } from "./commands/resync-command.ts";
import { addConfigFlags, addRun } from "./commands/run-command.ts";
import { addSnapshot } from "./commands/snapshot-command.ts";
import { addStatus } from "./commands/status-command.ts";
import { addSuggest } from "./commands/suggest-command.ts";
import { addSysdump } from "./commands/sysdump-command.ts";
import { addTest } from "./commands/test-command.ts";
import { addTop } from "./commands/top-command.ts";
import { addTrace } from "./commands/trace-command.ts";
import { addUi } from "./commands/ui-command.ts";
import { addVersion } from "./commands/version-command.ts";
import {
  BPFFS_DEFAULT,
  CommandError,
  type Context,
  type Env,
  EXIT,
  SOCKET_DEFAULT,
  versionOf,
} from "./environment.ts";

const GET_EXAMPLES = `
Examples:
  weir get endpoints                  this node's pods, and the policies that isolate them
  weir get policies -n alpha          the policies of a namespace, and where they are enforced
  weir get reachability -n alpha      what its workloads may receive and send
`;

const DESCRIBE_EXAMPLES = `
Examples:
  weir describe endpoint alpha/nginx      its addresses, interface and state, and what its policies allow
  weir describe policy alpha/web          its rules, and on which pods it is enforced
`;

const MAPS_EXAMPLES = `
Examples:
  weir maps list                      which tables there are, and how full they are
  weir maps dump cidrs                one of them, decoded
`;

const CONNTRACK_EXAMPLES = `
Examples:
  weir conntrack list --pod alpha/nginx   the flows of one pod
  weir conntrack flush --peer 10.0.0.9    remove those with one peer: they are judged again
`;

const CNI_EXAMPLES = `
Examples:
  weir cni install                    delay new pods until their policy is enforced
  weir cni status                     show whether the plugin is installed
`;

const BYPASS_EXAMPLES = `
Examples:
  weir bypass pod shop/web-0 --for 15m --reason INC-4711    its policies drop nothing for a quarter of an hour
  weir bypass list                                          which there are
  weir bypass end --all                                     enforce all policies again
`;

const CHECK_EXAMPLES = `
Examples:
  weir check node                     check whether Weir can enforce here, and with which kernel features
`;

/** Commands in the order of the help; a group is a command that only has commands. */
const COMMANDS: readonly (Adder | Group)[] = [
  addRun,
  addStatus,
  {
    name: "get",
    about: "list the pods and policies of this node, and who may reach whom",
    examples: GET_EXAMPLES,
    commands: [addGetEndpoints, addGetPolicies, addGetReachability],
  },
  {
    name: "describe",
    about: "show one pod or policy in detail",
    examples: DESCRIBE_EXAMPLES,
    commands: [addDescribeEndpoint, addDescribePolicy],
  },
  addTrace,
  addDiff,
  {
    name: "maps",
    about: "show the contents of the kernel's maps",
    examples: MAPS_EXAMPLES,
    commands: [addMapsList, addMapsDump],
  },
  {
    name: "conntrack",
    about: "list or remove the flows of the flow table",
    examples: CONNTRACK_EXAMPLES,
    commands: [addConntrackList, addConntrackFlush],
  },
  addSnapshot,
  addMonitor,
  addDrops,
  addTop,
  addSuggest,
  addUi,
  {
    name: "check",
    about: "run preflight checks",
    examples: CHECK_EXAMPLES,
    commands: [addCheckNode],
  },
  {
    name: "cni",
    about: "install, remove or check the CNI plugin",
    examples: CNI_EXAMPLES,
    commands: [addCniInstall, addCniUninstall, addCniStatus],
  },
  addSysdump,
  addLint,
  addTest,
  {
    name: "bypass",
    about: "let packets pass in an emergency, for a limited time",
    examples: BYPASS_EXAMPLES,
    commands: [addBypassPod, addBypassNode, addBypassList, addBypassEnd],
  },
  addResync,
  addLogLevel,
  addCleanup,
  addCompletion,
  addVersion,
];

interface Group {
  readonly name: string;
  readonly about: string;
  readonly examples: string;
  readonly commands: readonly Adder[];
}

const ABOUT = `Enforces Kubernetes NetworkPolicy on this node, beside any CNI, by a small eBPF program on every pod's interface.`;

const EXAMPLES = `
Examples:
  weir run --manifests /etc/weir/manifests     enforce the policies of a directory and follow its changes
  weir status                                  show whether all policies are enforced
  weir get endpoints -o wide                   this node's pods, the policies that isolate them, their packets
  weir trace --from a/x --to b/y --port 80     show whether x reaches y, and by which rule
  weir maps dump cidrs                         prefixes in the kernel, with their meaning
  weir cleanup                                 remove everything from the node

Environment:
  WEIR_BPFFS, WEIR_SOCKET                      defaults of --bpffs and --socket
  WEIR_DEBUG=1                                 show stack traces of errors
  NO_COLOR=1                                   disable colours

Exit codes:
  0 success, 1 error, 2 wrong usage, 3 denied, 4 not found, 5 a difference, 6 permission denied, 7 degraded,
  8 down; which of them a command has, and when, is in its help
`;

/** Commands that need the flags of `run`, which take long to load. */
const NEED_CONFIG = ["run"];

/**
 * Builds all commands. `exits` keeps what commander throws away: the exit code of each. With the words of a command line,
 * the options that the line cannot use may be missing.
 */
export async function buildProgram(
  env: Env,
  exits: Exits,
  words: readonly string[] = NEED_CONFIG,
): Promise<Command> {
  const program = configured(new Command("weir"), env)
    .description(ABOUT)
    .addOption(
      new Option("--bpffs <dir>", `directory of the pins, in a BPF filesystem (default: ${BPFFS_DEFAULT})`),
    )
    .addOption(new Option("--socket <path>", `the agent's socket (default: ${SOCKET_DEFAULT})`))
    .addHelpText("after", EXAMPLES);
  for (const each of COMMANDS) {
    if (typeof each === "function") {
      each(program, exits);
      continue;
    }
    const group = program.command(each.name).description(each.about).addHelpText("after", each.examples);
    for (const add of each.commands) add(group, exits);
  }
  if (words.some((word) => NEED_CONFIG.includes(word))) await addConfigFlags(program);
  return program;
}

const HELP_WIDTH = 110;

/** Without aliases, which have a line of their own where there are any. */
function commandUsage(command: Command): string {
  const names: string[] = [];
  for (let at: Command | null = command; at !== null; at = at.parent) names.unshift(at.name());
  return `${names.join(" ")} ${command.usage()}`;
}

const subcommandTerm = (command: Command): string =>
  [
    command.name(),
    ...(command.options.length === 0 ? [] : ["[options]"]),
    ...command.registeredArguments.map(argumentTerm),
  ].join(" ");

function argumentTerm(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? "..." : ""}`;
  return argument.required ? `<${name}>` : `[${name}]`;
}

const configured = (program: Command, env: Env): Command =>
  program
    .version(versionOf(env.root), "--version", "print the version of this command")
    .exitOverride()
    .configureHelp({ showGlobalOptions: true, commandUsage, subcommandTerm })
    .configureOutput({
      writeOut: (text) => env.stdout.write(text),
      writeErr: (text) => env.stderr.write(text),
      outputError: () => undefined,
      getOutHelpWidth: () => env.stdout.columns ?? HELP_WIDTH,
      getErrHelpWidth: () => env.stderr.columns ?? HELP_WIDTH,
    });

/** First word of the command lines of `kubectl weir` (bin/kubectl-weir). */
const PLUGIN = "__kubectl";

/** `kubectl weir`: other commands, which query all agents of a cluster. */
export async function buildPlugin(env: Env, exits: Exits): Promise<Command> {
  const [
    plugin,
    { addClusterOptions },
    { addClusterMonitor },
    { addClusterDrops, addClusterTop },
    { addClusterUi },
  ] = await Promise.all([
    import("./plugin/plugin.ts"),
    import("./plugin/cluster-command.ts"),
    import("./plugin/cluster-monitor.ts"),
    import("./plugin/cluster-history.ts"),
    import("./plugin/cluster-ui.ts"),
  ]);
  const program = addClusterOptions(configured(new Command("kubectl weir"), env));
  program
    .description("Query the agents of Weir on all nodes of a cluster, by commands in their pods.")
    .addHelpText("after", PLUGIN_EXAMPLES);
  plugin.addClusterStatus(program, exits);
  const group = program
    .command("get")
    .description("list the pods and policies of the cluster")
    .addHelpText("after", PLUGIN_GET_EXAMPLES);
  plugin.addClusterEndpoints(group, exits);
  plugin.addClusterPolicies(group, exits);
  plugin.addClusterTrace(program, exits);
  addClusterMonitor(program, exits);
  addClusterDrops(program, exits);
  addClusterTop(program, exits);
  const bypass = program
    .command("bypass")
    .description("show emergency bypasses")
    .addHelpText("after", PLUGIN_BYPASS_EXAMPLES);
  plugin.addClusterBypassList(bypass, exits);
  plugin.addClusterSysdump(program, exits);
  addClusterUi(program, exits);
  return program;
}

const PLUGIN_EXAMPLES = `
Examples:
  kubectl weir status                               is everything enforced, on all nodes?
  kubectl weir get policies                         on how many pods and nodes is each policy enforced?
  kubectl weir drops --since 1h --by policy         what was dropped, and by what?
  kubectl weir monitor -f --pod shop/web            and as it happens
  kubectl weir trace --from a/x --to b/y --port 80  whether x reaches y, by the kernels of both nodes
  kubectl weir ui                                   all of it as a page in a browser

Exit codes:
  0 success, 1 error (also of a single node), 2 wrong usage, 3 denied, 4 not found, 5 a kernel disagrees,
  6 permission denied, 7 a node is not ok; which of them a command has, and when, is in its help
`;

const PLUGIN_GET_EXAMPLES = `
Examples:
  kubectl weir get pods -n alpha                    pods of all nodes, and the policies that isolate them
  kubectl weir get netpol -o wide                   policies, with pods and nodes added up
`;

const PLUGIN_BYPASS_EXAMPLES = `
Examples:
  kubectl weir bypass list                          which there are, on all nodes
`;

/** Runs one command line (without the program's own name) to its end. Never throws. */
export async function runCommand(line: readonly string[], env: Env): Promise<number> {
  const isPlugin = line[0] === PLUGIN;
  const args = isPlugin ? line.slice(1) : line;
  let exitCode: number = EXIT.ok;
  const exits: Exits =
    (work) =>
    async (...values) => {
      exitCode = await work(contextOf(program.opts(), env), ...values);
    };
  const program = isPlugin ? await buildPlugin(env, exits) : await buildProgram(env, exits, args);
  try {
    if (args[0] === "__complete") {
      const { complete } = await import("./completion-candidates.ts");
      env.stdout.write(await complete(program, args.slice(1), (options) => contextOf(options, env)));
      return EXIT.ok;
    }
    requireHelpTopic(program, args);
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (thrown) {
    return report(thrown, env, () => commandNamed(program, args));
  }
}

/** commander shows the general help for `help NONSENSE`. @throws CommandError */
function requireHelpTopic(program: Command, args: readonly string[]): void {
  const words = args.filter((word) => !word.startsWith("-"));
  const at = words.indexOf("help");
  let command = program;
  for (const word of words.slice(0, Math.max(at, 0))) {
    const next = commandIn(command, word);
    if (next === undefined) return;
    command = next;
  }
  // "help" is a command only in the place of one.
  if (at < 0 || command.commands.length === 0) return;
  for (const topic of words.slice(at + 1)) {
    const next = commandIn(command, topic);
    if (next === undefined) {
      const hint = hintText(
        topic,
        command.commands.flatMap((each) => [each.name(), ...each.aliases()]),
      );
      throw new CommandError(`no command ${[...words.slice(0, at), topic].join(" ")}${hint}`, EXIT.usage);
    }
    command = next;
  }
}

const commandIn = (command: Command, word: string): Command | undefined =>
  command.commands.find((each) => each.name() === word || each.aliases().includes(word));

/** Where neither option nor variable says otherwise, the defaults hold; an empty text says nothing. */
function contextOf({ bpffs, socket }: { bpffs?: string; socket?: string }, env: Env): Context {
  const { WEIR_BPFFS, WEIR_SOCKET } = env.variables;
  return {
    env,
    settings: {
      bpffs: resolve(bpffs || WEIR_BPFFS || BPFFS_DEFAULT),
      socket: resolve(socket || WEIR_SOCKET || SOCKET_DEFAULT),
    },
    run: runCommand,
  };
}

/** Writes the one line that says what went wrong, and gives the exit code. */
function report(thrown: unknown, env: Env, command: () => string): number {
  const say = (text: string): void => {
    env.stderr.write(`weir: ${printable(text.trim().replaceAll(/\s*\n\s*/g, " "))}\n`);
  };
  if (thrown instanceof CommanderError) {
    // Requested help is a success; help instead of a missing command is not.
    if (thrown.code === "commander.helpDisplayed" || thrown.code === "commander.version") return EXIT.ok;
    if (thrown.code === "commander.help") return thrown.exitCode === 0 ? EXIT.ok : EXIT.usage;
    say(`${thrown.message.replace(/^error: /, "").replace(/\.?\s*$/, "")}; see: ${command()} --help`);
    return EXIT.usage;
  }
  if (env.variables["WEIR_DEBUG"] === "1" && thrown instanceof Error) env.stderr.write(`${thrown.stack}\n`);
  if (thrown instanceof CommandError) {
    say(thrown.message);
    return thrown.exitCode;
  }
  const denied = isDenied(thrown);
  say(`${messageOf(thrown)}${denied && process.getuid?.() !== 0 ? "; run it as root" : ""}`);
  return denied ? EXIT.forbidden : EXIT.error;
}

/** Whether the kernel refused, here or in what caused it. */
function isDenied(thrown: unknown): boolean {
  if (["EPERM", "EACCES"].includes(codeOf(thrown) ?? "")) return true;
  return thrown instanceof Error && thrown.cause !== undefined && isDenied(thrown.cause);
}

/** The command that a line means, as far as its words name one: "weir maps dump". */
function commandNamed(program: Command, args: readonly string[]): string {
  const words = [program.name()];
  let at = program;
  for (const word of args) {
    const next = commandIn(at, word);
    if (next === undefined) continue;
    words.push(next.name());
    at = next;
  }
  return words.join(" ");
}
