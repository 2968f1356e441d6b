// Digests of contents, to compare them or to name them.

import { createHash } from "node:crypto";

/** SHA-256 in hexadecimal: different for different contents. */
export const digestOf = (content: Uint8Array | string): string =>
  createHash("sha256").update(content).digest("hex");
