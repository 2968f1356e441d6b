// `weir check node`: can Weir enforce on this node, and with which means?

import type { Command } from "commander";
import { type Exits, headersOption, note, outputOption, type WriteOptions, write } from "../command.ts";
import { type Context, EXIT, objectPath } from "../environment.ts";
import { checkSummary, checkTable } from "../preflight-report.ts";

const HELP = `
Tries each operation of an agent's life with the capabilities that this process has, and leaves nothing behind:
programs are loaded with private maps, attached to a pair of veth devices (weir-check) that carries no traffic, pinned
beside the directory of pins, opened by path, and removed. With --config also whether the CNI directories can be
written to and the API server lists what is followed.
STATE is ok, fallback (works in another way, or with a disadvantage), missing (Weir cannot enforce), or unknown (it
could not be tried; another line says why).

Examples:
  weir check node
  kubectl -n kube-system exec daemonset/weir -- weir check node --config /etc/weir/config.yaml
  weir check node -o json | jq -r '.[] | select(.state != "ok") | .detail'

Exit codes:
  0 Weir can enforce here, 1 something is missing or unknown, 2 wrong usage`;

export function addCheckNode(parent: Command, exits: Exits): void {
  parent
    .command("node")
    .description("check whether Weir can enforce on this node: privilege, kernel features, paths")
    .option("--config <file>", "configuration of `weir run`; default $WEIR_CONFIG")
    .addOption(outputOption("table", "json", "yaml"))
    .addOption(headersOption())
    .addHelpText("after", HELP)
    .action(exits(check));
}

interface Options extends WriteOptions {
  readonly config?: string;
}

async function check({ env, settings }: Context, options: Options): Promise<number> {
  const [{ checkNode }, { layersOf, resolveConfig }, { sourceIfAny }] = await Promise.all([
    import("../preflight-checks.ts"),
    import("../config/config-resolve.ts"),
    import("../source-options.ts"),
  ]);
  const resolved = resolveConfig(await layersOf(env, options.config));
  const source = sourceIfAny(resolved, env);
  const { config } = resolved;
  const findings = await checkNode({ settings, object: objectPath(env), config, ...(source && { source }) });
  await write(env, { table: () => checkTable(findings), value: findings }, options);
  if (options.output === "table") note(env, checkSummary(findings));
  return findings.some(({ state }) => state === "missing" || state === "unknown") ? EXIT.error : EXIT.ok;
}
