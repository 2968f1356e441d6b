// YAML output. A module of its own, so that the package is loaded only for YAML output; imported by name, since a bundled
// CommonJS package gives its names to static imports alone.

import { stringify } from "yaml";

/** With every object written out: anchors would be for programs alone. */
export const yamlText = (value: unknown): string =>
  stringify(value, { aliasDuplicateObjects: false, lineWidth: 0 });
