// A listener that is opened now, or later where its address is taken: enforcement does not wait for it.

import type { Log } from "../base/log.ts";
import type { Endpoint, PageServer } from "../observe/http-pages.ts";

const LISTEN_AGAIN_MS = 10_000;

export interface Listener {
  /** Connections refused since the start. */
  refused(): number;
  close(): Promise<void>;
}

/** Listens from now on. A failure is logged once, and tried again every ten seconds. */
export function openListener(
  name: string,
  open: () => Promise<PageServer>,
  { host }: Endpoint,
  log: Log,
): Listener {
  let retry: NodeJS.Timeout | undefined;
  let closed = false;
  let listening: PageServer | undefined;
  const attempt = async (): Promise<void> => {
    try {
      listening = await open();
      log.info(name, { host, port: listening.port });
    } catch (error) {
      if (retry === undefined) log.error(String(error instanceof Error ? error.message : error));
      retry = setTimeout(() => {
        if (!closed) opening = attempt();
      }, LISTEN_AGAIN_MS).unref();
    }
  };
  let opening = attempt();
  return {
    refused: () => listening?.refused() ?? 0,
    async close() {
      closed = true;
      clearTimeout(retry);
      await opening;
      await listening?.close();
    },
  };
}
