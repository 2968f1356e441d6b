// Completion for fish.

import { type CommandWords, LISTING, type OptionWords, quoted, type Value } from "./words.ts";

/** For a file `weir.fish` of a directory of completions. */
export const fishScript = (
  commands: readonly CommandWords[],
): string => `# Completion of weir for fish, made by \`weir completion fish\`.

# Whether the words before the cursor name just this command.
function __weir_at
    set -l path weir
    for word in (commandline -opc)[2..]
        if contains -- "$path $word" $__weir_paths
            set path "$path $word"
        end
    end
    test "$path" = "$argv[1]"
end

set -g __weir_paths ${commands.map(({ path }) => quoted(path)).join(" ")}

complete -c weir -f
${commands.flatMap(commandLines).join("\n")}
`;

function commandLines({ path, commands, options, argument }: CommandWords): string[] {
  const at = `complete -c weir -n ${quoted(`__weir_at "${path}"`)}`;
  return [
    ...commands.map(({ name, about }) => `${at} -a ${name} -d ${fishQuoted(about)}`),
    ...options.map((option) => `${at} ${optionText(option)}`),
    ...(argument === undefined ? [] : [`${at} ${matchText(argument)}`]),
  ];
}

function optionText({ flags, about, value }: OptionWords): string {
  const names = flags.map((flag) => (flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
  const match = value === undefined ? [] : ["-r", matchText(value)];
  return [...names, ...match, "-d", fishQuoted(about)].join(" ");
}

function matchText(value: Value): string {
  switch (value.kind) {
    case "words":
      return `-f -a ${quoted(value.words.join(" "))}`;
    case "file":
      return "-F";
    case "directory":
      return "-f -a '(__fish_complete_directories)'";
    case "any":
      return "-f";
    default:
      return `-f -a ${quoted(`(${LISTING[value.kind]} 2>/dev/null)`)}`;
  }
}

/** Within single quotes fish knows the backslash. */
const fishQuoted = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
