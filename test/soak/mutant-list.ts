// The ways in which `npm run mutants:soak` breaks the agent.

export interface SoakMutant {
  readonly breaks: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** Kinds of faults in which it shows. */
  readonly faults: readonly string[];
  /** Three if not given. */
  readonly rounds?: number;
  /** Under connections that have to last, of which conntrack does not see every fifth. */
  readonly lasting?: true;
}

export const SOAK_MUTANTS: readonly SoakMutant[] = [
  {
    breaks: "a program that was detached is not attached again",
    file: "src/agent/integrity.ts",
    from: "        append(attached, await kernel.attachments.repair(ifindex));",
    to: "        continue;",
    faults: ["link detached"],
  },
  {
    breaks: "pins that were removed are not made again",
    file: "src/agent/integrity.ts",
    from: "      const made = kernel.pin();",
    to: "      const made = 0;",
    faults: ["all pins removed and kill -9"],
  },
  {
    breaks: "the pins of another layout are left",
    file: "src/agent/reconcile.ts",
    from: "    const layouts = removeOtherLayouts(kernel.datapath.root);",
    to: "    const layouts: readonly string[] = [];",
    faults: ["another layout"],
  },
  {
    breaks: "links of pods that are gone are left",
    file: "src/agent/apply-changes.ts",
    from: "    if (wanted.has(ifindex) || gate?.holds(ifindex) === true) continue;",
    to: "    continue;",
    faults: ["pod comes", "pod goes", "address reused"],
  },
  {
    breaks: "an object whose deletion is reported stays",
    file: "src/source/apiserver/object-store.ts",
    from: "          if (!holds() || !(content.values.has(key) || content.records.has(key))) return;",
    to: "          return;",
    faults: ["policy goes", "policy changes"],
  },
  {
    breaks: "a status that was read once counts for good",
    file: "src/source/apiserver/object-store.ts",
    from: "          if (!holds() || isAsKnown(item, content, keepsLastGood)) return;",
    to: "          if (!holds() || content.values.has(item.key)) return;",
    faults: ["pod relabelled", "namespace relabelled"],
  },
  {
    breaks: "entries of the version before are left in the maps",
    file: "src/agent/apply-changes.ts",
    from: "    await kernel.maps.write(changes.cleanup);",
    to: "",
    faults: ["policy changes", "policy goes", "pod relabelled"],
  },
  {
    breaks: "flows of another layout are not taken over",
    file: "src/agent/reconcile.ts",
    from: "      copyFlows: flowCopier(kernel, progress.carryOver, env.log),",
    to: "      copyFlows: undefined,",
    faults: ["another layout"],
    lasting: true,
  },
  {
    breaks: "what an interface was is forgotten when its pod's object goes",
    file: "src/agent/interface-history.ts",
    from: "new Map(sameIn(tables).map((each) => [each.link.ifindex, each.pods])));",
    to: "new Map(sameIn(tables).slice(0, 0).map((each) => [each.link.ifindex, each.pods])));",
    faults: ["pod deleted by force or failed", "status without addresses"],
  },
  {
    breaks: "a change is reported as applied before it is in force",
    file: "src/agent/apply-changes.ts",
    from: "    await kernel.maps.flip(0, attachAndReport);\n    await kernel.maps.write(changes.cleanup);",
    to: "    await attachAndReport();",
    faults: ["policy changes", "policy goes", "pod relabelled"],
  },
  {
    breaks: "a reconciliation leaves one interface out",
    file: "src/agent/apply-changes.ts",
    from: "  for (const ifindex of wanted) {",
    to: "  for (const ifindex of [...wanted].slice(1)) {",
    faults: ["policy changes"],
  },
  {
    breaks: "the kernel is not read after a failed write",
    file: "src/agent/reconcile.ts",
    from: "    progress.mustAdvance = true;\n    progress.mustReread = true;\n    await reread(kernel, progress);\n    throw error;",
    to: "    progress.held = { ...progress.held, state };\n    throw error;",
    faults: ["kernel call fails"],
    rounds: 10,
  },
];
