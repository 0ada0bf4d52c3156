{{/*
A namespace has one installation, and in it names are fixed, whatever the
release is called: people's scripts rely on them, and the programs find each
other by them. Names of objects of the cluster start with this: they carry the
namespace, unless that is the usual one, so that two installations share none.
*/}}
{{- define "porchlight.clusterName" -}}
{{- if eq .Release.Namespace "porchlight-system" -}}
porchlight
{{- else -}}
{{ printf "porchlight-%s" .Release.Namespace | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* Labels of a part of the installation: dict "root" $ "part" "controller". */}}
{{- define "porchlight.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | trunc 63 | trimSuffix "-" | trimSuffix "." | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{ include "porchlight.selector" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The labels that select a part's pods. */}}
{{- define "porchlight.selector" -}}
app.kubernetes.io/name: porchlight
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{/* The labels of a part's pods: nothing that a new chart alone would change. */}}
{{- define "porchlight.podLabels" -}}
{{ include "porchlight.selector" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "porchlight.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* What every pod of ours has: dict "root" $ "part" "controller". */}}
{{- define "porchlight.pod" -}}
{{- $values := index .root.Values .part -}}
serviceAccountName: porchlight-{{ .part }}
priorityClassName: {{ $values.priorityClassName }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
nodeSelector:
  kubernetes.io/os: linux
  {{- with $values.nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Keeps the replicas of a Deployment apart where it can. */}}
{{- define "porchlight.spread" -}}
topologySpreadConstraints:
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "porchlight.selector" $ | nindent 8 }}
  {{- end }}
{{- end -}}

{{/* What every container of ours has besides its arguments. */}}
{{- define "porchlight.container" -}}
{{- $values := index .root.Values .part -}}
image: {{ include "porchlight.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [/usr/local/bin/porchlight-{{ .part }}]
resources:
  {{- toYaml $values.resources | nindent 2 }}
terminationMessagePolicy: FallbackToLogsOnError
{{- end -}}

{{/* Probes of a program's health listener: dict "port" "health", and "host" where it is not the pod's address. */}}
{{- define "porchlight.probes" -}}
{{- $host := .host -}}
{{- $port := .port -}}
livenessProbe:
  httpGet: {path: /healthz, port: {{ $port }}{{ with $host }}, host: {{ . }}{{ end }}}
  periodSeconds: 10
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: {{ $port }}{{ with $host }}, host: {{ . }}{{ end }}}
  periodSeconds: 2
  failureThreshold: 3
{{- end -}}

{{/* The environment variable with the installation's namespace. */}}
{{- define "porchlight.namespaceEnv" -}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- end -}}

{{/*
The identity of a part, and what it may do. The rules are those of the markers
in its source, which `make generate` puts into files/rbac.
*/}}
{{- define "porchlight.rbac" -}}
{{- $root := .root -}}
{{- $part := .part -}}
{{- $labels := include "porchlight.labels" . -}}
{{- $name := printf "porchlight-%s" $part -}}
{{- $clusterName := printf "%s-%s" (include "porchlight.clusterName" $root) $part -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- $labels | nindent 4 }}
{{- range splitList "\n---" ($root.Files.Get (printf "files/rbac/%s.yaml" $part)) }}
{{- $role := fromYaml . }}
{{- with $role.kind }}
{{- $namespaced := eq . "Role" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ . }}
metadata:
  {{- if $namespaced }}
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  {{- else }}
  name: {{ $clusterName }}
  {{- end }}
  labels:
    {{- $labels | nindent 4 }}
rules:
  {{- toYaml $role.rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ . }}Binding
metadata:
  {{- if $namespaced }}
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  {{- else }}
  name: {{ $clusterName }}
  {{- end }}
  labels:
    {{- $labels | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ . }}
  name: {{ ternary $name $clusterName $namespaced }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ $root.Release.Namespace }}
{{- end }}
{{- end }}
{{- end -}}

{{/* One of a part's replicas stays when nodes are drained. */}}
{{- define "porchlight.budget" -}}
{{- $values := index .root.Values .part -}}
{{- if and .root.Values.podDisruptionBudget.enabled (gt (int $values.replicas) 1) }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: porchlight-{{ .part }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "porchlight.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  # A pod that is not ready protects nothing.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "porchlight.selector" . | nindent 6 }}
{{- end }}
{{- end -}}
