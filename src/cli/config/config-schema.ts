// The configuration of `weir run`, each option once: flags, environment, file, documentation and Helm values come from here.

import { isIP } from "node:net";
import * as z from "zod";
import { FROM_POD_HOOKS } from "../../base/direction.ts";
import { FLOWS_DEFAULT, FLOWS_MAX, FLOWS_MIN } from "../../datapath/flow-capacity.ts";
import { MODES } from "../../model/enforcement-mode.ts";

// What texts of the configuration mean, where their type alone does not say it.

export type Listen = { readonly host: string; readonly port: number } | "off";

/** "127.0.0.1:9469", "[::1]:9469", ":9469" (every address), or "off"; undefined for anything else. */
export function listenOf(text: string): Listen | undefined {
  if (text === "off") return text;
  const [, v6, other, digits] = /^(?:\[([0-9a-f:.]+)\]|([^:[\]]*)):(\d{1,5})$/i.exec(text) ?? [];
  const host = v6 ?? (other || "::");
  const port = Number(digits);
  const isAddress = isIP(host) === (v6 === undefined && host !== "::" ? 4 : 6);
  return digits === undefined || port > 65_535 || !isAddress ? undefined : { host, port };
}

/** Without a look-ahead, which Helm's JSON Schema validator does not support. */
export const INTERFACE_NAME = /^[^/\s]{1,15}$/;

/** As the kernel accepts them; whether the interface exists is checked when attaching. */
export const isInterfaceName = (text: string): boolean =>
  INTERFACE_NAME.test(text) && text !== "." && text !== "..";

/** The description of an option. */
export interface OptionMeta {
  /** For `--help`: a few words. */
  readonly description: string;
  /** More of it, as Markdown, for docs/configuration.md. */
  readonly more?: string;
  /** Of a switch that is on by default: what its flag, --no-…, does. */
  readonly off?: string;
  /** The placeholder of the value in `--help`, its unit if it has one; none for switches. */
  readonly placeholder?: string;
  /** What a right value looks like, where the type does not say. */
  readonly expected?: string;
  /** Whether the Helm chart takes it in `config`; the others are the chart's own affair, or of no use in a cluster. */
  readonly helm: boolean;
}

export const OPTION_META = z.registry<OptionMeta>();

const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
const LOG_FORMATS = ["text", "json"] as const;
const COUNT_MAX = 9_999;

