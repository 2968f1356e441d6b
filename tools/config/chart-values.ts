// What the Helm chart takes, as a schema: its own values, and in `config` the options of the agent that are a cluster's affair.

import * as z from "zod";
import { OPTIONS } from "../../src/cli/config/config-options.ts";
import { CONFIG, INTERFACE_NAME, OPTION_META } from "../../src/cli/config/config-schema.ts";

/** Checked by Kubernetes itself. */
const anything = z.record(z.string(), z.unknown());
const texts = z.record(z.string(), z.string());
const objects = z.array(anything);
const port = z.int().min(1).max(65_535);
const directory = z.string().regex(/^\//);
const prefix = z.string().regex(/^[0-9A-Fa-f:.]+(\/[0-9]{1,3})?$/);

const config = z.strictObject(
  Object.fromEntries(OPTIONS.filter(({ helm }) => helm).map(({ key }) => [key, CONFIG.shape[key]] as const)),
);

const values = z.strictObject({
  image: z.strictObject({
    repository: z.string().min(1),
    tag: z.string(),
    digest: z.string().regex(/^(sha256:[0-9a-f]{64})?$/),
    pullPolicy: z.enum(["Always", "IfNotPresent", "Never"]),
    pullSecrets: z.array(z.strictObject({ name: z.string().min(1) })),
  }),
  config,
  extraArgs: z.array(z.string()),
  extraEnv: objects,
  metrics: z.strictObject({
    address: z.string().regex(/^[0-9A-Fa-f:.]*$/),
    port,
    service: z.strictObject({ enabled: z.boolean(), annotations: texts }),
    podMonitor: z.strictObject({
      enabled: z.boolean(),
      labels: texts,
      interval: z.string().regex(/^[0-9]+(ms|s|m|h)$/),
    }),
  }),
  probes: z.strictObject({ port }),
  uplinks: z.strictObject({
    interfaces: z.array(z.string().regex(INTERFACE_NAME)),
    denyCidrs: z.array(prefix),
  }),
  cni: z.strictObject({ enabled: z.boolean(), confDir: directory, binDir: directory }),
  cleanup: z.strictObject({ enabled: z.boolean(), timeoutSeconds: z.int().min(1).max(3_600) }),
  rbac: z.strictObject({ create: z.boolean() }),
  serviceAccount: z.strictObject({ name: z.string(), annotations: texts }),
  securityContext: z.strictObject({
    privileged: z.boolean(),
    seccompProfile: z.enum(["RuntimeDefault", "Unconfined"]),
    seLinuxOptions: texts,
  }),
  resources: anything,
  priorityClassName: z.string(),
  tolerations: objects,
  nodeSelector: texts,
  affinity: anything,
  updateStrategy: anything,
  podAnnotations: texts,
  podLabels: texts,
  // Helm gives both to every chart that is another one's part.
  global: anything.optional(),
});

/** What OPTION_META holds for the command line and the documents. */
const OTHERS = ["more", "off", "placeholder", "expected", "helm"];

/** values.schema.json: draft 7, which every Helm 3 reads. */
export function chartSchemaText(): string {
  const schema = z.toJSONSchema(values, {
    target: "draft-7",
    io: "input",
    metadata: OPTION_META,
    override: ({ jsonSchema }) => {
      for (const each of OTHERS) delete (jsonSchema as Record<string, unknown>)[each];
      // JSON has no names to check; what is a name is any text.
      delete jsonSchema.propertyNames;
    },
  });
  return `${JSON.stringify(schema, undefined, 2)}\n`;
}

/** Whether values are what the chart takes; without defaults, as Helm checks them after merging. */
export const chartValuesError = (given: unknown): string | undefined => {
  const result = values.safeParse(given);
  return result.success ? undefined : z.prettifyError(result.error);
};
