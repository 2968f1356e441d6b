// Integrity of programs and pins: twice a second the kernel is queried for what is attached and pinned, and what is missing is
// repaired. The kernel sends no notification when a link is detached or a pin removed, so this is a poll.

import { statSync } from "node:fs";
import { append } from "../base/append.ts";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Fault } from "../datapath/attachments.ts";
import { pinDirectories } from "../datapath/pins.ts";
import { type Problem, problemText } from "../model/problem.ts";
import type { RepairsView } from "../observe/api-views.ts";
import type { Kernel } from "./datapath-handle.ts";
import { logProblems } from "./node-problems.ts";

const INTERVAL_MS = 500;
/** How long a repair counts as an incident: an Event is emitted only for a problem that lasts for a moment. */
const INCIDENT_MS = 60_000;

export interface IntegrityEnv {
  readonly log: Log;
  readonly now: () => Date;
  /** The name of an interface, if it is known. */
  readonly nameOf: (ifindex: number) => string | undefined;
  /** The generation that the maps should have in force; undefined while that is changing. */
  readonly expected: () => number | undefined;
  /** Triggers reading and repairing the maps. */
  readonly onOverwritten: () => void;
  /** Another agent has taken over the pins: this one must not touch the kernel any more. */
  readonly onLost: (error: Error) => void;
}

export interface Integrity {
  /** Queries the kernel, repairs, and returns what is still wrong. Never rejects. */
  check(): Promise<readonly Problem[]>;
  /** Problems that the last check found and could not repair. */
  problems(): readonly Problem[];
  faults(): readonly Fault[];
  /** What was removed by others within the last minute, and repaired. */
  incidents(): readonly Problem[];
  /** Called when the problems or the incidents have changed. */
  onChange(listener: () => void): void;
  /** The next check also reads pins that seem untouched. */
  checkPins(): void;
  repairs(): RepairsView;
  /** Before exit: pins what can be pinned, and logs that everything unpinned ends with the process. */
  farewell(): Promise<void>;
  /** Waits for a check in progress. Idempotent. */
  close(): Promise<void>;
}

