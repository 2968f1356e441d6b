// Events of several nodes in one order: each is held back for a moment, so that those of slower nodes can go before it.

export interface MergedStream<T> {
  add(item: T): void;
  /** Emits what has been held for long enough, and what is older than that. */
  flush(): void;
  /** Emits everything. */
  end(): void;
}

export interface MergeOptions<T> {
  readonly emit: (item: T) => void;
  /** In ms, as `now` has it. */
  readonly holdMs: number;
  readonly now: () => number;
  /** Items that are held at most: beyond it the oldest are emitted early. */
  readonly max: number;
}

interface Held<T> {
  readonly item: T;
  readonly at: number;
}

/** By `time` (ISO 8601), as the nodes' clocks have it; equal times in the order of their arrival. */
export function openMergedStream<T extends { readonly time: string }>({
  emit,
  holdMs,
  now,
  max,
}: MergeOptions<T>): MergedStream<T> {
  let held: Held<T>[] = [];
  const emitFirst = (count: number): void => {
    const leaving = held.slice(0, count);
    held = held.slice(count);
    for (const { item } of leaving) emit(item);
  };
  const sort = (): void => {
    held.sort((a, b) => Date.parse(a.item.time) - Date.parse(b.item.time));
  };
  return {
    add(item) {
      held.push({ item, at: now() });
      if (held.length <= max) return;
      sort();
      // Half of them: sorting for each would cost too much.
      emitFirst(held.length - Math.floor(max / 2));
    },
    flush() {
      sort();
      const due = now() - holdMs;
      emitFirst(held.findLastIndex(({ at }) => at <= due) + 1);
    },
    end() {
      sort();
      emitFirst(held.length);
    },
  };
}
