// A bell: many may ring it, one waits; rings while nobody waits are kept as one.

/** The longest that a timer of Node can run, in milliseconds. */
export const TIMER_MS_MAX = 0x7fff_ffff;

export interface Trigger {
  ring(): void;
  /** Resolves at once if it was rung since the last wait, else at the next ring. */
  wait(): Promise<void>;
}

export function openTrigger(): Trigger {
  let rung = false;
  let waiting: (() => void) | undefined;
  return {
    ring() {
      rung = true;
      waiting?.();
    },
    async wait() {
      if (!rung) {
        await new Promise<void>((resolve) => {
          waiting = resolve;
        });
        waiting = undefined;
      }
      rung = false;
    },
  };
}
