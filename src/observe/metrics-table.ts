// Every metric that Weir exports: name, kind, labels and help. Tests compare docs/metrics.md and the files of
// deploy/ with it.

export interface MetricSpec {
  readonly name: string;
  readonly kind: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly labels: readonly string[];
}

const metric = (
  kind: MetricSpec["kind"],
  name: string,
  labels: readonly string[],
  help: string,
): MetricSpec => ({ name, kind, labels, help });

const TRAFFIC_LABELS = ["direction", "verdict", "reason", "family"] as const;

/** By the name of each in the code. */
export const METRICS = {
  build: metric("gauge", "weir_build_info", ["version", "hook"], "1, with the version and the hook in use"),
  packets: metric("counter", "weir_packets_total", TRAFFIC_LABELS, "Packets judged, seen from the pods"),
  bytes: metric("counter", "weir_bytes_total", TRAFFIC_LABELS, "Bytes of the packets judged, whole frames"),
  policyPackets: metric(
    "counter",
    "weir_policy_packets_total",
    ["namespace", "policy", "direction", "reason"],
    "Packets that policies decided, at each policy that isolates the endpoint in the direction",
  ),
  endpoints: metric(
    "gauge",
    "weir_endpoints",
    ["state"],
    "Interfaces of this node's pods, by how they are enforced",
  ),
  isolated: metric(
    "gauge",
    "weir_endpoints_isolated",
    ["direction"],
    "Pods of this node that policies isolate",
  ),
  policies: metric("gauge", "weir_policies", ["state"], "Policies known, by whether they could be read"),
  generationWanted: metric("gauge", "weir_generation_wanted", [], "Newest policy generation asked for"),
  generationApplied: metric("gauge", "weir_generation_applied", [], "Policy generation that is in force"),
  appliedAt: metric(
    "gauge",
    "weir_applied_timestamp_seconds",
    [],
    "When this agent last brought something into force",
  ),
  problems: metric("gauge", "weir_problems", ["severity"], "Problems that `weir status` shows"),
  leftOut: metric(
    "gauge",
    "weir_limit_left_out",
    ["namespace", "limit"],
    "Rules, pods and Services left out because their namespace asks for more than its share",
  ),
  entries: metric("gauge", "weir_table_entries", ["table"], "Entries in use of each limited table"),
  capacity: metric("gauge", "weir_table_entries_limit", ["table"], "Most entries that each table can hold"),
  pressure: metric(
    "gauge",
    "weir_table_pressure_ratio",
    ["table"],
    "Entries in use, as a share of the limit",
  ),
  uplinks: metric(
    "gauge",
    "weir_uplinks",
    ["mode"],
    "Uplinks of the node, by how the XDP program hangs on them",
  ),
  uplinkFrames: metric(
    "counter",
    "weir_uplink_frames_total",
    ["verdict", "reason"],
    "Frames that came in by the uplinks",
  ),
  deniedPrefixes: metric("gauge", "weir_denied_prefixes", [], "Prefixes whose sources uplinks drop"),
  eventsWritten: metric("counter", "weir_events_total", [], "Events that the programs have told of"),
  eventsSuppressed: metric(
    "counter",
    "weir_events_suppressed_total",
    [],
    "Dropped packets that were not told of, since there were too many in the same second",
  ),
  eventsLost: metric(
    "counter",
    "weir_events_lost_total",
    ["where"],
    "Events that found the ring buffer full, or their file",
  ),
  sourceContact: metric(
    "gauge",
    "weir_source_contact_timestamp_seconds",
    ["kind"],
    "When the API server last said something of a kind",
  ),
  sourceListed: metric(
    "gauge",
    "weir_source_listed_timestamp_seconds",
    ["kind"],
    "When a kind was last listed as a whole",
  ),
  sourceFollowed: metric(
    "gauge",
    "weir_source_followed",
    ["kind"],
    "Whether changes of a kind come as they happen: 1 or 0",
  ),
  sourceObjects: metric("gauge", "weir_source_objects", ["kind"], "Objects that are known of a kind"),
  sourceLists: metric("counter", "weir_source_lists_total", ["kind", "reason"], "Lists begun, by why"),
  sourceWatches: metric("counter", "weir_source_watches_total", ["kind", "reason"], "Watches begun, by why"),
  sourceDifferences: metric(
    "counter",
    "weir_source_differences_total",
    ["kind"],
    "Changes that a list had and no event brought, although the watch had passed them",
  ),
  sourceBytes: metric(
    "counter",
    "weir_source_received_bytes_total",
    ["kind"],
    "Bytes of lists and watches of a kind, as the API server has sent them",
  ),
  claims: metric("gauge", "weir_cni_claims", ["state"], "Pods that the CNI plugin has told of"),
  cniRequests: metric(
    "counter",
    "weir_cni_requests_total",
    ["command", "result"],
    "What the CNI plugin has asked for, by how it ended",
  ),
  cniAdd: metric(
    "histogram",
    "weir_cni_add_duration_seconds",
    [],
    "Time from an ADD of the CNI plugin to its answer",
  ),
  kubernetesEvents: metric(
    "counter",
    "weir_kubernetes_events_total",
    ["result", "reason"],
    "Events that Kubernetes was to be told, by what became of them",
  ),
  refused: metric(
    "counter",
    "weir_connections_refused_total",
    ["listener"],
    "Connections refused or closed because a peer, or all together, had too many",
  ),
  rounds: metric("counter", "weir_rounds_total", ["result"], "Rounds from manifests to kernel"),
  auditMode: metric("gauge", "weir_audit_mode", [], "Whether the whole node is in audit mode: 1 or 0"),
  audited: metric(
    "gauge",
    "weir_endpoints_audited",
    [],
    "Pods of this node with policies in audit mode, which drop nothing",
  ),
  restored: metric(
    "counter",
    "weir_restored_total",
    ["object"],
    "Programs attached again and pins made again after others removed them",
  ),
  repairs: metric(
    "counter",
    "weir_repaired_entries_total",
    [],
    "Map entries that somebody else had changed, put right",
  ),
  compile: metric("histogram", "weir_compile_duration_seconds", [], "Time to compile policies to tables"),
  apply: metric("histogram", "weir_apply_duration_seconds", [], "Time to write tables into the kernel"),
  attach: metric(
    "histogram",
    "weir_attach_duration_seconds",
    [],
    "Time to attach to and detach from interfaces",
  ),
  cpu: metric("counter", "process_cpu_seconds_total", [], "User and system CPU time of the agent"),
  memory: metric("gauge", "process_resident_memory_bytes", [], "Resident memory of the agent"),
  files: metric("gauge", "process_open_fds", [], "Open file descriptors of the agent"),
  started: metric("gauge", "process_start_time_seconds", [], "When the agent started, since the epoch"),
  heap: metric("gauge", "nodejs_heap_used_bytes", [], "Heap that JavaScript objects of the agent take"),
  lag: metric(
    "gauge",
    "nodejs_eventloop_lag_seconds",
    [],
    "Longest that the agent's event loop was late since the scrape before",
  ),
} as const satisfies Readonly<Record<string, MetricSpec>>;

export type MetricKey = keyof typeof METRICS;
export type HistogramKey = "compile" | "apply" | "attach" | "cniAdd";

/** Upper bounds of the histograms' buckets, in seconds. */
export const DURATION_BOUNDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60] as const;
