// A stage of a pipeline: keeps its last result, and computes it again only if one of its inputs is another object.

/** `inputs` must be all that the result of `run` depends on; compared by identity, which for values that never change is enough. */
export function openStage<R>(): (inputs: readonly unknown[], run: () => R) => R {
  let last: { readonly inputs: readonly unknown[]; readonly result: R } | undefined;
  return (inputs, run) => {
    if (last !== undefined && sameItems(last.inputs, inputs)) return last.result;
    const result = run();
    last = { inputs, result };
    return result;
  };
}

/** The result of before where the new one is equal: later stages then see no change. */
export function openKeep<R>(isEqual: (a: R, b: R) => boolean): (result: R) => R {
  let last: R | undefined;
  return (result) => {
    if (last === undefined || !isEqual(last, result)) last = result;
    return last;
  };
}

/** A stage that also keeps its result where the new one is equal. */
export function openKeptStage<R>(isEqual: (a: R, b: R) => boolean): ReturnType<typeof openStage<R>> {
  const stage = openStage<R>();
  const keep = openKeep(isEqual);
  return (inputs, run) => keep(stage(inputs, run));
}

/**
 * A stage whose result is an input of its next run, and that changes nothing if it runs again on its own result: numbers that are
 * assigned stay assigned.
 */
export function openSettlingStage<R>(): (inputs: readonly unknown[], previous: R, run: () => R) => R {
  let last: { readonly inputs: readonly unknown[]; readonly previous: R; readonly result: R } | undefined;
  return (inputs, previous, run) => {
    const isSettled = last !== undefined && (previous === last.previous || previous === last.result);
    if (last !== undefined && isSettled && sameItems(last.inputs, inputs)) return last.result;
    const result = run();
    last = { inputs, previous, result };
    return result;
  };
}

export const sameItems = <T>(a: readonly T[], b: readonly T[]): boolean =>
  a === b || (a.length === b.length && a.every((each, index) => each === b[index]));

export function sameEntries<K, V>(a: ReadonlyMap<K, V>, b: ReadonlyMap<K, V>): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}
