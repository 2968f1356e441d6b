// The process that holds a live world. It is started in network and mount namespaces of its own (src/engines/live-engine.ts), so
// that nothing it makes is seen on the machine, and nothing is left of it when it ends, whatever it ends of.

import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { present } from "../base/assert.ts";
import { FROM_POD_HOOKS, type FromPodHook } from "../base/direction.ts";
import { messageOf, OperationError } from "../base/errors.ts";
import { FORWARDING_PATHS } from "../lab/forwarding.ts";
import type { Case } from "../source/conformance/case-types.ts";
import type { Reply, Request } from "./live-protocol.ts";
import { openWorld, type World } from "./live-world.ts";

const BPFFS = "/sys/fs/bpf";
/** Where iproute2 keeps the names of network namespaces. */
const NETNS = "/run/netns";

function mount(type: string, directory: string): void {
  const done = spawnSync("mount", ["-t", type, type, directory], { encoding: "utf8" });
  if (done.status === 0) return;
  const reason = done.stderr?.trim() || done.error?.message || `exit status ${done.status}`;
  throw new OperationError(reason, { operation: "mount", object: `${type} on ${directory}` });
}

async function open(object: string, fromPodHook: FromPodHook): Promise<World> {
  mkdirSync(NETNS, { recursive: true });
  mount("tmpfs", NETNS);
  mount("bpf", BPFFS);
  return openWorld({
    object,
    fromPodHook,
    bpffs: join(BPFFS, "weir"),
    forwarding: { ...FORWARDING_PATHS, record: join(tmpdir(), `weir-live-${process.pid}`) },
  });
}

const send = (reply: Reply): void => {
  process.send?.(reply);
};

const opening = open(
  present(process.argv[2], "path of the BPF object"),
  present(
    FROM_POD_HOOKS.find((hook) => hook === process.argv[3]),
    "hook for what pods send",
  ),
);
let current: Case | undefined;

async function obey(request: Request): Promise<void> {
  if (request.kind === "case") {
    current = request.case;
    return;
  }
  const world = await opening;
  const of = present(current, "a case before its steps");
  const step = present(of.steps[request.index], `step ${request.index}`);
  send({ kind: "verdicts", verdicts: await world.judge(step, of) });
}

const report = (thrown: unknown): void => send({ kind: "error", reason: messageOf(thrown) });

process.on("message", (request: Request) => void obey(request).catch(report));
// The parent process has finished or died. An exit handler closes the world.
process.on("disconnect", () => process.exit(0));
opening.then(() => send({ kind: "ready" }), report);
