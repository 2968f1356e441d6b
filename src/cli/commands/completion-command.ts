// `weir completion`: the shells' completion functions, which get the candidates from `weir __complete` (src/cli/completion-candidates.ts).

import { Argument, type Command } from "commander";
import type { Exits } from "../command.ts";
import { type Context, EXIT } from "../environment.ts";

type Shell = "bash" | "zsh" | "fish";

const HELP = `
Completes commands, options, their values, and the names of pods, policies and namespaces that the agent reports.

Examples:
  source <(weir completion bash)                                            in ~/.bashrc
  weir completion bash >/etc/bash_completion.d/weir                         for all users
  weir completion zsh >"\${fpath[1]}/_weir"                                  before compinit
  weir completion fish >~/.config/fish/completions/weir.fish`;

export function addCompletion(parent: Command, exits: Exits): void {
  parent
    .command("completion")
    .description("print a shell's completion script")
    .addArgument(new Argument("<shell>", "for which shell").choices(Object.keys(SCRIPTS)))
    .addHelpText("after", HELP)
    .action(
      exits(async ({ env }: Context, shell: Shell) => {
        env.stdout.write(SCRIPTS[shell]);
        return EXIT.ok;
      }),
    );
}

/** Bash cuts words at "=" and ":"; the line is cut at spaces here, and a candidate loses what bash has already cut off. */
const BASH = `# Completion of weir for bash.
_weir() {
  local line=\${COMP_LINE:0:COMP_POINT} candidates last
  local -a words
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  last=\${words[-1]}
  mapfile -t candidates < <(weir __complete "\${words[@]:1}" 2>/dev/null)
  COMPREPLY=()
  case \${candidates[0]} in
    :files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "\${last#--*=}") ;;
    :directories) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "\${last#--*=}") ;;
    *)
      COMPREPLY=("\${candidates[@]%%$'\\t'*}")
      COMPREPLY=("\${COMPREPLY[@]#"\${last%"\${last##*[=:]}"}"}")
      ;;
  esac
}
complete -F _weir weir
`;

const ZSH = `#compdef weir
# Completion of weir for zsh.
_weir() {
  local -a candidates
  candidates=("\${(@f)$(weir __complete "\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}" 2>/dev/null)}")
  case $candidates[1] in
    "") return 1 ;;
    :files) compset -P "--*="; _files ;;
    :directories) compset -P "--*="; _files -/ ;;
    *) compadd -l -d candidates -- "\${(@)candidates%%$'\\t'*}" ;;
  esac
}
if [[ $funcstack[1] == _weir ]]; then
  _weir "$@"
else
  compdef _weir weir
fi
`;

const FISH = `# Completion of weir for fish.
function __weir_complete
    set -l words (commandline -opc)
    set -l last (commandline -ct)
    set -l option (string match -r -- '^--[^=]+=' "$last")
    set -l candidates (weir __complete $words[2..] "$last" 2>/dev/null)
    switch "$candidates[1]"
        case :files
            printf "$option%s\\n" (__fish_complete_path (string replace -- "$option" '' "$last"))
        case :directories
            printf "$option%s\\n" (__fish_complete_directories (string replace -- "$option" '' "$last"))
        case '*'
            printf '%s\\n' $candidates
    end
end
complete -c weir -f -a '(__weir_complete)'
`;

const SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH };
