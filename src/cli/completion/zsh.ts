// Completion for zsh.

import { type CommandWords, LISTING, type OptionWords, quoted, type Value } from "./words.ts";

/** For a file `_weir` of a directory of $fpath; a function for each command, which hands on to those below it. */
export const zshScript = (commands: readonly CommandWords[]): string => `#compdef weir
# Completion of weir for zsh, made by \`weir completion zsh\`.

${(["pod", "policy", "namespace"] as const).map(namesFunction).join("\n\n")}

${commands.map(commandFunction).join("\n\n")}

if [[ $funcstack[1] == _weir ]]; then
  _weir "$@"
else
  compdef _weir weir
fi
`;

const namesFunction = (kind: "pod" | "policy" | "namespace"): string => `_weir_names_${kind}() {
  local -a names
  names=(\${(f)"$(${LISTING[kind]} 2>/dev/null)"})
  compadd -a names
}`;

/** "weir maps dump" is _weir_maps_dump. */
const functionOf = (path: string): string => `_${path.replaceAll(/[^a-z0-9]/g, "_")}`;

function commandFunction(words: CommandWords): string {
  const specs = words.options.flatMap(optionSpecs);
  const body = words.commands.length === 0 ? leafBody(words, specs) : groupBody(words, specs);
  return `${functionOf(words.path)}() {\n${body}\n}`;
}

function leafBody({ argument }: CommandWords, specs: readonly string[]): string {
  const rest = argument === undefined ? [] : [quoted(`*:${action(argument)}`)];
  return argumentsCall([...specs, ...rest], "");
}

function groupBody({ path, commands }: CommandWords, specs: readonly string[]): string {
  const listed = commands.map(({ name, about }) => `    ${quoted(`${name}:${escaped(about)}`)}`);
  const cases = commands.map(({ name }) => `        ${name}) ${functionOf(`${path} ${name}`)} ;;`);
  return `  local context state state_descr line
  local -a commands
  typeset -A opt_args
  commands=(
${listed.join("\n")}
  )
${argumentsCall([...specs, quoted("1: :->command"), quoted("*:: :->rest")], " -C")}
  case $state in
    command) _describe -t commands command commands ;;
    rest)
      case $line[1] in
${cases.join("\n")}
      esac
      ;;
  esac`;
}

const argumentsCall = (specs: readonly string[], flags: string): string =>
  `  _arguments${flags} -s \\\n${specs.map((spec) => `    ${spec}`).join(" \\\n")}`;

/** One for each spelling, each of which may come more than once: some options are repeated. */
const optionSpecs = ({ flags, about, value }: OptionWords): string[] =>
  flags.map((flag) => {
    const equals = value !== undefined && flag.startsWith("--") ? "=" : "";
    return quoted(`*${flag}${equals}[${escaped(about)}]${value === undefined ? "" : `:${action(value)}`}`);
  });

/** A message and what makes the matches. */
function action(value: Value): string {
  switch (value.kind) {
    case "words":
      return `value:(${value.words.join(" ")})`;
    case "file":
      return "file:_files";
    case "directory":
      return "directory:_files -/";
    case "any":
      return "value: ";
    default:
      return `${value.kind}:_weir_names_${value.kind}`;
  }
}

/** What means something to _arguments and _describe. */
const escaped = (text: string): string => text.replaceAll(/[[\]:\\]/g, (character) => `\\${character}`);
