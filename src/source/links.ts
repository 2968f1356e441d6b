// Notices that interfaces of the node come and go, so that the agent looks again.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const NET = "/sys/class/net";

/** How often the list is read. Reading 250 interfaces takes about 2 ms. */
export const LINKS_POLL_MS = 500;

/** Every interface as `name ifindex`, one line each, sorted: equal texts mean that nothing came or went. */
export function linksText(directory = NET): string {
  return readdirSync(directory)
    .sort()
    .map((name) => `${name} ${indexOf(join(directory, name))}`)
    .join("\n");
}

function indexOf(path: string): string {
  try {
    return readFileSync(join(path, "ifindex"), "utf8").trim();
  } catch {
    // It went away between the listing and the reading: the next poll sees the list without it.
    return "";
  }
}

/** Calls `onChange` when an interface came or went, until the signal aborts. */
export function watchLinks(onChange: () => void, signal: AbortSignal): void {
  let last = linksText();
  const timer = setInterval(() => {
    const text = linksText();
    if (text === last) return;
    last = text;
    onChange();
  }, LINKS_POLL_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}
