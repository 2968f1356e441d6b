// Namespace v1: its name and labels.

import { NAMESPACE_NAME_LABEL, type Namespace } from "../../model/cluster.ts";
import { isMode, MODE_KEY, MODES } from "../../model/enforcement-mode.ts";
import { type MetadataRules, namespaceName, parseMetadata } from "./common-fields.ts";
import { child, type Field, fieldsOf, note, quote, warn } from "./fields.ts";

const NAMESPACE_METADATA: MetadataRules = {
  strict: false,
  nameCheck: namespaceName,
  labelEffects: {
    all: "the namespace is treated as having only the label of its name",
    one: "the namespace is treated as not having this label",
  },
};

/** Undefined where the name cannot be read. */
export function parseNamespace(field: Field): Namespace | undefined {
  const { name, labels } = parseMetadata(field, fieldsOf(field) ?? new Map(), NAMESPACE_METADATA);
  if (name === undefined) return undefined;
  const given = labels.get(NAMESPACE_NAME_LABEL);
  if (given !== undefined && given !== name) {
    const label = child(child(child(field, "metadata"), "labels"), NAMESPACE_NAME_LABEL);
    warn({ ...label, effect: `it is treated as ${name}` }, "is always the namespace's name", {
      code: "name-label-wrong",
      fix: "leave the label out",
    });
  }
  const mode = labels.get(MODE_KEY);
  if (mode !== undefined && !isMode(mode)) {
    const label = child(child(child(field, "metadata"), "labels"), MODE_KEY);
    const reason = `${quote(mode)} is not a mode; expected ${MODES.join(" or ")}`;
    note({ ...label, effect: "the namespace's policies are enforced" }, reason);
  }
  // SetDefaults_Namespace overwrites it too.
  return { name, labels: new Map([...labels, [NAMESPACE_NAME_LABEL, name]]) };
}
