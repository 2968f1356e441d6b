// The support bundle: its files, and the tar archive that holds them.

import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { cpus, hostname, release, totalmem, uptime, version } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { messageOf } from "../base/errors.ts";
import type { LogView } from "../observe/api-views.ts";
import { askAgentOrFail, type View } from "./agent-client.ts";
import { jsonText } from "./command.ts";
import { versionsOf } from "./commands/version-command.ts";
import { compare } from "./dump/dump-against-desired.ts";
import { type Context, objectPath } from "./environment.ts";
import { askHistory } from "./history-client.ts";
import { checkNode } from "./preflight-checks.ts";
import { takeSnapshot } from "./snapshot-file.ts";

export interface Part {
  /** Path in the archive. */
  readonly name: string;
  readonly holds: string;
  /** A text is searched for secrets; bytes are taken as they are. Throws why there is nothing. */
  readonly make: (context: Context) => string | Buffer | Promise<string | Buffer>;
}

const VIEWS: readonly (readonly [view: View, holds: string])[] = [
  ["status", "the agent's status, with all problems"],
  ["endpoints", "this node's pods, and the policies that isolate them"],
  ["policies", "the policies, and where they are enforced"],
  ["cluster", "the pods, namespaces and policies that the agent has read"],
  ["state", "the desired state of the maps"],
  ["names", "names of the numbers in the maps"],
  ["events", "the latest packets that were dropped"],
];

const COMMANDS: readonly (readonly [name: string, command: readonly [string, ...string[]], holds: string])[] =
  [
    [
      "links.txt",
      ["ip", "-details", "-statistics", "link", "show"],
      "interfaces, their drivers and counters",
    ],
    ["addresses.txt", ["ip", "address", "show"], "addresses of this network namespace"],
    ["attached.txt", ["bpftool", "net", "show"], "programs attached to interfaces, those of others included"],
  ];

const CHECKS: Part = {
  name: "check-node.json",
  holds: "whether Weir can enforce on this node (weir check node)",
  make: async ({ env, settings }) => jsonText(await checkNode({ settings, object: objectPath(env) })),
};

export const PARTS: readonly Part[] = [
  {
    name: "versions.json",
    holds: "versions of this command, the agent, libbpf, the map layout, the kernel and Node.js",
    make: async (context) => jsonText(await versionsOf(context)),
  },
  CHECKS,
  { name: "node/machine.json", holds: "name, kernel, processors and memory of the node", make: machine },
  ...COMMANDS.map(
    ([name, command, holds]): Part => ({
      name: `node/${name}`,
      holds: `${holds} (${command.join(" ")})`,
      make: () => outputOf(command),
    }),
  ),
  ...VIEWS.map(
    ([view, holds]): Part => ({
      name: `agent/${view}.json`,
      holds,
      make: async (context) => jsonText(await askAgentOrFail<object>(context, view, "this needs the agent")),
    }),
  ),
  {
    name: "agent/drops.json",
    holds: "what was dropped in the last 24 hours, added up (weir drops --since 24h)",
    async make(context) {
      const since = new Date(context.env.now().getTime() - DAY_MS).toISOString();
      return jsonText(await askHistory(context, "", { since, verdict: "dropped" }, HISTORY_MS_MAX));
    },
  },
  {
    name: "agent/log.txt",
    holds: "the last lines of the agent's log",
    make: async (context) => {
      const { lines } = await askAgentOrFail<LogView>(context, "log", "the log is the agent's");
      return lines.map((line) => `${line}\n`).join("");
    },
  },
  {
    name: "kernel/maps.ndjson.gz",
    holds: "every table of the kernel, decoded (weir snapshot --compare takes it)",
    make: async (context) => gzipSync([...(await takeSnapshot(context)).lines].join("")),
  },
  {
    name: "kernel/differences.json",
    holds: "where the kernel differs from the agent's desired state (weir maps dump --diff)",
    make: async (context) => jsonText(await compare(context)),
  },
  { name: "kernel/pins.txt", holds: "what is pinned", make: ({ settings }) => pins(settings.bpffs) },
];

const DAY_MS = 24 * 3_600_000;
/** A hung agent must not hold up the bundle for longer. */
const HISTORY_MS_MAX = 10_000;

function machine(): string {
  const pressure = (name: string): string | undefined => {
    const path = `/proc/pressure/${name}`;
    return existsSync(path) ? readFileSync(path, "utf8").trim() : undefined;
  };
  const [cpu] = cpus();
  return jsonText({
    name: hostname(),
    kernel: release(),
    build: version(),
    processors: { count: cpus().length, model: cpu?.model },
    memoryBytes: totalmem(),
    uptimeSeconds: Math.round(uptime()),
    load: readFileSync("/proc/loadavg", "utf8").trim(),
    pressure: { cpu: pressure("cpu"), memory: pressure("memory") },
  });
}

const COMMAND_MS_MAX = 10_000;

async function outputOf([command, ...args]: readonly [string, ...string[]]): Promise<string> {
  const options = { timeout: COMMAND_MS_MAX, maxBuffer: 64 * 1024 * 1024 };
  const { stdout } = await promisify(execFile)(command, args, options);
  return stdout;
}

/** One path a line, below the root of the pins. */
function pins(root: string): string {
  if (!existsSync(root)) throw new Error(`${root} does not exist`);
  const entries = readdirSync(root, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => `${join(entry.parentPath, entry.name)}\n`)
    .sort()
    .join("");
}

export interface Made {
  readonly part: Part;
  readonly content: Buffer | undefined;
  /** Why there is none. */
  readonly reason?: string;
}

/**
 * All parts, in their order. Together, so that an agent that does not answer costs its timeout once; but the checks of the
 * node, which make interfaces for a moment, come after the lists of interfaces.
 */
export async function makeParts(context: Context): Promise<Made[]> {
  const made = new Map<Part, Made>();
  const make = async (part: Part): Promise<void> => void made.set(part, await makePart(part, context));
  await Promise.all(PARTS.filter((part) => part !== CHECKS).map(make));
  await make(CHECKS);
  return PARTS.map((part) => made.get(part) as Made);
}

/** Never throws: what cannot be had is missing, and says why. */
async function makePart(part: Part, context: Context): Promise<Made> {
  const { withoutSecrets } = await import("../observe/redact-secrets.ts");
  try {
    const made = await part.make(context);
    return { part, content: typeof made === "string" ? Buffer.from(withoutSecrets(made)) : made };
  } catch (thrown) {
    return { part, content: undefined, reason: messageOf(thrown) };
  }
}
