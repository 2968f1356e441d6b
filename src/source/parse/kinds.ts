// Which kinds of documents Weir reads, refuses, or leaves alone, by apiVersion and kind.

import type { WarningCode } from "../../model/warnings.ts";
import { isApiVersion, isKind } from "./syntax.ts";
import { quote } from "./text.ts";

/** The kinds that become part of the model, with the one apiVersion that is read. */
const READ_KINDS = {
  NetworkPolicy: "networking.k8s.io/v1",
  Pod: "v1",
  Namespace: "v1",
  Service: "v1",
  EndpointSlice: "discovery.k8s.io/v1",
  Node: "v1",
} as const;

export type ReadKind = keyof typeof READ_KINDS;

const KINDS = Object.keys(READ_KINDS) as readonly ReadKind[];

/** Kinds of networking.k8s.io besides NetworkPolicy: whatever else claims to be of that group is a misspelling. */
const OTHER_NETWORKING_KINDS = ["Ingress", "IngressClass", "IPAddress", "ServiceCIDR"];

export type Classification =
  | { readonly is: "object"; readonly kind: ReadKind }
  /** Objects under `items`; `of` is their kind where they need not say it. */
  | { readonly is: "list"; readonly of: ReadKind | undefined }
  /** Nothing that Weir reads (Deployment, ConfigMap, ...). */
  | { readonly is: "other" }
  /** Meant as a NetworkPolicy, but not as the one that is read: its pods may still be known. */
  | { readonly is: "policy-like"; readonly wrong: WrongKind }
  | { readonly is: "unknown"; readonly wrong: WrongKind };

/** Which of the two fields is wrong, and how. */
export interface WrongKind {
  readonly field: "apiVersion" | "kind";
  readonly reason: string;
  readonly severity: "error" | "warning";
  /** Of a warning. */
  readonly code?: WarningCode;
  readonly fix?: string;
}

/** `kind` and `apiVersion` of a document, undefined where they are missing or no strings. */
export function classify(apiVersion: string | undefined, kind: string | undefined): Classification {
  if (kind === undefined)
    return { is: "unknown", wrong: wrong("kind", "is missing; expected a kind such as NetworkPolicy") };
  const misspelt = meant(kind);
  if (misspelt !== undefined) {
    const reason = `${quote(kind)} is not a kind that Weir reads; did you mean ${misspelt}?`;
    return { is: misspelt === "NetworkPolicy" ? "policy-like" : "unknown", wrong: wrong("kind", reason) };
  }
  if (!isKind(kind)) return { is: "unknown", wrong: wrong("kind", `${quote(kind)} is not a kind`) };
  const listed = KINDS.find((read) => kind === `${read}List`);
  const read = KINDS.find((name) => name === kind) ?? listed;
  if (apiVersion === undefined || !isApiVersion(apiVersion)) {
    const reason = apiVersion === undefined ? "is missing" : `${quote(apiVersion)} is not an apiVersion`;
    const expected = read === undefined ? "" : `; expected ${READ_KINDS[read]}`;
    return {
      is: kind === "NetworkPolicy" ? "policy-like" : "unknown",
      wrong: wrong("apiVersion", reason + expected),
    };
  }
  if (read !== undefined) return classifyRead(read, apiVersion, listed !== undefined);
  return classifyOther(apiVersion, kind);
}

function classifyRead(kind: ReadKind, apiVersion: string, isList: boolean): Classification {
  const expected = READ_KINDS[kind];
  if (apiVersion === expected) return isList ? { is: "list", of: kind } : { is: "object", kind };
  // `Pod` of a group of its own (metrics, custom resources) is not the pod of v1.
  if (kind !== "NetworkPolicy" && apiVersion.includes("/")) return { is: "other" };
  const is = kind === "NetworkPolicy" && !isList ? "policy-like" : "unknown";
  return { is, wrong: wrong("apiVersion", `${apiVersion} is not read; expected ${expected}`) };
}

function classifyOther(apiVersion: string, kind: string): Classification {
  if (kind === "List" && apiVersion === "v1") return { is: "list", of: undefined };
  const single = kind.replace(/List$/, "");
  if (apiVersion.startsWith("networking.k8s.io/") && !OTHER_NETWORKING_KINDS.includes(single)) {
    return {
      is: "policy-like",
      wrong: wrong("kind", `${kind} is not a kind of ${apiVersion}; expected NetworkPolicy`),
    };
  }
  if (!single.endsWith("NetworkPolicy")) return { is: "other" };
  const reason = `${kind} of ${apiVersion} is not enforced by Weir`;
  const fix = "enforce it by other means, or write it as a NetworkPolicy";
  return { is: "unknown", wrong: { field: "kind", reason, severity: "warning", code: "kind-unread", fix } };
}

const wrong = (field: WrongKind["field"], reason: string): WrongKind => ({
  field,
  reason,
  severity: "error",
});

/** The kind that is read and from which only case, hyphens or a plural separate this one. */
function meant(kind: string): string | undefined {
  return [...KINDS, "List"].find((read) => plain(read) === plain(kind) && read !== kind);
}

const plain = (kind: string): string =>
  kind.toLowerCase().replaceAll(/[-_ ]/g, "").replace(/ies$/, "y").replace(/s$/, "");
