// The configuration of `weir run`, each option once: flags, environment, file, documentation and Helm values come from here.

import * as z from "zod";
import { FROM_POD_HOOKS } from "../../base/hooks.ts";
import { MODES } from "../../model/mode.ts";
import { INTERFACE_NAME, isInterfaceName, listenOf } from "./values.ts";

/** What is told of an option besides its type and default. */
export interface OptionMeta {
  /** For `--help`: a few words. */
  readonly description: string;
  /** More of it, as Markdown, for docs/configuration.md. */
  readonly more?: string;
  /** Of a switch that is on by default: what its flag, --no-…, does. */
  readonly off?: string;
  /** What stands for the value in `--help`, its unit where it has one; none for switches. */
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
    description: "follow the API server that this file names, instead of manifests",
    more: "see [Kubernetes](kubernetes.md)",
    placeholder: "file",
    expected: "the path of a kubeconfig",
    helm: false,
  }),
  context: z.string().min(1).optional().register(OPTION_META, {
    description: "context of the kubeconfig, where it is not the current one",
    placeholder: "name",
    helm: false,
  }),
  inCluster: z.boolean().default(false).register(OPTION_META, {
    description: "follow the API server as the pod's service account",
    more: "so it does by itself in a pod where neither manifests nor a kubeconfig are given",
    helm: false,
  }),
  nodeName: z.string().min(1).optional().register(OPTION_META, {
    description: "this node's name in the cluster (default: NODE_NAME, else the host's name)",
    placeholder: "name",
    helm: false,
  }),
  mode: z.enum(MODES).default("enforce").register(OPTION_META, {
    description: "audit: drop nothing by policy, only tell what would be dropped",
    more: "see [audit](audit.md)",
    placeholder: "mode",
    helm: true,
  }),
  fromPodHook: z
    .enum(FROM_POD_HOOKS)
    .default("tc")
    .register(OPTION_META, {
      description: "where what pods send is filtered",
      more:
        "see [decision 6](decisions/0006-tc-by-default.md); an interface that takes no XDP program keeps tc, and " +
        "`weir status` says why",
      placeholder: "hook",
      helm: true,
    }),
  unknownPods: z.enum(["allow", "deny"]).default("allow").register(OPTION_META, {
    description: "deny: nothing passes to and from interfaces of which it is not known whose they are",
    more: "see [unknown pods](unknown-pods.md)",
    placeholder: "what",
    helm: true,
  }),
  ignoreInterfaces: z.array(z.string().regex(INTERFACE_NAME)).min(1).optional().register(OPTION_META, {
    description: "interfaces that are no pod's, where unknown ones are denied: names with *, with commas",
    placeholder: "patterns",
    expected: "a list of names of interfaces, each of at most 15 characters, in which * stands for any",
    helm: true,
  }),
  uplink: z
    .array(z.string().regex(INTERFACE_NAME).refine(isInterfaceName))
    .min(1)
    .optional()
    .register(OPTION_META, {
      description: "drop denied sources on these interfaces: names, with commas",
      more: "see [uplinks](uplinks.md)",
      placeholder: "interfaces",
      expected: "a list of names of interfaces, each of at most 15 characters",
      helm: false,
    }),
  denyCidrs: z.string().min(1).optional().register(OPTION_META, {
    description: "the denied sources: a prefix or address a line, watched for changes",
    placeholder: "file",
    expected: "the path of a file",
    helm: false,
  }),
  eventsFile: z.string().min(1).optional().register(OPTION_META, {
    description: "write events there too, a line of JSON each",
    more: "what [`weir monitor`](cli.md#weir-monitor) shows; the file has mode 0600",
    placeholder: "path",
    expected: "the path of a file",
    helm: true,
  }),
  eventsFileSize: z.int().min(1).max(COUNT_MAX).default(10).register(OPTION_META, {
    description: "begin a new file at this size",
    placeholder: "MiB",
    helm: true,
  }),
  eventsFileCount: z.int().min(1).max(COUNT_MAX).default(5).register(OPTION_META, {
    description: "files to keep, the older ones as PATH.1, PATH.2",
    placeholder: "count",
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
    description: "have metrics of each policy",
    off: "leave out the metrics of each policy",
    helm: true,
  }),
  socketGroup: z.string().min(1).optional().register(OPTION_META, {
    description: "members of this group may ask the agent too (mode 0660)",
    placeholder: "group",
    expected: "the name of a group, or its number as a text",
    helm: true,
  }),
  kubernetesEvents: z.boolean().default(true).register(OPTION_META, {
    description: "tell of problems as Events, where the API server is followed",
    off: "tell the API server of no problems as Events",
    more: "see [Events](kubernetes-events.md)",
    helm: true,
  }),
  nodeCondition: z.boolean().default(false).register(OPTION_META, {
    description: "keep the node's condition weir.dev/PolicyEnforced, where the API server is followed",
    more: "see [Events](kubernetes-events.md#the-nodes-condition)",
    helm: true,
  }),
  cniConfDir: z.string().min(1).optional().register(OPTION_META, {
    description: "keep weir-cni in the node's CNI configuration, in this directory",
    more: "see [CNI](cni.md); a runtime's is `/etc/cni/net.d`. Needs `cniBinDir`",
    placeholder: "dir",
    expected: "the path of a directory",
    helm: false,
  }),
  cniBinDir: z.string().min(1).optional().register(OPTION_META, {
    description: "and its binary in this one",
    more: "a runtime's is `/opt/cni/bin`. Needs `cniConfDir`",
    placeholder: "dir",
    expected: "the path of a directory",
    helm: false,
  }),
  cniTimeout: z.int().min(1).max(600).default(10).register(OPTION_META, {
    description: "how long weir-cni waits for a pod's policy until it refuses the pod",
    placeholder: "seconds",
    helm: true,
  }),
  cniFailOpen: z.boolean().default(false).register(OPTION_META, {
    description: "have weir-cni start pods without their policy rather than not at all",
    more: "where the agent does not answer, or not in time: see [CNI](cni.md#fail-open)",
    helm: true,
  }),
  logLevel: z.enum(LOG_LEVELS).default("info").register(OPTION_META, {
    description: "the least that is logged",
    placeholder: "level",
    helm: true,
  }),
  logFormat: z.enum(LOG_FORMATS).default("text").register(OPTION_META, {
    description: "log lines for people or for programs",
    placeholder: "format",
    helm: true,
  }),
});

export type Config = z.output<typeof CONFIG>;
export type Key = keyof Config;
