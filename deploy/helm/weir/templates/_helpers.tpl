{{- define "weir.name" -}}
{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "weir.selector" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "weir.labels" -}}
{{ include "weir.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "weir.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "weir.name" .) }}
{{- end }}

{{- define "weir.metricsListen" -}}
{{- with .Values.metrics -}}
{{- if contains ":" .address }}[{{ .address }}]{{ else }}{{ .address }}{{ end }}:{{ int .port }}
{{- end -}}
{{- end }}

{{- define "weir.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* What all pods of the chart have: no CNI and no scheduler's taste may keep them from a node. */}}
{{- define "weir.pod" -}}
hostNetwork: true
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "weir.capabilities" -}}
{{- $all := list "BPF" "NET_ADMIN" "NET_BROADCAST" "PERFMON" -}}
{{- if .Values.cni.enabled -}}{{- $all = concat $all (list "DAC_OVERRIDE" "FOWNER") -}}{{- end -}}
{{- if or .Values.cni.enabled .Values.config.socketGroup -}}{{- $all = append $all "CHOWN" -}}{{- end -}}
{{- join ", " $all -}}
{{- end }}

{{/* Of containers that touch the kernel: docs/install.md has the reason for each of these. */}}
{{- define "weir.securityContext" -}}
runAsUser: 0
runAsGroup: 0
readOnlyRootFilesystem: true
{{- if .Values.securityContext.privileged }}
privileged: true
{{- else }}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
  add: [{{ include "weir.capabilities" . }}]
seccompProfile:
  type: {{ .Values.securityContext.seccompProfile }}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
appArmorProfile:
  type: Unconfined
{{- end }}
{{- end }}
{{- with .Values.securityContext.seLinuxOptions }}
seLinuxOptions:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Before 1.30 an annotation says it; the container's name is the argument's. */}}
{{- define "weir.appArmor" -}}
{{- if and (not .root.Values.securityContext.privileged) (semverCompare "<1.30.0-0" .root.Capabilities.KubeVersion.Version) -}}
container.apparmor.security.beta.kubernetes.io/{{ .container }}: unconfined
{{- end -}}
{{- end }}

{{/* For containers that only ask, or wait. */}}
{{- define "weir.harmless" -}}
runAsNonRoot: true
runAsUser: 65534
runAsGroup: 65534
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* The argument is the order among the hooks. */}}
{{- define "weir.cleanupHook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/*
A pod is ready on its node when the node is clean: the first containers, which do it, begin anew until they succeed (while an
agent still answers there they refuse), and the last one only waits to be deleted.
*/}}
{{- define "weir.cleanupDaemonSet" -}}
selector:
  matchLabels:
    {{- include "weir.selector" . | nindent 4 }}
    app.kubernetes.io/component: cleanup
# The only one that `kubectl rollout status` can wait for.
updateStrategy:
  type: RollingUpdate
template:
  metadata:
    labels:
      {{- include "weir.labels" . | nindent 6 }}
      app.kubernetes.io/component: cleanup
    {{- with include "weir.appArmor" (dict "root" . "container" "cleanup") }}
    annotations:
      {{- . | nindent 6 }}
    {{- end }}
  spec:
    {{- include "weir.pod" . | nindent 4 }}
    automountServiceAccountToken: false
    terminationGracePeriodSeconds: 1
    initContainers:
      {{- if .Values.cni.enabled }}
      # First, so that new pods do not ask for an agent that is gone.
      - name: cni
        image: {{ include "weir.image" . }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        args:
          - cni
          - uninstall
          - --conf-dir=/host/cni/conf
          - --bin-dir=/host/cni/bin
        securityContext:
          runAsUser: 0
          runAsGroup: 0
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          # What the CNI has put there may be another user's.
          capabilities:
            drop: [ALL]
            add: [CHOWN, DAC_OVERRIDE, FOWNER]
          seccompProfile:
            type: RuntimeDefault
          {{- with .Values.securityContext.seLinuxOptions }}
          seLinuxOptions:
            {{- toYaml . | nindent 12 }}
          {{- end }}
        volumeMounts:
          - name: cni-conf
            mountPath: /host/cni/conf
          - name: cni-bin
            mountPath: /host/cni/bin
      {{- end }}
      - name: cleanup
        image: {{ include "weir.image" . }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        args: [cleanup]
        securityContext:
          {{- include "weir.securityContext" . | nindent 10 }}
        volumeMounts:
          - name: bpffs
            mountPath: /sys/fs/bpf
          - name: run
            mountPath: /run/weir
    containers:
      - name: clean
        image: {{ include "weir.image" . }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        command:
          - /opt/weir/node_modules/node/bin/node
          - --eval
          - process.once("SIGTERM", () => process.exit()); setInterval(() => {}, 1e9)
        securityContext:
          {{- include "weir.harmless" . | nindent 10 }}
    volumes:
      - name: bpffs
        hostPath:
          path: /sys/fs/bpf
          type: Directory
      - name: run
        hostPath:
          path: /run/weir
          type: DirectoryOrCreate
      {{- if .Values.cni.enabled }}
      - name: cni-conf
        hostPath:
          path: {{ .Values.cni.confDir }}
          type: DirectoryOrCreate
      - name: cni-bin
        hostPath:
          path: {{ .Values.cni.binDir }}
          type: DirectoryOrCreate
      {{- end }}
{{- end }}

{{/* The directory of the history, where it needs a volume of its own; /run/weir is one already. */}}
{{- define "weir.historyDir" -}}
{{- $directory := default "" .Values.config.historyDir -}}
{{- if and $directory (not (hasPrefix "/" $directory)) -}}
{{- fail "config.historyDir is not an absolute path" -}}
{{- end -}}
{{- if not (hasPrefix "/run/weir/" $directory) -}}
{{- $directory -}}
{{- end -}}
{{- end }}
