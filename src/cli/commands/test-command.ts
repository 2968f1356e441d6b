// `weir test`: do the policies of a case let through what they should, and nothing else?

import { dirname } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { FROM_POD_HOOKS, type FromPodHook } from "../../base/direction.ts";
import { messageOf } from "../../base/errors.ts";
import { ENGINE_NAMES, type EngineName } from "../../engines/engine-names.ts";
import type { Case } from "../../source/conformance/case-types.ts";
import { type Exits, jsonText, outputOption } from "../command.ts";
import { CommandError, type Context, EXIT, objectPath } from "../environment.ts";
import type { CaseReport, Totals } from "../test-report.ts";
import type { RunOptions } from "../test-runner.ts";

interface Options {
  readonly engine: EngineName;
  readonly fromPodHook: FromPodHook;
  readonly output: "text" | "json" | "yaml" | "junit";
  readonly filter?: RegExp;
  readonly feature?: readonly string[];
  readonly failFast?: true;
}

const HELP = `
A case is a file (YAML or JSON, format np-conformance/1) with a small cluster, policies that change in steps, and
tables of expected connections. A directory means all cases below it; other files are ignored.

Engines:
  oracle    an evaluator of the Kubernetes API's text, independent of the enforcement
  plan      the compiled policies, looked up in memory
  kernel    the BPF programs and maps, run on a packet for every cell (needs root)
  live      network namespaces with sockets, and Weir on their links (needs root; no SCTP)

Examples:
  weir test policies/tests                         every case of a directory, in the kernel
  weir test --engine plan shop.yaml                one case, without any privilege
  weir test --engine live --filter '^shop/' tests  real packets, for cases whose id or name begins with shop/
  weir test -o junit tests >report.xml             for a CI system

Exit codes:
  0 everything compared was as expected, 1 a mismatch, a case that could not be run, or nothing compared,
  2 wrong usage`;

export function addTest(parent: Command, exits: Exits): void {
  parent
    .command("test")
    .description("test policies against tables of expected connections")
    .argument("<paths...>", "case files, or directories of them")
    .addOption(
      new Option("--engine <engine>", "what evaluates the case").choices(ENGINE_NAMES).default("kernel"),
    )
    .addOption(
      new Option("--from-pod-hook <hook>", "kernel and live: hook for packets from pods")
        .choices(FROM_POD_HOOKS)
        .default("tc"),
    )
    .addOption(outputOption("text", "json", "yaml", "junit"))
    .option("--filter <regex>", "only cases with a matching id or name", regexOf)
    .option("--feature <name>", "only cases with this feature; repeat it for cases with several", collected)
    .option("--fail-fast", "stop after the first case with a failure")
    .addHelpText("after", HELP)
    .action(exits(test));
}

function regexOf(text: string): RegExp {
  try {
    return new RegExp(text, "u");
  } catch (thrown) {
    throw new InvalidArgumentError(`${messageOf(thrown)}.`);
  }
}

const collected = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];

async function test(context: Context, paths: readonly string[], options: Options): Promise<number> {
  const [{ runCases }, { ObstacleError }] = await Promise.all([
    import("../test-runner.ts"),
    import("../../engines/open-engine.ts"),
  ]);
  const output = await OUTPUTS[options.output](context, options.engine);
  const run: RunOptions = {
    paths,
    engine: options.engine,
    // Beside the agent's pins, since an agent removes unknown ones among its own.
    engineOptions: {
      object: objectPath(context.env),
      bpffs: dirname(context.settings.bpffs),
      fromPodHook: options.fromPodHook,
    },
    select: (of) => isSelected(of, options),
    failFast: options.failFast === true,
    onCase: output.add,
  };
  const totals = await runCases(run).catch((thrown: unknown) => {
    if (!(thrown instanceof ObstacleError)) throw thrown;
    throw new CommandError(`${thrown.message}; \`--engine plan\` needs no privilege`);
  });
  output.end(totals);
  if (totals.failed > 0) return EXIT.error;
  if (totals.passed > 0) return EXIT.ok;
  throw new CommandError(
    totals.cases === 0
      ? "no case was selected"
      : `nothing was compared: engine ${options.engine} could judge no cell`,
  );
}

const isSelected = ({ id, name, features }: Case, { filter, feature = [] }: Options): boolean =>
  (filter === undefined || filter.test(id) || filter.test(name)) &&
  feature.every((each) => features.includes(each));

/** An output format: gets the cases one by one, then the end. */
interface Report {
  readonly add: (report: CaseReport) => void;
  readonly end: (totals: Totals) => void;
}

async function asData(engine: EngineName, write: (value: unknown) => void): Promise<Report> {
  const { failuresOf } = await import("../test-report.ts");
  const failures: unknown[] = [];
  return {
    add: (report) => {
      for (const failure of failuresOf(report)) failures.push(failure);
    },
    end: (totals) => write({ engine, ...totals, failures }),
  };
}

const OUTPUTS: Readonly<
  Record<Options["output"], (context: Context, engine: EngineName) => Promise<Report>>
> = {
  async text({ env }, engine) {
    const { caseText, summaryText } = await import("../test-report.ts");
    const startedAt = env.now().getTime();
    return {
      add: (report) => env.stdout.write(caseText(report, engine)),
      end: (totals) =>
        env.stdout.write(summaryText(totals, engine, (env.now().getTime() - startedAt) / 1000)),
    };
  },
  json: ({ env }, engine) => asData(engine, (value) => env.stdout.write(jsonText(value))),
  async yaml({ env }, engine) {
    const { yamlText } = await import("../yaml-output.ts");
    return asData(engine, (value) => env.stdout.write(yamlText(value)));
  },
  async junit({ env }, engine) {
    const { junitText } = await import("../test-report.ts");
    const reports: CaseReport[] = [];
    return {
      add: (report) => reports.push(report),
      end: () => env.stdout.write(junitText(reports, engine)),
    };
  },
};
