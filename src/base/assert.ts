// Assertions for programmer errors: they fail only on a bug in Weir, never on bad input.

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${message}`);
}

/** Ends the exhaustive switch over a closed union: a new member that is not handled fails to compile. */
export function assertNever(value: never, what: string): never {
  throw new Error(`assertion failed: unexpected ${what}: ${JSON.stringify(value)}`);
}

/** The value, if the caller is sure that it exists. */
export function present<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`assertion failed: ${what} is missing`);
  return value;
}
