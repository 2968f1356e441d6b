// A process that opens a lab, reports it, and then ends in the given way: for the test that a lab is removed however its process ends.

import { setTimeout as sleep } from "node:timers/promises";
import { openLab } from "../../src/lab/netns-lab.ts";

const [prefix = "", address = "", how = ""] = process.argv.slice(2);
const lab = await openLab({ prefix, endpoints: [{ name: "only", addresses: [address], tcp: [80] }] });
process.stdout.write(`open ${lab.wire("only").link}\n`);
if (how === "throw") throw new Error("thrown on purpose");
if (how === "exit") process.exit(3);
await sleep(60_000);
