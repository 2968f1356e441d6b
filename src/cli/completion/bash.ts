// Completion for bash.

import { type CommandWords, LISTING, quoted, type Value } from "./words.ts";

/** Goes along the words before the cursor, and looks up what may follow. */
const MAIN = `_weir() {
  local cur=\${COMP_WORDS[COMP_CWORD]} command=weir option="" word index value
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    if [[ -n $option ]]; then
      # Bash cuts --option=value in three.
      [[ $word == "=" ]] || option=""
    elif [[ $word == -* ]]; then
      [[ -n $(_weir_value "$command" "$word") ]] && option=$word
    elif [[ " $(_weir_commands "$command") " == *" $word "* ]]; then
      command+=" $word"
    fi
  done
  if [[ -n $option ]]; then
    [[ $cur == "=" ]] && cur=""
    value=$(_weir_value "$command" "$option")
    _weir_reply "\${value%% *}" "\${value#* }"
  elif [[ $cur == -* ]]; then
    _weir_reply words "$(_weir_options "$command")"
  elif [[ -n $(_weir_commands "$command") ]]; then
    _weir_reply words "$(_weir_commands "$command")"
  else
    value=$(_weir_argument "$command")
    [[ -z $value ]] || _weir_reply "\${value%% *}" "\${value#* }"
  fi
}
`;

/** To be sourced. Tables first, as `case` statements, then the one function that looks into them. */
export const bashScript = (
  commands: readonly CommandWords[],
): string => `# Completion of weir for bash, made by \`weir completion bash\`.

# The commands below one.
_weir_commands() {
  case "$1" in
${commands
  .filter((each) => each.commands.length > 0)
  .map(commandsCase)
  .join("\n")}
  esac
}

# The options of one.
_weir_options() {
  case "$1" in
${commands.map(optionsCase).join("\n")}
  esac
}

# What the value of an option is; nothing where it takes none.
_weir_value() {
  case "$1 $2" in
${commands.flatMap(valueCases).join("\n")}
  esac
}

# What the arguments of one are.
_weir_argument() {
  case "$1" in
${commands.flatMap(argumentCase).join("\n")}
  esac
}

_weir_reply() {
  local kind=$1 words=$2
  case "$kind" in
${(["pod", "policy", "namespace"] as const).map((kind) => `    ${kind}) words=$(${LISTING[kind]} 2>/dev/null) ;;`).join("\n")}
    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    directory) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

${MAIN}
complete -F _weir weir
`;

const commandsCase = ({ path, commands }: CommandWords): string =>
  `    ${quoted(path)}) echo ${quoted(commands.map(({ name }) => name).join(" "))} ;;`;

const optionsCase = ({ path, options }: CommandWords): string =>
  `    ${quoted(path)}) echo ${quoted(options.flatMap(({ flags }) => flags).join(" "))} ;;`;

const valueText = (value: Value): string =>
  value.kind === "words" ? `words ${value.words.join(" ")}` : `${value.kind} `;

const valueCases = ({ path, options }: CommandWords): string[] =>
  options.flatMap(({ flags, value }) => {
    if (value === undefined) return [];
    const patterns = flags.map((flag) => quoted(`${path} ${flag}`)).join(" | ");
    return [`    ${patterns}) echo ${quoted(valueText(value))} ;;`];
  });

const argumentCase = ({ path, argument }: CommandWords): string[] =>
  argument === undefined ? [] : [`    ${quoted(path)}) echo ${quoted(valueText(argument))} ;;`];
