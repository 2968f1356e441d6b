// What annotations of Weir's own say of a pod: which interface is its, and what it may send from.

import { type Cidr, parseCidr } from "../../base/ip.ts";
import type { Attachment } from "../../model/cluster.ts";
import { at, checkedStringOf, type Field, type Fields, note, stringOf, warn } from "./fields.ts";
import { linkName, netnsName } from "./syntax.ts";
import { quote } from "./text.ts";

const PREFIX = "weir.dev/";
const INTERFACE = "weir.dev/interface";
const NETNS = "weir.dev/netns";
const SOURCES = "weir.dev/allowed-sources";
const KNOWN: readonly string[] = [INTERFACE, NETNS, SOURCES];

export interface PodAnnotations {
  readonly attachment: Attachment | undefined;
  /** Undefined where there are none, or not all of them can be read. */
  readonly sources: readonly Cidr[] | undefined;
}

export function annotationsOf(annotations: Fields): PodAnnotations {
  for (const [key, field] of annotations) {
    if (!key.startsWith(PREFIX) || KNOWN.includes(key)) continue;
    warn({ ...field, effect: "it is ignored" }, "unknown annotation", {
      code: "annotation-unknown",
      fix: `expected ${KNOWN.slice(0, -1).join(", ")} or ${KNOWN.at(-1)}`,
    });
  }
  const sources = at(annotations, SOURCES, "the pod may send from its own addresses only");
  return { attachment: attachmentOf(annotations), sources: sources && sourcesAt(sources) };
}

function attachmentOf(annotations: Fields): Attachment | undefined {
  const effect = "the pod's interface is looked up by its addresses";
  const link = at(annotations, INTERFACE, effect);
  const netns = at(annotations, NETNS, effect);
  if (link && netns) {
    note(netns, `contradicts ${INTERFACE}; write one of them`);
    return undefined;
  }
  const linkText = link && checkedStringOf(link, linkName);
  const netnsText = netns && checkedStringOf(netns, netnsName);
  if (linkText !== undefined) return { kind: "link", name: linkText };
  if (netnsText !== undefined) return { kind: "netns", name: netnsText };
  return undefined;
}

/** All or nothing: a list that is half right was not meant like that. */
function sourcesAt(field: Field): readonly Cidr[] | undefined {
  const text = stringOf(field);
  if (text === undefined) return undefined;
  const prefixes: Cidr[] = [];
  for (const each of text.split(",").map((part) => part.trim())) {
    const parsed = parseCidr(each);
    const reason = parsed.ok ? reasonAgainst(parsed.value) : parsed.reason;
    if (reason !== undefined) {
      note(field, `${quote(each)}: ${reason}; write CIDR,CIDR,...`);
      return undefined;
    }
    if (parsed.ok) prefixes.push(parsed.value);
  }
  return prefixes;
}

/** Nothing turns the guard against forged sources off. */
const reasonAgainst = ({ length }: Cidr): string | undefined =>
  length === 0 ? "every address; it must be fewer" : undefined;
