// `weir completion`: a shell's own words for completing this command line, made of the table of commands.

import { Argument, type Command } from "commander";
import type { Exits } from "./command.ts";
import { type Context, EXIT } from "./env.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];

const HELP = `
Commands, options, their values, and the names of pods, policies and namespaces (asked of the agent) complete with it.

Examples:
  source <(weir completion bash)                                            in ~/.bashrc
  weir completion bash >/etc/bash_completion.d/weir                         for everyone
  weir completion zsh >"\${fpath[1]}/_weir"                                  before compinit
  weir completion fish >~/.config/fish/completions/weir.fish`;

export function addCompletion(parent: Command, exits: Exits): void {
  parent
    .command("completion")
    .description("words for the shell to complete command lines with")
    .addArgument(new Argument("<shell>", "for which shell").choices(SHELLS))
    .addHelpText("after", HELP)
    .action(exits((context: Context, shell: Shell) => completion(context, shell, parent)));
}

async function completion({ env }: Context, shell: Shell, program: Command): Promise<number> {
  const [{ wordsOf }, script] = await Promise.all([import("./completion/words.ts"), SCRIPTS[shell]()]);
  env.stdout.write(script(wordsOf(program)));
  return EXIT.ok;
}

const SCRIPTS = {
  bash: async () => (await import("./completion/bash.ts")).bashScript,
  zsh: async () => (await import("./completion/zsh.ts")).zshScript,
  fish: async () => (await import("./completion/fish.ts")).fishScript,
} as const;
