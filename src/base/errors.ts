// The one class for operating errors: what was tried, on what, with which result; never for a bug or bad
// input.

export interface OperationFacts {
  /** What was tried, for example "attach" or "read". */
  readonly operation: string;
  /** What it was tried on: a path, an interface, a map. */
  readonly object: string;
  /** The kernel's or Node's code, for example "ENOENT". */
  readonly code?: string;
  readonly cause?: unknown;
}

export class OperationError extends Error {
  readonly operation: string;
  readonly object: string;
  readonly code: string | undefined;

  constructor(message: string, facts: OperationFacts) {
    super(`${facts.operation} ${facts.object}: ${message}`, { cause: facts.cause });
    this.name = "OperationError";
    this.operation = facts.operation;
    this.object = facts.object;
    this.code = facts.code;
  }
}

/** The text of anything that was thrown. */
export const messageOf = (thrown: unknown): string =>
  thrown instanceof Error ? thrown.message : String(thrown);

/** The `code` of a Node or kernel error ("ENOENT", "EPERM"), if it has one. */
export function codeOf(thrown: unknown): string | undefined {
  if (thrown instanceof Error && "code" in thrown && typeof thrown.code === "string") return thrown.code;
  return undefined;
}

/** Whether `work` does not throw: for attempts whose failure is handled elsewhere. */
export function succeeds(work: () => unknown): boolean {
  try {
    work();
    return true;
  } catch {
    return false;
  }
}
