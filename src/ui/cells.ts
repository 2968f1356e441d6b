// What a cell of the matrix says: by a sign and a word, not by colour alone.

import type { CellKind, CellView } from "../cli/ui/page-views.ts";

export const SIGNS: Readonly<Record<CellKind, string>> = {
  open: "○",
  all: "●",
  ports: "◑",
  some: "◔",
  none: "×",
  unknown: "?",
  self: "",
};

export const KINDS = Object.keys(SIGNS) as readonly CellKind[];

export const MEANINGS: Readonly<Record<CellKind, string>> = {
  open: "not isolated: everything passes",
  all: "allowed on every port",
  ports: "allowed on some ports",
  some: "allowed between some pods only",
  none: "denied",
  unknown: "not known: some pods are on nodes without an answer",
  self: "one pod alone",
};

/** At most so many characters have room in a cell. */
const CELL_TEXT_MAX = 5;

/** One port is shown itself: "80", "u53" for UDP. */
export function cellText({ kind, some, pairs }: CellView): string {
  // Of many pairs, how many.
  if (kind === "some" && pairs !== undefined) return shareText(pairs);
  if (kind !== "ports") return SIGNS[kind];
  const [, protocol, port] = /^(TCP|UDP|SCTP)\/(\d+)$/.exec(some) ?? [];
  if (protocol === undefined || port === undefined) return SIGNS.ports;
  const text = protocol === "TCP" ? port : `${protocol === "UDP" ? "u" : "s"}${port}`;
  return text.length <= CELL_TEXT_MAX ? text : SIGNS.ports;
}

/** Not 0 where there is one, and not 100 where one is missing. */
function shareText([reached, all]: readonly [number, number]): string {
  const percent = Math.round((100 * reached) / all);
  return `${reached === all ? 100 : Math.max(1, Math.min(99, percent))}%`;
}

/** In words, for those who hear it, and for the panel. */
export function cellSentence({ kind, every, some, audit, pairs }: CellView): string {
  const ofPairs =
    pairs === undefined || kind === "none" || kind === "open"
      ? ""
      : `, ${pairs[0]} of ${pairs[1]} pairs of workloads`;
  const audited = audit === true ? "; in audit mode, so more passes than policies allow" : "";
  const base = {
    open: MEANINGS.open,
    all: MEANINGS.all,
    ports: `allowed on ${some}`,
    some: every === "nothing" ? `between some pods on ${some}` : `on ${every}, between some pods on ${some}`,
    none: MEANINGS.none,
    unknown: `at most ${some}; ${MEANINGS.unknown}`,
    self: MEANINGS.self,
  }[kind];
  return `${base}${ofPairs}${audited}`;
}
