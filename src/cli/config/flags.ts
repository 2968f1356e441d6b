// The options of the configuration as flags of `weir run`.

import { InvalidArgumentError, Option } from "commander";
import { OPTIONS, type OptionSpec } from "./config-options.ts";
import { checked, valueOfText } from "./read.ts";

/** For the command `run`, in the order of its help. */
export const configFlags = (): readonly Option[] =>
  OPTIONS.flatMap((spec) => (spec.type === "boolean" ? switches(spec) : [valued(spec)]));

/** The one for what is not so anyway; the other, hidden one overrules a file or the environment. */
function switches({ flags, description, off }: OptionSpec): readonly Option[] {
  const opposite = flags.startsWith("--no-") ? flags.replace("--no-", "--") : flags.replace("--", "--no-");
  return [new Option(flags, off ?? description), new Option(opposite).hideHelp()];
}

function valued(spec: OptionSpec): Option {
  const option = new Option(spec.flags, spec.description).default(spec.default);
  if (spec.choices !== undefined) return option.choices(spec.choices);
  return option.argParser((text) => {
    const result = checked(spec, valueOfText(spec, text));
    if (result.ok) return result.value;
    throw new InvalidArgumentError(`Expected ${spec.expected}.`);
  });
}
