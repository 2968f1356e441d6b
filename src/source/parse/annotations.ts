// What annotations of Weir's own say of a pod: which interface is its, and which addresses it may send from.

import { type Cidr, type Parsed, parseCidr } from "../../base/ip.ts";
import { parseHardware } from "../../base/mac-address.ts";
import type { Attachment } from "../../model/cluster.ts";
import { at, checkedStringOf, type Field, type Fields, note, stringOf, warn } from "./fields.ts";
import { linkName, netnsName } from "./syntax.ts";
import { quote } from "./text.ts";

const PREFIX = "weir.dev/";
const INTERFACE = "weir.dev/interface";
const NETNS = "weir.dev/netns";
const SOURCES = "weir.dev/allowed-sources";
const MACS = "weir.dev/allowed-macs";
const KNOWN: readonly string[] = [INTERFACE, NETNS, SOURCES, MACS];

/** An endpoint has room for eight, of which one is the pod's own. */
const MACS_MAX = 7;

export interface PodAnnotations {
  readonly attachment: Attachment | undefined;
  /** Undefined where there are none, or not all of them can be read. */
  readonly sources: readonly Cidr[] | undefined;
  /** The same. */
  readonly macs: readonly string[] | undefined;
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
  const macs = at(annotations, MACS, "the pod may send from its own MAC address only");
  return {
    attachment: attachmentOf(annotations),
    sources: sources && listAt(sources, parsedSource, "CIDR,CIDR,..."),
    macs: macs && macsAt(macs),
  };
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
function listAt<T>(
  field: Field,
  parse: (text: string) => Parsed<T>,
  expected: string,
): readonly T[] | undefined {
  const text = stringOf(field);
  if (text === undefined) return undefined;
  const values: T[] = [];
  for (const each of text.split(",").map((part) => part.trim())) {
    const parsed = parse(each);
    if (!parsed.ok) {
      note(field, `${quote(each)}: ${parsed.reason}; write ${expected}`);
      return undefined;
    }
    values.push(parsed.value);
  }
  return values;
}

/** Nothing turns the guard against forged sources off. */
function parsedSource(text: string): Parsed<Cidr> {
  const parsed = parseCidr(text);
  if (!parsed.ok || parsed.value.length > 0) return parsed;
  return { ok: false, reason: "every address; it must be fewer" };
}

function macsAt(field: Field): readonly string[] | undefined {
  const macs = listAt(field, parseHardware, "MAC,MAC,...");
  const distinct = macs && [...new Set(macs)];
  if (distinct === undefined || distinct.length <= MACS_MAX) return distinct;
  note(field, `${distinct.length} addresses; at most ${MACS_MAX}`);
  return undefined;
}
