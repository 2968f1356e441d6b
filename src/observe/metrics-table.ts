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
    "Interfaces of this node's pods, by enforcement state",
  ),
  isolated: metric(
    "gauge",
    "weir_endpoints_isolated",
    ["direction"],
    "Pods of this node that policies isolate",
  ),
  policies: metric(
    "gauge",
    "weir_policies",
    ["state"],
    "Policies in the source, by whether they could be parsed",
  ),
  generationWanted: metric("gauge", "weir_generation_wanted", [], "Desired policy generation"),
  generationApplied: metric("gauge", "weir_generation_applied", [], "Policy generation active in the kernel"),
  appliedAt: metric(
    "gauge",
    "weir_applied_timestamp_seconds",
    [],
    "Time of the last successful reconciliation, since the epoch",
  ),
  problems: metric("gauge", "weir_problems", ["severity"], "Problems that `weir status` shows"),
  leftOut: metric(
    "gauge",
    "weir_limit_left_out",
    ["namespace", "limit"],
    "Rules, pods and Services left out because their namespace exceeds its share, and objects kept in a reduced form",
  ),
  entries: metric("gauge", "weir_table_entries", ["table"], "Entries in use of each limited table"),
  capacity: metric(
    "gauge",
    "weir_table_entries_limit",
    ["table"],
    "Capacity of each limited table, in entries",
  ),
  pressure: metric(
    "gauge",
    "weir_table_pressure_ratio",
    ["table"],
    "Entries in use, as a share of the limit",
  ),
  flowsInserted: metric(
    "counter",
    "weir_flows_inserted_total",
    ["family"],
    "Flows that the programs have put into the flow table",
  ),
  flowsEvicted: metric(
    "counter",
    "weir_flows_evicted_total",
    ["family", "victim"],
    "Live flows that lost their place in the flow table to another one",
  ),
  flowsRefused: metric(
    "counter",
    "weir_flows_refused_total",
    ["family"],
    "Flows that policy allows and that found no place in the flow table",
  ),
  names: metric(
    "counter",
    "weir_domain_names_total",
    ["result"],
    "DNS of pods with rules by domain names: questions, answers, and what became of their addresses",
  ),
  uplinks: metric("gauge", "weir_uplinks", ["mode"], "Uplinks of the node, by XDP attach mode"),
  uplinkFrames: metric(
    "counter",
    "weir_uplink_frames_total",
    ["verdict", "reason"],
    "Frames received on the uplinks",
  ),
  deniedPrefixes: metric("gauge", "weir_denied_prefixes", [], "Source prefixes denied on the uplinks"),
  eventsWritten: metric("counter", "weir_events_total", [], "Packet events written to the ring buffer"),
  eventsSuppressed: metric(
    "counter",
    "weir_events_suppressed_total",
    [],
    "Dropped packets without an event, because of the rate limit",
  ),
  eventsLost: metric(
    "counter",
    "weir_events_lost_total",
    ["where"],
    "Events of dropped packets lost because the ring buffer was full or the file could not be written",
  ),
  sourceContact: metric(
    "gauge",
    "weir_source_contact_timestamp_seconds",
    ["kind"],
    "Time of the last data from the API server, by kind, since the epoch",
  ),
  sourceListed: metric(
    "gauge",
    "weir_source_listed_timestamp_seconds",
    ["kind"],
    "Time of the last complete list, by kind, since the epoch",
  ),
  sourceFollowed: metric(
    "gauge",
    "weir_source_followed",
    ["kind"],
    "Whether a kind is being watched: 1 or 0",
  ),
  sourceObjects: metric("gauge", "weir_source_objects", ["kind"], "Objects in the store, by kind"),
  sourceLists: metric("counter", "weir_source_lists_total", ["kind", "reason"], "Lists started, by reason"),
  sourceWatches: metric(
    "counter",
    "weir_source_watches_total",
    ["kind", "reason"],
    "Watches started, by reason",
  ),
  sourceDifferences: metric(
    "counter",
    "weir_source_differences_total",
    ["kind"],
    "Changes found by a list that the watch had missed",
  ),
  sourceBytes: metric(
    "counter",
    "weir_source_received_bytes_total",
    ["kind"],
    "Bytes of lists and watches received from the API server, by kind",
  ),
  claims: metric("gauge", "weir_cni_claims", ["state"], "CNI claims of pods, by state"),
  cniRequests: metric(
    "counter",
    "weir_cni_requests_total",
    ["command", "result"],
    "Requests of the CNI plugin, by command and result",
  ),
  cniAdd: metric(
    "histogram",
    "weir_cni_add_duration_seconds",
    [],
    "Duration of the CNI plugin's ADD requests",
  ),
  kubernetesEvents: metric(
    "counter",
    "weir_kubernetes_events_total",
    ["result", "reason"],
    "Kubernetes Events, by result of the request",
  ),
  refused: metric(
    "counter",
    "weir_connections_refused_total",
    ["listener"],
    "Connections refused or closed because of connection limits",
  ),
  rounds: metric("counter", "weir_rounds_total", ["result"], "Reconciliations, by result"),
  auditMode: metric("gauge", "weir_audit_mode", [], "Whether the whole node is in audit mode: 1 or 0"),
  bypasses: metric(
    "gauge",
    "weir_bypasses",
    ["scope"],
    "Emergency bypasses in force, of pods and of the node: policies drop nothing there",
  ),
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
    "Programs reattached and pins restored after external removal",
  ),
  repairs: metric(
    "counter",
    "weir_repaired_entries_total",
    [],
    "Map entries repaired after external modification",
  ),
  compile: metric("histogram", "weir_compile_duration_seconds", [], "Duration of the policy compilation"),
  apply: metric("histogram", "weir_apply_duration_seconds", [], "Duration of writing the maps"),
  attach: metric(
    "histogram",
    "weir_attach_duration_seconds",
    [],
    "Duration of attaching to and detaching from interfaces",
  ),
  cpu: metric("counter", "process_cpu_seconds_total", [], "User and system CPU time of the agent"),
  memory: metric("gauge", "process_resident_memory_bytes", [], "Resident memory of the agent"),
  files: metric("gauge", "process_open_fds", [], "Open file descriptors of the agent"),
  started: metric("gauge", "process_start_time_seconds", [], "When the agent started, since the epoch"),
  heap: metric("gauge", "nodejs_heap_used_bytes", [], "JavaScript heap in use by the agent"),
  lag: metric(
    "gauge",
    "nodejs_eventloop_lag_seconds",
    [],
    "Maximum event loop lag of the agent since the previous scrape",
  ),
} as const satisfies Readonly<Record<string, MetricSpec>>;

export type MetricKey = keyof typeof METRICS;
export type HistogramKey = "compile" | "apply" | "attach" | "cniAdd";

/** Upper bounds of the histograms' buckets, in seconds. */
export const DURATION_BOUNDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60] as const;
