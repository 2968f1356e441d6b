// The entry point of the benches: `npm run bench -- NAME [options]`.

import { Command } from "commander";
import { messageOf } from "../src/base/errors.ts";
import { addCheck } from "./check/command.ts";
import { addHistory } from "./history/command.ts";
import { addNames } from "./names/command.ts";
import { addPacket } from "./packet/command.ts";
import { addPath } from "./path/command.ts";
import { addPktgen } from "./pktgen/command.ts";
import { addScale } from "./scale/command.ts";
import { addUpdate } from "./update/command.ts";

const program = new Command("npm run bench --")
  .description("Measures Weir; every bench says by --help what it measures, and how to read it.")
  .showHelpAfterError("(--help says more)");
addPacket(program);
addPath(program);
addPktgen(program);
addUpdate(program);
addCheck(program);
addScale(program);
addHistory(program);
addNames(program);

try {
  await program.parseAsync();
} catch (thrown) {
  process.stderr.write(`bench: ${messageOf(thrown)}\n`);
  if (process.env["WEIR_DEBUG"] === "1") throw thrown;
  process.exitCode = 1;
}
