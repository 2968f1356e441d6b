// Problems and warnings: what is wrong with the input or the node, in one line that an operator can act on.

export interface Problem {
  readonly severity: "error" | "warning";
  /** Where it is: the file as given, with line and column (from 1) where they are known. */
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
  /** The object, as in "NetworkPolicy alpha/alpha-deny"; absent where the document has no readable name. */
  readonly object?: string;
  /** The field, as in "spec.ingress[0].from[1].ipBlock.cidr"; absent where the problem is not about one field. */
  readonly path?: string;
  /** What is wrong and what was expected. */
  readonly reason: string;
  /** What Weir does about it, as in "its pods are isolated and nothing is allowed". */
  readonly effect?: string;
  /** Of a warning: the code by which it can be looked up and silenced. */
  readonly code?: WarningCode;
  /** What to write instead, where that is known. */
  readonly fix?: string;
  /** Where it is not a problem of the input: an interface's owner, the size of a table, what is attached and pinned, a bypass. */
  readonly topic?: "interface" | "capacity" | "integrity" | "bypass";
}

/** `FILE:LINE:COLUMN: OBJECT: PATH: REASON; FIX; EFFECT`, leaving out what is not known. One line. */
export function problemText(problem: Problem): string {
  const place = [problem.file, problem.line, problem.column].filter((part) => part !== undefined).join(":");
  const head = [place, problem.object, problem.path].filter((part) => part !== undefined && part !== "");
  const text = [...head, problem.reason].join(": ");
  const parts = [text, problem.fix, problem.effect].filter((part) => part !== undefined);
  return parts.join("; ").replaceAll(/\s*\n\s*/g, " ");
}

// The codes of warnings: `weir lint` prints them, `weir.dev/lint-ignore` silences them, and docs/lint.md explains them.

export const WARNING_CODES = [
  // Selectors against the pods and namespaces that are given.
  "no-pod-selected",
  "no-pod-matched",
  "no-namespace-matched",
  "port-name-unknown",
  "selector-impossible",
  // Manifests that mean something other than they seem to.
  "and-or",
  "rule-split",
  "types-empty",
  "rules-unused",
  "egress-empty",
  "priority-tied",
  // More or less access than was likely meant.
  "opens-all",
  "dns-missing",
  "dns-udp-only",
  "except-whole-block",
  "block-of-pod",
  "dns-denied",
  "names-unresolved",
  "names-any-resolver",
  // What has no effect.
  "peer-redundant",
  "rule-redundant",
  "policy-redundant",
  "tier-rule-shadowed",
  "pass-unused",
  "names-unneeded",
  // What API servers have stored, and refuse today.
  "ip-spelling",
  "selector-value",
  // Duplicates.
  "object-copied",
  // What is not read.
  "kind-unread",
  "annotation-unknown",
  "name-label-wrong",
  "ignore-unknown",
] as const;

export type WarningCode = (typeof WARNING_CODES)[number];

export const isWarningCode = (text: string): text is WarningCode =>
  WARNING_CODES.some((code) => code === text);
