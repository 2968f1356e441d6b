// `npm run bench -- update`: how long it takes from a changed cluster to the new policy in force.

import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import { describeMachine } from "../common/machine.ts";
import { atLeast, type Format, outputOption, progress } from "../common/options.ts";
import { updateText } from "./report.ts";
import { run } from "./run.ts";
import { CHANGES, type Size } from "./world.ts";

interface Options {
  readonly output: Format;
  readonly runs: number;
  readonly sizes: readonly Size[];
  readonly bpffs: string;
}

const OBJECT = fileURLToPath(new URL("../../bpf/build/filter.bpf.o", import.meta.url));

const SIZES: readonly Size[] = [
  { pods: 1_000, policies: 100, locals: 30 },
  { pods: 10_000, policies: 1_000, locals: 100 },
];

const HELP = `
A cluster of so many pods and policies is compiled for a node with so many of the pods, and brought into maps of the
bench's own by the steps that the agent takes. Then it is changed, again and again in the same way, each time by:
  ${Object.keys(CHANGES).join(", ")}
The row "first" is the first of all, into empty maps. IN FORCE is compile, diff and write together; cleanup comes after.

It needs root and the built object, and removes all that it makes.

Examples:
  npm run bench -- update
  npm run bench -- update --sizes 50000/2000/200                   pods, policies, pods of this node
  npm run -s bench -- update -o json >update.json                  for programs; -s keeps npm itself quiet`;

export function addUpdate(parent: Command): void {
  parent
    .command("update")
    .description("how long an update takes, by the size of the cluster and what has changed")
    .addOption(outputOption())
    .option("--runs <number>", "how often each change is made", atLeast(1), 7)
    .option("--sizes <sizes>", "pods/policies/pods of this node, with commas between sizes", sizesOf, SIZES)
    .option("--bpffs <directory>", "a BPF filesystem", "/sys/fs/bpf")
    .addHelpText("after", HELP)
    .action(update);
}

async function update(options: Options): Promise<void> {
  const rows = await run({ ...options, object: OBJECT, progress });
  process.stdout.write(updateText(options.output, describeMachine(), rows));
}

function sizesOf(text: string): readonly Size[] {
  return text.split(",").map((part) => {
    const [, pods, policies, locals] = /^([1-9]\d{0,5})\/(\d{1,5})\/([1-9]\d{0,3})$/.exec(part) ?? [];
    const size = { pods: Number(pods), policies: Number(policies), locals: Number(locals) };
    if (pods === undefined || size.locals > size.pods)
      throw new InvalidArgumentError(
        "Write PODS/POLICIES/OWN as 1000/100/30; own pods are part of the pods.",
      );
    return size;
  });
}