export function openIntegrity(kernel: Kernel, env: IntegrityEnv): Integrity {
  const { log, nameOf } = env;
  let problems: readonly Problem[] = [];
  let remaining: readonly Fault[] = [];
  const repaired = { attached: 0, pinned: 0 };
  let repairedAt: Date | undefined;
  let incidents: readonly { readonly at: number; readonly problem: Problem }[] = [];
  let changed: () => void = () => undefined;
  let pinned: string | undefined;
  let closed = false;
  let running: Promise<void> = Promise.resolve();
  let isRunning = false;

  const interfaceText = (ifindex: number): string => nameOf(ifindex) ?? `#${ifindex}`;

  function record(problem: Problem): void {
    repairedAt = env.now();
    const at = performance.now();
    const recent = incidents.filter(
      (each) => at - each.at < INCIDENT_MS && each.problem.reason !== problem.reason,
    );
    incidents = [...recent, { at, problem }];
    changed();
  }

  function pins(): Problem[] {
    const { root } = kernel.datapath;
    try {
      if (!kernel.lock.renew()) {
        lost(root);
        return [];
      }
      const before = stampOf(root);
      if (before === pinned && !kernel.attachments.hasUnpinned()) return [];
      const made = kernel.pin();
      if (made > 0) {
        repaired.pinned += made;
        record(restoredProblem("pins of programs, links or maps were removed externally; restored"));
        log.warn("pins were missing; restored", { pins: made, root });
      }
      pinned = stampOf(root);
      return [];
    } catch (error) {
      pinned = undefined;
      return [pinProblem(messageOf(error))];
    }
  }

  function lost(root: string): void {
    closed = true;
    const message = "another agent has locked the pin directory; exiting";
    env.onLost(new OperationError(message, { operation: "lock", object: root, code: "EBUSY" }));
  }

  async function attachments(): Promise<Problem[]> {
    const faults = await kernel.attachments.examine();
    const found: Problem[] = [];
    const left: Fault[] = [];
    const detached = faults.filter(({ kind }) => kind === "detached");
    const attached: Fault[] = [];
    for (const ifindex of new Set(detached.map((fault) => fault.ifindex))) {
      if (closed) return [];
      try {
        append(attached, await kernel.attachments.repair(ifindex));
      } catch (error) {
        if (codeOf(error) === "ENODEV") continue;
        const where = detached.filter((fault) => fault.ifindex === ifindex);
        append(left, where);
        append(
          found,
          where.map((fault) => detachedProblem(fault, interfaceText(ifindex), messageOf(error))),
        );
      }
    }
    // All interfaces are filtered first: this reads the whole flow table.
    try {
      await kernel.attachments.closeGaps();
    } finally {
      report(attached);
    }
    const preceded = faults.filter((fault) => fault.kind === "preceded");
    remaining = [...left, ...preceded];
    return [...found, ...preceded.map((fault) => precededProblem(fault, interfaceText(fault.ifindex)))];
  }

  function report(faults: readonly Fault[]): void {
    for (const { ifindex, place, hook } of faults) {
      repaired.attached += 1;
      const where = `on interface ${interfaceText(ifindex)}, ${PLACE_TEXT[place]}`;
      record(restoredProblem(`a program was detached externally ${where}; reattached`));
      const fields = { interface: interfaceText(ifindex), direction: place, hook };
      log.warn("a program was detached externally; reattached", fields);
    }
  }

  kernel.attachments.onRestored(report);

  function generation(): Problem[] {
    const expected = env.expected();
    const found = expected === undefined ? undefined : kernel.maps.generation();
    if (found === expected) return [];
    env.onOverwritten();
    return [
      overwrittenProblem(
        `generation ${found} is in force, not ${expected}: the maps were changed externally`,
      ),
    ];
  }

  async function once(): Promise<void> {
    if (closed) return;
    const found = pins();
    try {
      if (!closed) {
        append(found, await attachments());
        append(found, generation());
      }
    } catch (error) {
      found.push({
        severity: "error",
        reason: messageOf(error),
        effect: "attachments and active generation are unknown",
      });
    }
    const isChanged = textOf(found) !== textOf(problems);
    logProblems(problems, found, log);
    problems = found;
    if (isChanged) changed();
  }

  const check = (): Promise<void> => {
    running = running.then(async () => {
      isRunning = true;
      await once();
      isRunning = false;
    });
    return running;
  };
  const timer = setInterval(() => {
    if (!isRunning) void check();
  }, INTERVAL_MS);
  return {
    async check() {
      await check();
      return problems;
    },
    problems: () => problems,
    faults: () => remaining,
    incidents: () =>
      incidents.filter(({ at }) => performance.now() - at < INCIDENT_MS).map(({ problem }) => problem),
    onChange(listener) {
      changed = listener;
    },
    checkPins() {
      pinned = undefined;
    },
    repairs: () => ({
      ...repaired,
      ...(repairedAt === undefined ? {} : { lastAt: repairedAt.toISOString() }),
    }),
    async farewell() {
      pinned = undefined;
      await check();
      if (pinned === undefined)
        log.error("the programs are not pinned and will be detached when this agent ends");
    },
    async close() {
      closed = true;
      clearInterval(timer);
      await running;
    },
  };
}

/** Changes whenever an entry is added to or removed from a directory of pins, or a directory is replaced. */
function stampOf(root: string): string {
  const stamps = pinDirectories(root).map((path) => {
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stat === undefined ? "none" : `${stat.dev}:${stat.ino}:${stat.mtimeNs}`;
  });
  return stamps.join(" ");
}

const textOf = (problems: readonly Problem[]): string => problems.map(problemText).join("\n");

const restoredProblem = (reason: string): Problem => ({ severity: "warning", reason, topic: "integrity" });

const overwrittenProblem = (reason: string): Problem => ({
  severity: "error",
  reason,
  effect: "the maps are read back and repaired",
  topic: "integrity",
});

const pinProblem = (reason: string): Problem => ({
  severity: "error",
  topic: "integrity",
  reason,
  effect: "programs that are not pinned are detached when this agent ends",
});

const PLACE_TEXT: { readonly [place in Fault["place"]]: string } = {
  ingress: "to the pod",
  egress: "from the pod",
  uplink: "from outside",
};

const detachedProblem = ({ place, hook }: Fault, name: string, why: string): Problem => ({
  severity: "error",
  object: `interface ${name}`,
  reason: `no program filters packets ${PLACE_TEXT[place]} (${hook}), and it cannot be reattached: ${why}`,
  effect: "this traffic is not filtered",
  topic: "integrity",
});

const precededProblem = (
  { place, hook, programs }: Extract<Fault, { kind: "preceded" }>,
  name: string,
): Problem => {
  const others = programs.map((id) => (id === 0 ? "a filter that is not BPF" : `program ${id}`)).join(", ");
  return {
    severity: "warning",
    object: `interface ${name}`,
    reason: `${others} runs before Weir's on packets ${PLACE_TEXT[place]} (${hook})`,
    effect: "packets that it accepts or redirects bypass policies",
    topic: "integrity",
  };
};
