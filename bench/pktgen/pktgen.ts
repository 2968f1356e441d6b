// The kernel's packet generator (Documentation/networking/pktgen.rst), driven by its files below /proc/net/pktgen.

import { execFile, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { promisify } from "node:util";
import { OperationError } from "../../src/base/errors.ts";
import type { Generated, Place, Task } from "./generator.ts";
import { POD_ADDRESS } from "./packets.ts";

const FOLDER = "/proc/net/pktgen";

const run = promisify(execFile);

/** Loads the module if need be. */
export function hasPktgen(): boolean {
  if (!existsSync(FOLDER)) spawnSync("modprobe", ["pktgen"], { stdio: "ignore" });
  return existsSync(FOLDER);
}

/** Every thread's files are those of the network namespace that it sends in. @throws OperationError */
export async function generate(place: Place, task: Task): Promise<Generated> {
  const { threads } = task;
  const devices = Array.from({ length: threads }, (_, thread) => `${place.device}@${thread}`);
  const script = [
    `cd ${FOLDER}`,
    `echo reset >pgctrl`,
    ...devices.flatMap((device, thread) => [
      `echo "add_device ${device}" >kpktgend_${thread}`,
      ...settingsOf(place, task).map((setting) => `echo "${setting}" >"${device}"`),
    ]),
    `echo start >pgctrl`,
    `cat ${devices.map((device) => `"${device}"`).join(" ")}`,
    `echo reset >pgctrl`,
  ].join("\n");
  try {
    const inside = place.netns === undefined ? [] : ["ip", "netns", "exec", place.netns];
    const [command = "", ...args] = [...inside, "sh", "-e", "-c", script];
    const { stdout } = await run(command, args);
    return resultsOf(stdout);
  } catch (thrown) {
    throw new OperationError(String((thrown as { stderr?: string }).stderr ?? thrown).trim(), {
      operation: "generate",
      object: `${place.mode} on ${place.device}`,
      cause: thrown,
    });
  }
}

function settingsOf({ mode, mac }: Place, { sweep, packets, threads, size }: Task): string[] {
  const { addresses, ports, sources } = sweep;
  return [
    `xmit_mode ${mode}`,
    `count ${Math.floor(packets / threads)}`,
    "delay 0",
    // Without the frame check sequence, as pktgen counts.
    `pkt_size ${size - FCS_BYTES}`,
    `dst_mac ${mac}`,
    `src_min ${POD_ADDRESS}`,
    `src_max ${POD_ADDRESS}`,
    `dst_min ${addresses.first}`,
    `dst_max ${addresses.last}`,
    `udp_src_min ${sources.first}`,
    `udp_src_max ${sources.last}`,
    `udp_dst_min ${ports.first}`,
    `udp_dst_max ${ports.last}`,
    "flag IPDST_RND",
    "flag UDPSRC_RND",
    "flag UDPDST_RND",
    "flag NO_TIMESTAMP",
  ];
}

const FCS_BYTES = 4;

/** Sums over the threads. `pkts-sofar` is what was sent, the first number of a result's line the time in microseconds. */
export function resultsOf(text: string): Generated {
  const numbers = (pattern: RegExp) => [...text.matchAll(pattern)].map(([, number]) => Number(number));
  const sent = numbers(/pkts-sofar: (\d+)/g);
  const times = numbers(/^Result: OK: (\d+)\(/gm);
  if (sent.length === 0 || times.length !== sent.length)
    throw new OperationError(`an unexpected result: ${text.trim().slice(-500)}`, {
      operation: "generate",
      object: "pktgen",
    });
  return { sent: sent.reduce((sum, each) => sum + each), seconds: Math.max(...times) / 1e6 };
}
