// `weir ui` and `kubectl weir ui`: serves the page until it is stopped.

import { InvalidArgumentError, Option } from "commander";
import { note } from "../command.ts";
import { type Context, EXIT } from "../environment.ts";
import type { AgentRunner } from "./agent-runner.ts";

export interface PageOptions {
  readonly port: number;
}

export const portOption = (): Option =>
  new Option("--port <number>", "TCP port on loopback (default: a free one)")
    .argParser((text: string): number => {
      if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535)
        throw new InvalidArgumentError("Write a number from 0 to 65535.");
      return Number(text);
    })
    .default(0, "a free one");

/** What both commands say of it. */
export const PAGE_HELP = `
Prints an address with a token, and serves it on 127.0.0.1 until stopped (Ctrl-C). The page shows who may reach whom, as
a matrix and as a graph; drops, live and of the last 24 hours; policies and where they are enforced; and the nodes. It
reads only, loads nothing from elsewhere, and requires the token: keep the address to yourself.`;

export async function runPage(
  { env }: Pick<Context, "env">,
  runner: AgentRunner,
  { port }: PageOptions,
): Promise<number> {
  const [{ pageData }, { pageDocument }, { servePage }] = await Promise.all([
    import("./page-data.ts"),
    import("./page-document.ts"),
    import("./page-server.ts"),
  ]);
  const server = await servePage(port, pageDocument(env.root), pageData(runner, env.now));
  const signal = env.stopSignal();
  env.stdout.write(`${server.url}\n`);
  note(env, `serving ${runner.title} to anyone with this address; stop with Ctrl-C`);
  if (!signal.aborted)
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  await server.close();
  return EXIT.ok;
}
