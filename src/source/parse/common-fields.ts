// metadata of any object: its name, namespace, labels and annotations.

import type { Labels } from "../../model/selector.ts";
import { checkedStringOf, child, type Field, type Fields, fieldsOf, note } from "./fields.ts";
import { type LabelEffects, labelsOf } from "./labels.ts";
import { type Check, namespaceName } from "./syntax.ts";

/** ObjectMeta of meta/v1. The first ones are what people write. */
const METADATA_FIELDS = [
  "name",
  "namespace",
  "labels",
  "annotations",
  "generateName",
  "selfLink",
  "uid",
  "resourceVersion",
  "generation",
  "creationTimestamp",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
  "ownerReferences",
  "finalizers",
  "managedFields",
];
const METADATA_FIELDS_SHOWN = 4;

export interface Metadata {
  /** Undefined where it cannot be read. */
  readonly name: string | undefined;
  /** Undefined where it cannot be read; "default" where it is missing. */
  readonly namespace: string | undefined;
  readonly labels: Labels;
  readonly annotations: Fields;
  /** Whether deletionTimestamp is set. */
  readonly deleting: boolean;
}

/** Which metadata an object must have. */
export interface MetadataRules {
  readonly nameCheck: Check;
  /** Whether unknown fields are issues. */
  readonly strict: boolean;
  readonly labelEffects?: LabelEffects;
}

/** Reads `metadata` of an object. Null counts as missing in it (`labels: null`), but not for the name and namespace. */
export function parseMetadata(object: Field, fields: Fields, rules: MetadataRules): Metadata {
  const given = fields.get("metadata");
  if (given === undefined) note(child(object, "metadata"), "is missing; metadata.name is required");
  const metadata: Field = { ...(given ?? child(object, "metadata", {})), nullIsMissing: false };
  const map = fieldsOf(metadata, rules.strict ? METADATA_FIELDS : undefined, METADATA_FIELDS_SHOWN);
  const name = map?.get("name");
  const labels = unlessNull(map?.get("labels"));
  const annotations = unlessNull(map?.get("annotations"));
  if (given !== undefined && map !== undefined && name === undefined)
    note(child(metadata, "name"), "is missing");
  return {
    name: name && checkedStringOf(name, rules.nameCheck),
    namespace: map && namespaceOf(metadata, map),
    labels: (labels && labelsOf(labels, rules.labelEffects)) ?? new Map(),
    deleting: typeof map?.get("deletionTimestamp")?.value === "string",
    annotations: (annotations && fieldsOf({ ...annotations, nullIsMissing: true })) ?? new Map(),
  };
}

/** A missing or empty namespace means "default", as it does to kubectl without a context of its own. */
function namespaceOf(metadata: Field, map: Fields): string | undefined {
  const field = map.get("namespace");
  if (field !== undefined && field.value !== "") return checkedStringOf(field, namespaceName);
  return metadata.issues.hasErrorIn([...metadata.path, "namespace"]) ? undefined : "default";
}

const unlessNull = (field: Field | undefined): Field | undefined =>
  field?.value === null ? undefined : field;
