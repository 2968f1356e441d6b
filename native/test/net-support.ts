// Veth pairs into namespaces of their own, for the tests of rtnetlink.
import { execFileSync } from "node:child_process";
import { onTestFinished } from "vitest";
import { dumpLinks } from "../lib/index.ts";
import { run } from "./support.ts";

let serial = 0;

/** Each part may hold several words of the command. */
export const ip = (...parts: string[]) => run("ip", ...parts.join(" ").split(" "));

export const batch = (lines: readonly string[]) =>
  execFileSync("ip", ["-batch", "-"], { input: lines.join("\n") });

export const freshName = () => `wt-n${process.pid % 100_000}-${serial++}`;

/** A bridge that is removed when the test ends. */
export function bridge(): string {
  const name = freshName();
  ip("link add", name, "type bridge");
  onTestFinished(() => void ip("link del", name));
  return name;
}

/** A veth pair: `name` here, eth0 in a namespace of its own; both are removed when the test ends. */
export async function pair() {
  const [name, netns] = [freshName(), `wt-net-${process.pid}-${serial++}`];
  ip("netns add", netns);
  onTestFinished(() => void ip("netns del", netns));
  ip(`link add ${name} type veth peer name eth0 netns ${netns}`);
  const link = (await dumpLinks()).find((each) => each.name === name);
  if (link?.peerNetns === undefined) throw new Error(`no veth ${name}`);
  return { name, netns, path: `/run/netns/${netns}`, link, id: link.peerNetns };
}
