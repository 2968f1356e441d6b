// The mutants: each breaks one rule of how policies are evaluated or compiled, by replacing one text in one file.

export interface Mutant {
  /** The rule that it breaks. */
  readonly rule: string;
  readonly file: string;
  /** Must occur exactly once. */
  readonly from: string;
  readonly to: string;
}

const evaluate = (rule: string, from: string, to: string): Mutant => ({
  rule,
  file: "src/policy/oracle.ts",
  from,
  to,
});
const probe = (rule: string, from: string, to: string): Mutant => ({
  rule,
  file: "src/policy/probe.ts",
  from,
  to,
});
const selector = (rule: string, from: string, to: string): Mutant => ({
  rule,
  file: "src/model/selector.ts",
  from,
  to,
});

/** The evaluator, rule by rule in the order of its text. */
const EVALUATOR: readonly Mutant[] = [
  evaluate(
    "ingress asks the destination",
    'const subject = subjectOf(direction === "ingress" ? certain.to : certain.from);',
    "const subject = subjectOf(certain.from);",
  ),
  evaluate(
    "a pod reaches itself",
    'if (other.kind === "pod" && isSame(other.pod, subject)) return { kind: "loopback" };',
    "",
  ),
  evaluate("no policy, no isolation", "if (applying.length === 0) {", "if (applying.length < 0) {"),
  evaluate("one allowance is enough", "if (by.length > 0)", "if (by.length > 1)"),
  evaluate(
    "egress must allow too",
    "allowed: permits(egress) && permits(ingress)",
    "allowed: permits(ingress)",
  ),
  evaluate(
    "ingress must allow too",
    "allowed: permits(egress) && permits(ingress)",
    "allowed: permits(egress)",
  ),
  evaluate("only policyTypes isolate", "policy.isolates[direction] &&", ""),
  evaluate("subjects are of the policy's namespace", "policy.namespace === pod.namespace &&", ""),
  evaluate("podSelector selects the subjects", "&& matches(policy.subject, pod.labels)", ""),
  evaluate("an unreadable policy allows nothing", "if (policy.unreadable !== undefined) return [];", ""),
  evaluate(
    "peers are the other end",
    'direction === "ingress" ? probe.from : probe.to;\n  return policy',
    "probe.to;\n  return policy",
  ),
  evaluate(
    "no peers is everyone",
    'if (rule.peers === "anyone") return [undefined];',
    'if (rule.peers === "anyone") return [];',
  ),
  evaluate("no namespaceSelector is the own namespace", "pod.namespace === policy.namespace\n", "true\n"),
  evaluate(
    "namespaceSelector selects namespaces",
    ": matches(peer.namespaces, namespaceLabels(cluster, pod.namespace))",
    ": true",
  ),
  evaluate(
    "both selectors mean AND",
    "inNamespace && matches(peer.pods, pod.labels)",
    "inNamespace || matches(peer.pods, pod.labels)",
  ),
  evaluate("except takes away", "&& !excepted", ""),
  evaluate("a block is its CIDR", "cidrContains(peer.cidr, other.address) &&", ""),
  evaluate(
    "no ports is all ports",
    'if (rule.ports === "all") return [undefined];',
    'if (rule.ports === "all") return [];',
  ),
  probe("the protocol must match", " || match.protocol !== probe.protocol", ""),
  probe("a range has a first port", "match.first <= probe.port && ", ""),
  probe("a range has a last port", " && probe.port <= match.last", ""),
  probe("endPort is inclusive", "probe.port <= match.last", "probe.port < match.last"),
  probe(
    "names are the destination's",
    "selectablePod(probe.to))?.ports",
    "selectablePod(probe.from))?.ports",
  ),
  probe("a name has a protocol", "protocol === match.protocol &&", ""),
  probe("a name has a number", "&& port === probe.port", ""),
  selector(
    "NotIn holds for a missing key",
    "return value === undefined || !requirement",
    "return value !== undefined && !requirement",
  ),
  selector("all requirements must hold", ": requirements.every(", ": requirements.some("),
  selector(
    "In needs the key's value",
    "value !== undefined && requirement.values.includes(value)",
    "value !== undefined",
  ),
  selector(
    "Exists needs the key",
    'case "Exists":\n      return value !== undefined;',
    'case "Exists":\n      return true;',
  ),
  selector("DoesNotExist forbids the key", "return value === undefined;", "return true;"),
  {
    rule: "host-network and finished pods are never selected",
    file: "src/model/cluster.ts",
    from: "!pod.hostNetwork && !pod.finished",
    to: "!pod.finished",
  },
];

