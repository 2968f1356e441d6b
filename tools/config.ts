// Writes what follows from the schema of the configuration: the table of docs/configuration.md, the chart's values.schema.json.
//
//   node tools/config.ts

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { chartSchemaText } from "./config/chart-values.ts";
import { withTable } from "./config/table.ts";

const pathOf = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

const page = pathOf("docs/configuration.md");
writeFileSync(page, withTable(readFileSync(page, "utf8")));
writeFileSync(pathOf("deploy/helm/weir/values.schema.json"), chartSchemaText());
