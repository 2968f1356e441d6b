// Denies everything on unclaimed interfaces as soon as they appear, ahead of the reconciliation that they
// trigger.

import { codeOf, messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Mode } from "../model/enforcement-mode.ts";
import type { Kernel } from "./datapath-handle.ts";

export interface Gate {
  /**
   * Attaches the programs, which drop everything if the endpoints' table has no entry. An existing entry is
   * kept: after a restart that of the interface's pod, or that of an unclaimed interface.
   */
  shut(ifindex: number): void;
  /** Whether it was shut since the last release: no reconciliation has covered it yet. */
  holds(ifindex: number): boolean;
  /** A reconciliation begins, which covers all interfaces shut until now. */
  release(): void;
}

/** In audit mode nothing is dropped, so nothing is shut. */
export function gateOf(
  { attachments }: Pick<Kernel, "attachments">,
  { mode, denyUnknown }: { readonly mode: Mode; readonly denyUnknown?: unknown },
  log: Log,
): { readonly gate?: Gate } {
  if (denyUnknown === undefined || mode === "audit") return {};
  const shut = new Set<number>();
  return {
    gate: {
      shut(ifindex) {
        shut.add(ifindex);
        const onFiltered = (): void => log.debug("unclaimed interface denied everything", { ifindex });
        attachments.attachSoon(ifindex, onFiltered).catch((error: unknown) => {
          // It has gone already. Any other failure is retried, and reported, by the next reconciliation.
          if (codeOf(error) === "ENODEV") return;
          log.warn("an unclaimed interface cannot be denied everything", { error: messageOf(error) });
        });
      },
      holds: (ifindex) => shut.has(ifindex),
      release: () => shut.clear(),
    },
  };
}
