// Rounds rest between each other, but not while a pod that has just been added waits for its first one.

export interface DebounceBypass {
  /** A pod has been added. */
  asked(): void;
  /** A round begins, which sees all that have been added until now. */
  seen(): void;
  /** Waits so long, or until a pod is added that no round has seen. */
  rest(ms: number): Promise<void>;
}

export function openDebounceBypass(): DebounceBypass {
  let fresh = false;
  let wake: () => void = () => undefined;
  return {
    asked() {
      fresh = true;
      wake();
    },
    seen() {
      fresh = false;
    },
    rest(ms) {
      if (fresh) return Promise.resolve();
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    },
  };
}
