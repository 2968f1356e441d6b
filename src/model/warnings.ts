// The codes of warnings: what `weir lint` says, what `weir.dev/lint-ignore` silences, and what docs/lint.md explains.

export const WARNING_CODES = [
  // Selectors against the pods and namespaces that are given.
  "no-pod-selected",
  "no-pod-matched",
  "no-namespace-matched",
  "port-name-unknown",
  "selector-impossible",
  // Manifests that mean something else than they seem to.
  "and-or",
  "rule-split",
  "types-empty",
  "rules-unused",
  "egress-empty",
  // More or less access than was likely meant.
  "opens-all",
  "dns-missing",
  "dns-udp-only",
  "except-whole-block",
  "block-of-pod",
  // What changes nothing.
  "peer-redundant",
  "rule-redundant",
  "policy-redundant",
  // What API servers have stored, and refuse today.
  "ip-spelling",
  "selector-value",
  // What is there twice.
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
