// What `weir suggest` reads: events from files, the standard input or the agent.

import { createReadStream } from "node:fs";
import { codeOf, messageOf } from "../base/errors.ts";
import { type FlowCollector, parseEventLine } from "../events/observed-flows.ts";
import type { EventView } from "../events/packet-event.ts";
import { printable } from "../observe/text-output.ts";
import { askAgentOrFail } from "./agent-client.ts";
import { CommandError, type Context, EXIT } from "./environment.ts";

/** More than any event has: a file without line ends must not fill the memory. */
const LINE_LENGTH_MAX = 64 * 1024;

/** @throws CommandError where one cannot be read, or a line is not an event */
export async function readEventFiles(
  { env }: Context,
  files: readonly string[],
  collector: FlowCollector,
): Promise<void> {
  for (const file of new Set(files)) {
    const name = file === "-" ? "<stdin>" : printable(file);
    let number = 0;
    try {
      for await (const line of linesOf(file === "-" ? env.stdin() : createReadStream(file))) {
        number += 1;
        if (line.trim() === "") continue;
        const event = line.length > LINE_LENGTH_MAX ? TOO_LONG : parseEventLine(line);
        if (!event.ok)
          throw new CommandError(
            `${name}:${number} is not an event of \`weir monitor -f -o json\`: ${event.reason}`,
          );
        collector.add(event.value);
      }
    } catch (thrown) {
      if (thrown instanceof CommandError || codeOf(thrown) === undefined) throw thrown;
      const isMissing = codeOf(thrown) === "ENOENT";
      throw new CommandError(
        isMissing ? `${name} does not exist` : `${name} cannot be read: ${messageOf(thrown)}`,
        isMissing ? EXIT.notFound : EXIT.error,
      );
    }
  }
}

const TOO_LONG = { ok: false, reason: `longer than ${LINE_LENGTH_MAX} characters` } as const;

async function* linesOf(stream: AsyncIterable<Uint8Array | string>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const parts = (
      rest + (typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true }))
    ).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
    // Enough of it to be refused.
    if (rest.length > LINE_LENGTH_MAX) break;
  }
  if (rest !== "") yield rest;
}

/** The latest events of the agent. @throws CommandError where none answers */
export async function readAgentEvents(context: Context, collector: FlowCollector): Promise<void> {
  const instead = "name a file of events, as `weir monitor -f --flows -o json` writes it";
  for (const event of await askAgentOrFail<readonly EventView[]>(context, "events", instead))
    collector.add(event);
}