/** In the order of the help. A value is written in a file as its type says; flags and variables are texts of it. */
export const CONFIG = z.strictObject({
  manifests: z.string().min(1).optional().register(OPTION_META, {
    description: "directory of Kubernetes YAML, watched for changes",
    placeholder: "dir",
    expected: "the path of a directory",
    helm: false,
  }),
  kubeconfig: z.string().min(1).optional().register(OPTION_META, {
    description: "follow the API server of this kubeconfig, instead of manifests",
    more: "see [Kubernetes](kubernetes.md)",
    placeholder: "file",
    expected: "the path of a kubeconfig",
    helm: false,
  }),
  context: z.string().min(1).optional().register(OPTION_META, {
    description: "context of the kubeconfig, if not the current one",
    placeholder: "name",
    helm: false,
  }),
  inCluster: z.boolean().default(false).register(OPTION_META, {
    description: "follow the API server as the pod's service account",
    more: "the default in a pod without manifests or kubeconfig",
    helm: false,
  }),
  nodeName: z.string().min(1).optional().register(OPTION_META, {
    description: "this node's name in the cluster (default: NODE_NAME, else the host's name)",
    placeholder: "name",
    helm: false,
  }),
  mode: z.enum(MODES).default("enforce").register(OPTION_META, {
    description: "audit: policies drop nothing, only report what they would drop",
    more: "see [audit](audit.md)",
    placeholder: "mode",
    helm: true,
  }),
  fromPodHook: z
    .enum(FROM_POD_HOOKS)
    .default("tc")
    .register(OPTION_META, {
      description: "hook for packets from pods",
      more:
        "see [decision 6](decisions/0006-tc-by-default.md); an interface without XDP support keeps tc, and " +
        "`weir status` shows why",
      placeholder: "hook",
      helm: true,
    }),
  unknownPods: z.enum(["allow", "deny"]).default("allow").register(OPTION_META, {
    description: "deny: drop all packets on interfaces not owned by a known pod",
    more: "see [unknown pods](unknown-pods.md)",
    placeholder: "what",
    helm: true,
  }),
  ignoreInterfaces: z.array(z.string().regex(INTERFACE_NAME)).min(1).optional().register(OPTION_META, {
    description: "with --unknown-pods deny, exempt interfaces: names or patterns with *, separated by commas",
    placeholder: "patterns",
    expected: "a list of names of interfaces, each of at most 15 characters, with * for any characters",
    helm: true,
  }),
  uplink: z
    .array(z.string().regex(INTERFACE_NAME).refine(isInterfaceName))
    .min(1)
    .optional()
    .register(OPTION_META, {
      description: "drop denied sources on these interfaces: names, separated by commas",
      more: "see [uplinks](uplinks.md)",
      placeholder: "interfaces",
      expected: "a list of names of interfaces, each of at most 15 characters",
      helm: false,
    }),
  denyCidrs: z.string().min(1).optional().register(OPTION_META, {
    description: "denied sources: a prefix or address per line, watched for changes",
    placeholder: "file",
    expected: "the path of a file",
    helm: false,
  }),
  conntrackFlows: z.int().min(FLOWS_MIN).max(FLOWS_MAX).default(FLOWS_DEFAULT).register(OPTION_META, {
    description: "IPv4 flows that the flow table is sized for; IPv6: half as many",
    more: "128 bytes for each; see [the flow table](limits.md#the-flow-table)",
    placeholder: "flows",
    helm: true,
  }),
  eventsFile: z.string().min(1).optional().register(OPTION_META, {
    description: "also write events to this file, one JSON object per line",
    more: "what [`weir monitor`](cli.md#weir-monitor) shows; the file has mode 0600",
    placeholder: "path",
    expected: "the path of a file",
    helm: true,
  }),
  eventsFileSize: z.int().min(1).max(COUNT_MAX).default(10).register(OPTION_META, {
    description: "rotate the file at this size",
    placeholder: "MiB",
    helm: true,
  }),
  eventsFileCount: z.int().min(1).max(COUNT_MAX).default(5).register(OPTION_META, {
    description: "number of files to keep (PATH.1, PATH.2, …)",
    placeholder: "count",
    helm: true,
  }),
  historyDir: z
    .string()
    .min(1)
    .optional()
    .register(OPTION_META, {
      description: "directory of the history (default: history beside the agent's socket)",
      more:
        "what [`weir drops`](cli.md#weir-drops) and [`weir top`](cli.md#weir-top) show, for 24 hours; below `/run` it is " +
        "in memory and ends with a restart of the machine, see [history](history.md)",
      placeholder: "dir",
      expected: "the path of a directory",
      helm: true,
    }),
  historySize: z.int().min(1).max(COUNT_MAX).default(32).register(OPTION_META, {
    description: "maximum size of the history; the oldest hour goes first",
    placeholder: "MiB",
    helm: true,
  }),
  metricsListen: z
    .string()
    .refine((text) => listenOf(text) !== undefined)
    .default("127.0.0.1:9469")
    .register(OPTION_META, {
      description: "metrics listen address and port, or off",
      more: "`:9469` is every address; see [metrics](metrics.md)",
      placeholder: "address",
      expected: "127.0.0.1:9469, [::1]:9469, :9469 or off",
      helm: false,
    }),
  probeListen: z
    .string()
    .refine((text) => listenOf(text) !== undefined)
    .default("127.0.0.1:9470")
    .register(OPTION_META, {
      description: "probe listen address and port, or off",
      more: "`/livez`, `/readyz` and `/healthz`, on a listener of their own; see [metrics](metrics.md#probes)",
      placeholder: "address",
      expected: "127.0.0.1:9470, [::1]:9470, :9470 or off",
      helm: false,
    }),
  metricsPolicies: z.boolean().default(true).register(OPTION_META, {
    description: "metrics per policy",
    off: "omit metrics per policy",
    helm: true,
  }),
  socketGroup: z.string().min(1).optional().register(OPTION_META, {
    description: "group whose members may query the agent (mode 0660)",
    placeholder: "group",
    expected: "the name of a group, or its number as a text",
    helm: true,
  }),
  kubernetesEvents: z.boolean().default(true).register(OPTION_META, {
    description: "report problems as Events, with an API server",
    off: "do not report problems as Events",
    more: "see [Events](kubernetes-events.md)",
    helm: true,
  }),
  nodeCondition: z.boolean().default(false).register(OPTION_META, {
    description: "maintain the node condition weir.dev/PolicyEnforced, with an API server",
    more: "see [Events](kubernetes-events.md#the-nodes-condition)",
    helm: true,
  }),
  cniConfDir: z.string().min(1).optional().register(OPTION_META, {
    description: "keep weir-cni installed in the CNI configuration of this directory",
    more: "see [CNI](cni.md); usually `/etc/cni/net.d`. Needs `cniBinDir`",
    placeholder: "dir",
    expected: "the path of a directory",
    helm: false,
  }),
  cniBinDir: z.string().min(1).optional().register(OPTION_META, {
    description: "and its binary in this directory",
    more: "usually `/opt/cni/bin`. Needs `cniConfDir`",
    placeholder: "dir",
    expected: "the path of a directory",
    helm: false,
  }),
  cniTimeout: z.int().min(1).max(600).default(10).register(OPTION_META, {
    description: "maximum time that weir-cni waits for a pod's policy, then the pod fails",
    placeholder: "seconds",
    helm: true,
  }),
  cniFailOpen: z.boolean().default(false).register(OPTION_META, {
    description: "let weir-cni start pods without their policy instead of failing",
    more: "if the agent does not answer in time: see [CNI](cni.md#fail-open)",
    helm: true,
  }),
  logLevel: z.enum(LOG_LEVELS).default("info").register(OPTION_META, {
    description: "minimum log level",
    placeholder: "level",
    helm: true,
  }),
  logFormat: z.enum(LOG_FORMATS).default("text").register(OPTION_META, {
    description: "log format",
    placeholder: "format",
    helm: true,
  }),
});

export type Config = z.output<typeof CONFIG>;
export type Key = keyof Config;
