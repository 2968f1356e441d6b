// How soon a round follows what asked for it: at once where the agent is at rest, and with pauses where changes never end.

export interface Debounce {
  /** How long to wait, in milliseconds, before the round that has just been asked for. */
  wait(now: number): number;
  /** A round has ended; both in milliseconds of a clock that only goes forward. */
  ended(begun: number, now: number): void;
}

/** What comes as one (a file and its directory, the objects of one command) is to be applied as one. */
const TOGETHER_MS = 5;

/** Pauses grow with the rounds, so that these take half of a CPU at most; but a change never waits longer for its round. */
const PAUSE_MAX_MS = 250;

export function openDebounce(): Debounce {
  let restedAt = Number.NEGATIVE_INFINITY;
  return {
    wait: (now) => Math.max(TOGETHER_MS, restedAt - now),
    ended(begun, now) {
      restedAt = now + Math.min(now - begun, PAUSE_MAX_MS);
    },
  };
}