/** The compiler and the diff, where a mistake would be hardest to see. */
const COMPILER: readonly Mutant[] = [
  {
    rule: "an exception cuts only its own block",
    file: "src/policy/identities.ts",
    from: "      inForce.add(block.set, -1);\n    }\n    path",
    to: "      while (inForce.items().includes(block.set)) inForce.add(block.set, -1);\n    }\n    path",
  },
  {
    rule: "leaving a block closes it",
    file: "src/policy/identities.ts",
    from: "for (const block of closes) inForce.add(block.set, -1);",
    to: "",
  },
  {
    rule: "a pod's identity has the blocks around it",
    file: "src/policy/workloads.ts",
    from: ": new Set([...selected, ...covering.peers]);",
    to: ": selected;",
  },
  {
    rule: "an egress name is resolved on each peer",
    file: "src/policy/workloads.ts",
    from: "resolving.size > 0 ? declared : []",
    to: "resolving.keys()",
  },
  {
    rule: "a row is what all its terms allow",
    file: "src/policy/rows.ts",
    from: "union([...others, ...set.terms.flatMap",
    to: "union([...set.terms.flatMap",
  },
  {
    rule: "an address that several pods may have is allowed what all of them are",
    file: "src/policy/rows.ts",
    from: "if (candidates !== undefined) return allOf(candidates.map((each) => portsOf(policy, each)));",
    to: "",
  },
  {
    rule: "an interface that several pods may have allows what all of them do",
    file: "src/policy/rows.ts",
    from: "(side.candidates ?? [side])",
    to: "[side]",
  },
  {
    rule: "a pod that has lost its object stays as isolated as it was",
    file: "src/policy/subjects.ts",
    from: "if (pod.retained?.isolated[direction] === true && (policies.length === 0 || audit)) return closed;",
    to: "",
  },
  {
    rule: "rows keep the classes in force",
    file: "src/state/state-diff.ts",
    from: "...classes, ...(before ?? []).filter((each) => inForce.has(each))",
    to: "...classes",
  },
  {
    rule: "policies keep the identities in force",
    file: "src/state/state-diff.ts",
    from: "const both = overlaid(cells, new Map(stale.map((each) => [each.key, each.before])));",
    to: "const both = cells;",
  },
  {
    rule: "a new prefix says what covered it",
    file: "src/state/state-diff.ts",
    from: "live: have.cidrs.get(cidr) ?? covering(tables.live, cidr)",
    to: "live: have.cidrs.get(cidr) ?? 0",
  },
  {
    rule: "a new address was not there before",
    file: "src/state/state-diff.ts",
    from: "live: have.get(key) ?? ABSENT",
    to: "live: have.get(key) ?? 0",
  },
];

const SERVICES: readonly Mutant[] = [
  {
    rule: "what is denied has a guard, or nothing leaves",
    file: "src/policy/service-groups.ts",
    from: "policy.isKnown && denied.every(({ guards }) => guards !== undefined)",
    to: "policy.isKnown",
  },
  {
    rule: "guards know who sends from other addresses",
    file: "src/policy/service-groups.ts",
    from: "policy.isKnown && denied.every",
    to: "denied.every",
  },
  {
    rule: "an external address has no guards",
    file: "src/policy/service-groups.ts",
    from: "keepsSource ? guarded(addresses) : unguarded(addresses)",
    to: "guarded(addresses)",
  },
  {
    rule: "an address of externalIPs is judged as itself, too",
    file: "src/policy/service-groups.ts",
    from: "if (group.itself !== undefined && isDenied(group.itself)) return",
    to: "if (group.itself !== undefined && false) return",
  },
  {
    rule: "a guard leaves to a sender what its policy allows",
    file: "src/policy/rows.ts",
    from: "if (limit !== undefined) ports = intersection(ports, limit);",
    to: "",
  },
  {
    rule: "a cell that allows nothing says so",
    file: "src/policy/compile.ts",
    from: "if (set.length === 0) return ROW_NONE;",
    to: "if (set.length === 0) return 0;",
  },
  {
    rule: "nothing behind a Service is nothing allowed",
    file: "src/policy/service-groups.ts",
    from: "if (denied.length === group.backends.length) return",
    to: "if (denied.length > 0 && denied.length === group.backends.length) return",
  },
  {
    rule: "where none is ready, who serves while terminating",
    file: "src/model/frontends.ts",
    from: "({ serving, terminating }) => serving && terminating",
    to: "() => false",
  },
  {
    rule: "what is refused is denied to each pod to which anything may be denied",
    file: "src/policy/service-groups.ts",
    from: "if (refused === true) return { frontend, backends: [], refused };",
    to: "if (refused === true) return { frontend, backends: [] };",
  },
  {
    rule: "a frontend that one of its Services has refused is refused",
    file: "src/model/frontends.ts",
    from: "all.some(({ refused }) => refused === true)",
    to: "all.every(({ refused }) => refused === true)",
  },
];

