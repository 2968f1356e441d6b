// Sets of values that the chart is tried with, by unit tests and against a real API server.

import type { Rendering } from "./render.ts";

export const CHART_SAMPLES: Readonly<Record<string, Rendering>> = {
  defaults: {},
  "an older cluster": { kubeVersion: "v1.20.2" },
  "another namespace": { namespace: "weir-system" },
  "the CNI plugin": { set: ["cni.enabled=true", "cni.binDir=/var/lib/rancher/k3s/data/cni"] },
  "a condition of the node instead of Events": {
    set: ["config.nodeCondition=true", "config.kubernetesEvents=false"],
  },
  "audit mode": { set: ["config.mode=audit", "config.logFormat=json", "config.eventsFileSize=20"] },
  "a lasting history": { set: ["config.historyDir=/var/lib/weir/history", "config.historySize=64"] },
  "unknown pods denied": { set: ["config.unknownPods=deny", "config.ignoreInterfaces={tap*,docker0}"] },
  "a node condition, and no Events": {
    set: ["config.nodeCondition=true", "config.kubernetesEvents=false"],
  },
  Prometheus: {
    set: [
      "metrics.address=",
      "metrics.port=9999",
      "metrics.service.enabled=true",
      "metrics.podMonitor.enabled=true",
      "metrics.podMonitor.labels.release=prometheus",
    ],
  },
  "an address of IPv6": { set: ["metrics.address=::1"] },
  uplinks: { set: ["uplinks.interfaces={eth0,eth1}", "uplinks.denyCidrs={192.0.2.0/24,2001:db8::/32}"] },
  "without seccomp": { set: ["securityContext.seccompProfile=Unconfined"] },
  privileged: { set: ["securityContext.privileged=true", "securityContext.seLinuxOptions.type=spc_t"] },
  "no clean-up": { set: ["cleanup.enabled=false"] },
  "its own account": { set: ["serviceAccount.name=other", "rbac.create=false"] },
  "an image by digest": {
    set: [
      "image.repository=registry.example/weir",
      `image.digest=sha256:${"0".repeat(64)}`,
      "image.pullPolicy=Always",
    ],
  },
  "more arguments": { set: ["extraArgs={--log-level=debug}", "priorityClassName=", "nodeSelector.pool=a"] },
};
