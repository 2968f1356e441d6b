// Frames sent over real links: programs of this folder, each run in a network namespace of its own, and their sender.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ipBatch, ipJson } from "../../src/lab/iproute.ts";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export interface Wire {
  /** Runs a program of this folder in a namespace of its own, with the sender's path first; returns its output, as JSON. */
  run(program: string, ...args: readonly string[]): unknown;
  /** Sends frames out of an interface of a namespace; returns when they have left. */
  send(netns: string, link: string, frames: readonly Uint8Array[]): void;
  close(): void;
}

/** The kernel keeps packets shorter than a page in one part. */
const LINEAR = 14;

const RUN_MS_MAX = 60_000;

let namespaces = 0;

/** Builds the sender. */
export function openWire(): Wire {
  const folder = mkdtempSync(join(tmpdir(), "wt-wire-"));
  const sender = join(folder, "send");
  execFileSync("gcc", ["-O1", "-Wall", "-Wextra", "-o", sender, here("send.c")]);
  return {
    run(program, ...args) {
      namespaces += 1;
      const name = `wt-wire-${process.pid}-${namespaces}`;
      ipBatch([`netns add ${name}`]);
      try {
        const command = [`--net=/run/netns/${name}`, process.execPath, here(program), sender, ...args];
        const { status, stdout, stderr } = spawnSync("nsenter", command, {
          encoding: "utf8",
          timeout: RUN_MS_MAX,
        });
        if (status !== 0) throw new Error(`${program}: exit status ${status}\n${stdout}${stderr}`);
        return JSON.parse(stdout);
      } finally {
        ipBatch([`netns del ${name}`]);
      }
    },
    send(netns, link, frames) {
      const ifindex = ipJson(["-n", netns, "link", "show", link])[0]?.["ifindex"];
      const lengths = frames.map(({ length }) => String(length));
      const command = [`--net=/run/netns/${netns}`, sender, String(ifindex), String(LINEAR), ...lengths];
      execFileSync("nsenter", command, { input: Buffer.concat(frames) });
    },
    close: () => rmSync(folder, { recursive: true }),
  };
}

/** How frames are sent in the namespace. */
export interface Sending {
  readonly sender: string;
  /** Out of this interface. */
  readonly ifindex: number;
  /** Bytes of each frame in the linear part, if the frame is longer than a page. */
  readonly linear: number;
}

/** Returns when the frames have left. */
export function send({ sender, ifindex, linear }: Sending, frames: readonly Uint8Array[]): void {
  const lengths = frames.map(({ length }) => String(length));
  execFileSync(sender, [String(ifindex), String(linear), ...lengths], { input: Buffer.concat(frames) });
}

/** The same of one frame, whose checksum of what is from `start` on the device writes to `offset` bytes behind that. */
export function sendSummed(
  { sender, ifindex, linear }: Sending,
  frame: Uint8Array,
  { start, offset }: { readonly start: number; readonly offset: number },
): void {
  execFileSync(sender, [String(ifindex), String(linear), `${frame.length}:${start}:${offset}`], {
    input: frame,
  });
}
