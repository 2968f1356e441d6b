// `weir trace`: does one end reach another, and by which rule?

import { type Command, InvalidArgumentError, Option } from "commander";
import { PROTOCOLS } from "../../model/protocol.ts";
import { type Exits, filenameOption, manifestsOption, outputOption, writeReport } from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";
import type { Situation } from "../query-cluster.ts";
import type { Traced } from "../trace-report.ts";

const CHOICES = [...PROTOCOLS, "ICMP"] as const;

interface Options {
  readonly from: string;
  readonly to: string;
  readonly port?: string;
  readonly protocol: (typeof CHOICES)[number];
  readonly name?: string;
  readonly manifests?: string;
  readonly filename?: readonly string[];
  /** False with --no-kernel. */
  readonly kernel: boolean;
  readonly output: "text" | "json" | "yaml";
}

const HELP = `
An end is a pod (NAMESPACE/NAME) or an address; the destination may be a Service, by name or address, with a trace
to every backend. Both ends are evaluated: the policies that isolate them, the rules that allow the traffic, and if
there is none, the nearest rule with what it requires. The policies come from the agent; then the kernel's verdict,
from a shadow instance of the interfaces' programs over the policy maps, which changes nothing there.

Examples:
  weir trace --from shop/web --to shop/db --port 5432
  weir trace --from shop/web --to shop/db                           every port, in ranges of one verdict
  weir trace --from 203.0.113.7 --to shop/web --port https          a port by its name on the pod
  weir trace --from shop/web --to 198.51.100.7 --port 443 --name api.example.com
  weir trace --from shop/web --to kube-system/kube-dns --port 53 --protocol UDP
  weir trace --from shop/web --to shop/db --port 5432 -f new.yaml   as if this was applied
  weir trace --from a/x --to b/y --port 80 --manifests policies/    without an agent
  weir trace --from a/x --to b/y --port 80 -o json | jq '.paths[].ingress.allowedBy'

Exit codes:
  0 allowed, 1 error, 2 wrong usage, 3 denied (or partly), 4 no such pod, Service or port, 5 the kernel disagrees`;

export function addTrace(parent: Command, exits: Exits): void {
  parent
    .command("trace")
    .description("show whether one end reaches another, and by which rule")
    .requiredOption("--from <end>", "source: NAMESPACE/POD or an address")
    .requiredOption("--to <end>", "destination: NAMESPACE/NAME of a pod or Service, or an address")
    .option(
      "--port <port>",
      "destination port: a number, a range (8000-8080) or a name; without it, every port",
    )
    .addOption(
      new Option("--protocol <protocol>", "protocol of the connection")
        .choices(CHOICES)
        .default("TCP")
        .argParser(protocolFrom),
    )
    .option(
      "--name <name>",
      "domain name that the source is supposed to have resolved to the destination's address",
    )
    .addOption(filenameOption("evaluate as if these manifests were applied"))
    .addOption(manifestsOption())
    .option(
      "--no-kernel",
      "skip the kernel: the first query of an agent loads its programs, which takes seconds",
    )
    .addOption(outputOption("text", "json", "yaml"))
    .addHelpText("after", HELP)
    .action(exits(trace));
}

/** In any case: "tcp" too. */
function protocolFrom(text: string): (typeof CHOICES)[number] {
  const found = CHOICES.find((each) => each === text.toUpperCase());
  if (found === undefined) throw new InvalidArgumentError(`Allowed choices are ${CHOICES.join(", ")}.`);
  return found;
}

async function trace(context: Context, options: Options): Promise<number> {
  if (options.protocol === "ICMP" && options.port !== undefined)
    throw new CommandError("ICMP has no ports; leave out --port", EXIT.usage);
  const [{ situationOf }, { reportOf, reportText }] = await Promise.all([
    import("../query-cluster.ts"),
    import("../trace-report.ts"),
  ]);
  let situation = await situationOf(context, options);
  let traced = await tracedIn(context, situation, options);
  for (let again = 1; again < ATTEMPTS_MAX && isOvertaken(situation, traced); again++) {
    situation = await situationOf(context, options);
    traced = await tracedIn(context, situation, options);
  }
  const report = reportOf(traced, situation.where);
  await writeReport(context.env, { value: report, text: () => reportText(report) }, options.output);
  if (report.kernel?.asked === true && !report.kernel.agrees) return EXIT.differs;
  return report.allowed ? EXIT.ok : EXIT.denied;
}

const ATTEMPTS_MAX = 3;

/** Whether the kernel answered for another generation than the agent: an update came between. */
const isOvertaken = ({ live }: Situation, { kernel }: Traced): boolean =>
  live !== undefined && kernel?.asked === true && kernel.generation !== live.generation;

async function tracedIn(context: Context, situation: Situation, options: Options): Promise<Traced> {
  const { after, before, live } = situation;
  const { pathsIn } = await import("../trace-question.ts");
  const isChange = after !== before;
  const paths = pathsIn({ cluster: after, before: isChange ? before : undefined }, options, live);
  // A change, manifests and a supposed name are not in the kernel.
  if (isChange || live === undefined || !options.kernel || options.name !== undefined)
    return { paths, kernel: undefined };
  const { askKernel } = await import("../trace-in-kernel.ts");
  return { paths, kernel: await askKernel(context, live, paths) };
}
