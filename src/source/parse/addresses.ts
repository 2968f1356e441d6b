// IP addresses and CIDRs of Kubernetes objects, in every spelling that API servers store.

import type { Address, Cidr, Parsed } from "../../base/ip.ts";
import { parseLegacyAddress, parseLegacyCidr, type Read } from "../../base/legacy-ip.ts";
import { type Field, note, stringOf, warn } from "./fields.ts";
import { quote } from "./text.ts";

export const addressAt = (field: Field): Address | undefined => readAt(field, "address", parseLegacyAddress);

export const cidrAt = (field: Field): Cidr | undefined => readAt(field, "CIDR", parseLegacyCidr);

function readAt<T extends { readonly text: string }>(
  field: Field,
  noun: string,
  parse: (text: string) => Parsed<Read<T>>,
): T | undefined {
  const text = stringOf(field);
  if (text === undefined) return undefined;
  const parsed = parse(text);
  if (!parsed.ok) {
    note(field, `${quote(text)} is not a valid ${noun}: ${parsed.reason}`);
    return undefined;
  }
  const { value, legacy } = parsed.value;
  if (legacy) {
    const reason = `${quote(text)} is read as ${value.text}, as older API servers read it; today's refuse it, and others may read it differently`;
    warn(field, reason, { code: "ip-spelling", fix: `write ${value.text}` });
  }
  return value;
}