const tierOracle = (rule: string, from: string, to: string): Mutant => ({
  rule: `tiers: ${rule}`,
  file: "src/policy/cluster-policy-oracle.ts",
  from,
  to,
});
const tierCompiler = (rule: string, from: string, to: string): Mutant => ({
  rule: `tiers: ${rule}`,
  file: "src/policy/tiers.ts",
  from,
  to,
});

/** Cluster policies, in the oracle and in the compiler. */
const CLUSTER_POLICIES: readonly Mutant[] = [
  tierOracle("the lowest priority is first", "a.priority - b.priority ||", "b.priority - a.priority ||"),
  tierOracle(
    "of equal priorities the strongest action counts",
    "ACTIONS.indexOf(b.action) - ACTIONS.indexOf(a.action)",
    "ACTIONS.indexOf(a.action) - ACTIONS.indexOf(b.action)",
  ),
  tierOracle("a tier has its own policies", ".filter((policy) => policy.tier === tier)", ""),
  tierOracle(
    "the subject's namespaces are selected",
    "matches(subject.namespaces, namespaceLabels(cluster, pod.namespace)) &&",
    "",
  ),
  tierOracle("the subject's pods are selected", "matches(subject.pods, pod.labels),", "true,"),
  tierOracle("the first rule that matches", "rules[direction].findIndex(", "rules[direction].findLastIndex("),
  tierOracle(
    "peers are the other end",
    'const other = direction === "ingress" ? probe.from : probe.to;',
    "const other = probe.from;",
  ),
  tierOracle("ports must match", "&& portMatches(port, probe, direction));", ");"),
  tierOracle(
    "what a name leads to has no port names",
    '!(numbered && port.kind === "name") && portMatches',
    "portMatches",
  ),
  tierOracle(
    "names are those of the rule",
    "return name !== undefined && nameMatches(peer.name, name);",
    "return name !== undefined;",
  ),
  tierOracle(
    "a wildcard has the names below it",
    '(pattern.startsWith("*.") && name.endsWith(pattern.slice(1)))',
    "false",
  ),
  tierOracle(
    "pods of nameless namespaces have no names",
    'from.kind === "pod" && nameless.includes(from.pod.namespace) ? undefined : name',
    "name",
  ),
  tierOracle("selectors match no host-network pods", "isSelectable(other.pod) &&", ""),
  tierOracle(
    "a peer's namespaces are selected",
    "matches(peer.namespaces, namespaceLabels(cluster, other.pod.namespace)) &&",
    "",
  ),
  tierOracle("a peer's pods are selected", "matches(peer.pods, other.pod.labels)", "true"),
  tierOracle("nodes are selected by their labels", "matches(peer.nodes, labels) &&", ""),
  tierOracle("networks match by address", "return cidrContains(peer.cidr, other.address);", "return true;"),
  {
    rule: "tiers: Accept and Deny of the Admin tier are final",
    file: "src/policy/oracle.ts",
    from: 'if (admin !== undefined && admin.action !== "Pass") return decided(cluster, subject, admin);',
    to: 'if (admin?.action === "Deny") return decided(cluster, subject, admin);',
  },
  {
    rule: "tiers: Pass of the Baseline tier denies nothing",
    file: "src/policy/oracle.ts",
    from: 'return baseline === undefined || baseline.action === "Pass"',
    to: "return baseline === undefined",
  },
  tierCompiler("by falling priority", "compareRank(a, b) ||", "-compareRank(a, b) ||"),
  tierCompiler(
    "policies of equal priority are one group",
    "({ policy }) => policy.priority",
    "({ policy }) => policy.name",
  ),
  tierCompiler("only policies with rules for the direction", "policy.rules[direction].length > 0 &&", ""),
  tierCompiler(
    "the subject's namespaces are selected",
    "matches(subject.namespaces, namespaceLabels(cluster, pod.namespace)) &&",
    "",
  ),
  tierCompiler("the subject's pods are selected", "&& matches(subject.pods, pod.labels);", ";"),
  tierCompiler(
    "a port name of ingress depends on the pod",
    'direction === "ingress" && namesPorts(policy) ? portsText(pod.ports) : "",',
    '"",',
  ),
  tierCompiler(
    "a port name of egress depends on the other pods",
    'direction === "egress" ? egressPortNamesOf(policy) : []',
    "[]",
  ),
  tierCompiler(
    "nodes that change are compiled again",
    "if (kept.nodes !== nodes || kept.byKey.size >= KEPT) kept.byKey.clear();",
    "",
  ),
  tierCompiler(
    "nodes are selected by their labels",
    ".filter(({ labels }) => matches(peer.nodes, labels))",
    "",
  ),
  tierCompiler(
    "a rule without peers matches nothing",
    'if (peers !== "anyone" && peers.length === 0) return named;',
    "",
  ),
  tierCompiler("named ports of egress are clauses of their own", "    ...byPortName,\n", ""),
  tierCompiler("rules by names are clauses of their own", "origin)),\n    ...named,\n", "origin)),\n"),
  tierCompiler(
    "a port name may be any port of a pod whose port names are not known",
    '...(rule.action === "Accept" ? [] : ofUnknownPorts(rule, set, origin)),',
    "",
  ),
  tierCompiler(
    "a pod with unknown labels may have those that a Deny names",
    'const counts = action === "Deny" || (action',
    "const counts = (action",
  ),
  tierCompiler(
    "a pod with unknown labels may have those that a Pass names",
    ' || (action === "Pass" && perhaps?.passes === true);',
    ";",
  ),
  tierCompiler(
    "a pod with unknown labels need not have those that an Accept names",
    "(counts && perhaps",
    "(perhaps",
  ),
  tierCompiler("without a name, rules by names match nothing", "if (domains !== undefined) continue;", ""),
  tierCompiler(
    "rules that have a name are for everyone, others are left out",
    "domains === undefined || domains.some((each) => hasName(each, name)) ? [clause] : []",
    "[clause]",
  ),
  tierCompiler("policies differ by their names", 'domains?.join(" ") ?? term ?? "*"', 'term ?? "*"'),
  tierCompiler(
    "pods of nameless namespaces have no names",
    "const named = isNameless(cluster, pod) ? [] : domainClauses(",
    "const named = domainClauses(",
  ),
  tierCompiler(
    "the Baseline tier only where nothing isolates",
    "baseline: isolated ? [] : of(tiers.Baseline)",
    "baseline: of(tiers.Baseline)",
  ),
  tierCompiler(
    "what the Baseline tier denies",
    "subtraction(intersection(first.left, allowed), last)",
    "intersection(first.left, allowed)",
  ),
  tierCompiler(
    "what the Admin tier accepts",
    "return union([...first.accepted, ...",
    "return union([...NO_PORTS, ...",
  ),
  tierCompiler(
    "what one priority decides, the next does not",
    "open = subtraction(open, ports);\n      return taken;",
    "return taken;",
  ),
  tierCompiler("Deny before Pass", 'passed = union([...passed, ...take(all("Pass"))]);', ""),
  tierCompiler("Accept of a tier", 'accepted = union([...accepted, ...take(all("Accept"))]);', ""),
  tierCompiler("Pass leaves it to the next tier", "left: union([...passed, ...open])", "left: open"),
  tierCompiler("a clause applies to its peers only", "if (!isMatched) continue;", ""),
  tierCompiler(
    "what a rule matches, the next ones do not",
    "open = subtraction(open, ports);\n  }\n  return by;",
    "}\n  return by;",
  ),
  tierCompiler(
    "policies of one priority are equal in any order",
    "group.map(clausesText).sort()",
    "group.map(clausesText)",
  ),
];

export const MUTANTS: readonly Mutant[] = [...EVALUATOR, ...COMPILER, ...SERVICES, ...CLUSTER_POLICIES];
