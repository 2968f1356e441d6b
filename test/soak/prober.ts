// The prober's process (prober.c), and what it has found wrong.

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** What may happen to a probe's packets: nothing passes, all must pass, or either. */
export const EXPECTED = { denied: 0, allowed: 1, either: 2 } as const;
export type Expected = keyof typeof EXPECTED;

export const PROBE_KINDS = {
  "udp answered": "u",
  "udp from new ports": "f",
  ping: "p",
  connect: "t",
  transfer: "x",
} as const;
export type ProbeKind = keyof typeof PROBE_KINDS;

/** The ports that each pod serves, for TCP and UDP alike. */
export const SERVED_PORTS = [80, 81] as const;

export interface ProbeSpec {
  readonly id: number;
  readonly kind: ProbeKind;
  /** Slots of pods. */
  readonly from: number;
  readonly to: number;
  readonly family: 4 | 6;
  readonly port: number;
  readonly everyUs: number;
  /** A Service's address, in place of the pod's own: the Service leads to that pod alone. */
  readonly frontend?: Frontend;
}

export interface Frontend {
  readonly address: string;
  readonly port: number;
}

/** A transfer's connection. */
export interface Opened {
  /** How many connections it has tried, this one included. */
  readonly number: number;
  readonly isOpen: boolean;
}

export type WrongKind = "passed" | "lost" | "unanswered" | "broken" | "stalled";

/** Times in microseconds of the machine's monotonic clock. */
export interface Wrong {
  readonly id: number;
  readonly what: WrongKind;
  readonly count: number;
  readonly first: number;
  readonly last: number;
}

export interface Counts {
  readonly sent: number;
  readonly delivered: number;
  readonly answered: number;
  readonly opened: number;
  readonly bytes: number;
  readonly probes: number;
  /** How late it was at worst since the last counts. */
  readonly lateUs: number;
}

export interface Prober {
  addPod(slot: number, netns: string, v4: string, v6: string): void;
  removePod(slot: number): void;
  addProbe(probe: ProbeSpec, expected: Expected): void;
  endProbe(id: number): void;
  /** In force for all that is sent after the next `sync`. */
  expect(expected: Expected, ids: readonly number[]): void;
  /** What these have open ends, and starts anew from other ports. */
  renew(ids: readonly number[]): void;
  flood(from: number, to: number, port: number, count: number): void;
  sync(): Promise<void>;
  /** Resolves when each probe has sent something after now that has been judged. */
  settle(): Promise<void>;
  counts(): Promise<Counts>;
  /** The connections of all transfers, by the probes' ids. */
  opened(): Promise<ReadonlyMap<number, Opened>>;
  close(): void;
}

export const nowUs = (): number => Number(process.hrtime.bigint() / 1_000n);

export function openProber(program: string, onWrong: (wrong: Wrong) => void): Prober {
  const child: ChildProcessWithoutNullStreams = spawn("setpriv", ["--pdeathsig", "KILL", "--", program]);
  const waiting = new Map<string, { resolve: (text: string) => void; reject: (error: Error) => void }>();
  let tokens = 0;
  let errors = "";
  let closed = false;
  child.stderr.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  child.stdin.on("error", () => undefined);
  child.on("close", () => {
    for (const { reject } of waiting.values()) reject(new Error(`the prober ended: ${errors}`));
    if (!closed) process.emitWarning(`the prober ended: ${errors}`);
  });
  createInterface({ input: child.stdout }).on("line", (line) => {
    const [word = "", ...rest] = line.split(" ");
    if (word === "wrong") {
      const [id, what, count, first, last] = rest;
      onWrong({
        id: Number(id),
        what: what as WrongKind,
        count: Number(count),
        first: Number(first),
        last: Number(last),
      });
      return;
    }
    const token = rest[0] ?? "";
    waiting.get(token)?.resolve(rest.slice(1).join(" "));
    waiting.delete(token);
  });
  const send = (line: string): void => void child.stdin.write(`${line}\n`);
  const request = (word: string): Promise<string> => {
    tokens += 1;
    const token = `t${tokens}`;
    return new Promise((resolve, reject) => {
      waiting.set(token, { resolve, reject });
      send(`${word} ${token}`);
    });
  };
  return {
    addPod: (slot, netns, v4, v6) => send(`pod ${slot} ${netns} ${v4} ${v6}`),
    removePod: (slot) => send(`gone ${slot}`),
    addProbe: ({ id, kind, from, to, family, port, everyUs, frontend }, expected) =>
      send(
        `probe ${id} ${PROBE_KINDS[kind]} ${from} ${to} ${family} ${frontend?.port ?? port} ${everyUs} ${EXPECTED[expected]} ${frontend?.address ?? ""}`,
      ),
    endProbe: (id) => send(`end ${id}`),
    expect(expected, ids) {
      for (let index = 0; index < ids.length; index += 500)
        send(`expect ${EXPECTED[expected]} ${ids.slice(index, index + 500).join(" ")}`);
    },
    renew: (ids) => ids.length > 0 && send(`renew ${ids.join(" ")}`),
    flood: (from, to, port, count) => send(`flood ${from} ${to} ${port} ${count}`),
    sync: async () => void (await request("sync")),
    settle: async () => void (await request("settle")),
    async counts() {
      const [sent = 0, delivered = 0, answered = 0, opened = 0, bytes = 0, probes = 0, lateUs = 0] = (
        await request("counts")
      )
        .split(" ")
        .map(Number);
      return { sent, delivered, answered, opened, bytes, probes, lateUs };
    },
    async opened() {
      const words = (await request("opened")).split(" ").filter((word) => word !== "");
      return new Map(
        words.map((word) => {
          const [id = 0, number = 0, isOpen = 0] = word.split(":").map(Number);
          return [id, { number, isOpen: isOpen === 1 }];
        }),
      );
    },
    close() {
      closed = true;
      child.kill("SIGKILL");
    },
  };
}
