// Digests of texts that would take too much memory as keys.

import { createHash } from "node:crypto";

/** SHA-256 in base64: different for different texts. */
export const digestOf = (text: string): string => createHash("sha256").update(text).digest("base64");
