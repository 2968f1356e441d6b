// `weir cni`: the chained CNI plugin on this node: put into its place, taken away, looked at.

import { statSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { InstallState } from "../../cni/plugin-install.ts";
import { problemText } from "../../model/problem.ts";
import { printable } from "../../observe/text-output.ts";
import { CNI_TIMEOUT_S_DEFAULT, cniEntry, pluginPath } from "../cni-paths.ts";
import { type Exits, note, outputOption, writeReport } from "../command.ts";
import { CommandError, type Context, type Env, EXIT } from "../environment.ts";

interface Places {
  readonly confDir: string;
  readonly binDir: string;
}

type PlaceFlags = Partial<Places>;

/** Each option with the variable that the chart sets for `weir run`, so that commands in the agent's pod need no options. */
const PLACES = {
  confDir: { flag: "--conf-dir", variable: "WEIR_CNI_CONF_DIR", otherwise: "/etc/cni/net.d" },
  binDir: { flag: "--bin-dir", variable: "WEIR_CNI_BIN_DIR", otherwise: "/opt/cni/bin" },
} as const;

const places = (command: Command): Command =>
  command
    .option(
      "--conf-dir <dir>",
      `the runtime's directory of network configurations (default: ${defaultText("confDir")})`,
    )
    .option("--bin-dir <dir>", `the runtime's directory of plugins (default: ${defaultText("binDir")})`);

const defaultText = (place: keyof Places): string =>
  `$${PLACES[place].variable}, else ${PLACES[place].otherwise}`;

const pathOf = ({ variables }: Env, flags: PlaceFlags, place: keyof Places): string =>
  flags[place] || variables[PLACES[place].variable] || PLACES[place].otherwise;

/** They need not be there. */
const locationsOf = (env: Env, flags: PlaceFlags): Places => ({
  confDir: pathOf(env, flags, "confDir"),
  binDir: pathOf(env, flags, "binDir"),
});

/** @throws CommandError where one of them is not there: a wrong one is an error before anything is written */
function placesOf(env: Env, flags: PlaceFlags): Places {
  const places = locationsOf(env, flags);
  for (const place of ["confDir", "binDir"] as const) {
    const path = places[place];
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) continue;
    const { flag, variable } = PLACES[place];
    // The chart gives the agent these directories only together with the variables.
    const isOfChart =
      env.variables["WEIR_IN_CLUSTER"] === "true" && !flags[place] && !env.variables[variable];
    const hint = isOfChart
      ? "; the agent's pod has the node's CNI directories only with cni.enabled (Helm)"
      : "";
    throw new CommandError(`${flag}: there is no directory ${path}${hint}`, EXIT.notFound);
  }
  return places;
}

const INSTALL_HELP = `
Copies the plugin to --bin-dir and appends it to the configuration that the runtime uses: the first *.conflist in
--conf-dir. A single plugin (*.conf) is left unchanged, and copied into a list of Weir's own, 00-weir.conflist.
\`weir run --cni-conf-dir DIR --cni-bin-dir DIR\` does the same, and keeps it installed. See docs/cni.md.

Examples:
  weir cni install
  weir cni install --conf-dir /var/lib/rancher/k3s/agent/etc/cni/net.d --bin-dir /var/lib/rancher/k3s/data/cni

Exit codes:
  0 installed, 1 error (also if the configuration does not allow it), 4 no such directory`;

export function addCniInstall(parent: Command, exits: Exits): void {
  places(parent.command("install"))
    .description("install the CNI plugin, so that no pod starts before its policy is enforced")
    .addOption(
      new Option("--timeout <seconds>", "maximum wait for a pod's policy, then the pod fails")
        .argParser(secondsFrom)
        .default(CNI_TIMEOUT_S_DEFAULT),
    )
    .option("--fail-open", "start pods without their policy if the agent does not answer in time")
    .addHelpText("after", INSTALL_HELP)
    .action(exits(put));
}

const UNINSTALL_HELP = `
Restores the configuration byte by byte. Needs no agent.

Examples:
  weir cni uninstall

Exit codes:
  0 removed, 1 error`;

export function addCniUninstall(parent: Command, exits: Exits): void {
  places(parent.command("uninstall"))
    .description("remove the plugin's entry and binary")
    .addHelpText("after", UNINSTALL_HELP)
    .action(exits(take));
}

const STATUS_HELP = `
Examples:
  weir cni status
  weir cni status -o json | jq .file

Exit codes:
  0 installed, 1 error, 4 no such directory, 5 not installed, or not the plugin of this installation`;

export function addCniStatus(parent: Command, exits: Exits): void {
  places(parent.command("status"))
    .description("show whether the plugin is installed")
    .addOption(outputOption("text", "json", "yaml"))
    .addHelpText("after", STATUS_HELP)
    .action(exits(look));
}

function secondsFrom(text: string): number {
  if (/^[1-9]\d{0,2}$/.test(text) && Number(text) <= 600) return Number(text);
  throw new InvalidArgumentError("Write a number from 1 to 600.");
}

type InstallFlags = PlaceFlags & { readonly timeout: number; readonly failOpen?: true };

async function put({ env, settings }: Context, flags: InstallFlags): Promise<number> {
  const { timeout, failOpen = false } = flags;
  const { confDir, binDir } = placesOf(env, flags);
  const { install } = await import("../../cni/plugin-install.ts");
  const entry = cniEntry(settings, { timeout, failOpen });
  const { file, changed, problems } = install({ confDir, binDir, binary: pluginPath(env), entry });
  for (const path of changed) env.stdout.write(`${printable(path)}: written\n`);
  for (const problem of problems) note(env, problemText(problem));
  if (file === undefined) return EXIT.error;
  env.stdout.write(`weir-cni is installed in ${printable(file)}\n`);
  return EXIT.ok;
}

async function take({ env }: Context, flags: PlaceFlags): Promise<number> {
  const { uninstall } = await import("../../cni/plugin-install.ts");
  const changed = uninstall(locationsOf(env, flags));
  for (const path of changed) env.stdout.write(`${printable(path)}: weir-cni removed\n`);
  if (changed.length === 0) env.stdout.write("weir-cni is not installed\n");
  return EXIT.ok;
}

async function look(
  { env }: Context,
  { output, ...flags }: PlaceFlags & { readonly output: "text" | "json" | "yaml" },
): Promise<number> {
  const { confDir, binDir } = placesOf(env, flags);
  const { inspect } = await import("../../cni/plugin-install.ts");
  const state = inspect({ confDir, binDir, binary: pluginPath(env) });
  await writeReport(env, { value: state, text: () => stateText(state, binDir) }, output);
  return state.entry && state.binary === "current" ? EXIT.ok : EXIT.differs;
}

const BINARIES: Readonly<Record<InstallState["binary"], string>> = {
  current: "in",
  other: "of another version in",
  missing: "not in",
};

function stateText({ file, entry, binary, problems }: InstallState, binDir: string): string {
  const lines = [
    `entry:   ${entry ? "in" : "not in"} ${file ?? "any configuration"}`,
    `binary:  ${BINARIES[binary]} ${binDir}`,
    ...problems.map((problem) => `${problem.severity}: ${problemText(problem)}`),
  ];
  return lines.map((text) => `${printable(text)}\n`).join("");
}
