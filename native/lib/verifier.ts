// Reads what libbpf printed during a load: finds the verifier's log and its most useful line.

const begin = /^libbpf: prog '([^']*)': -- BEGIN PROG LOAD LOG --$/;
const end = /^-- END PROG LOAD LOG --$/;
// The closing statistics of a verifier log.
const statistics = /^(processed \d+ insns|verification time|stack depth|func#\d+ @|$)/;

type Section = { readonly program: string; readonly lines: string[] };

function sections(printed: string): Section[] {
  const found: Section[] = [];
  let inside = false;
  for (const line of printed.split("\n")) {
    const program = begin.exec(line)?.[1];
    if (program !== undefined) found.push({ program, lines: [] });
    else if (inside && !end.test(line)) found.at(-1)?.lines.push(line);
    inside = program !== undefined || (inside && !end.test(line));
  }
  return found;
}

/** The verifier's log alone; undefined if it did not speak. Logs of several programs have their names above them. */
export function verifierLogOf(printed: string): string | undefined {
  const found = sections(printed);
  if (found.length === 0) return undefined;
  const text = ({ program, lines }: Section) =>
    [...(found.length > 1 ? [`${program}:`] : []), ...lines, ""].join("\n");
  return found.map(text).join("");
}

// Libbpf's mention of sections that are not for it: no complaint.
const skipped = /^libbpf: elf: skipping /;

/** The verifier's reason if it gave one, else libbpf's first complaint; undefined if nothing was printed. */
export function lastUsefulLine(printed: string): string | undefined {
  const log = verifierLogOf(printed);
  const lines = (log ?? "").split("\n").map((line) => line.trim());
  const reason = lines.findLast((line) => !statistics.test(line));
  if (reason !== undefined) return reason;
  const complaint = printed.split("\n").find((line) => line.startsWith("libbpf: ") && !skipped.test(line));
  return complaint?.slice("libbpf: ".length);
}
