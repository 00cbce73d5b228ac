{{- define "deepaffects-exporter.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "deepaffects-exporter.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "deepaffects-exporter.labels" -}}
{{ include "deepaffects-exporter.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "deepaffects-exporter.runbooks" -}}
{{ trimSuffix "/" (default "http://localhost:9891" .Values.web.externalURL) }}/runbooks
{{- end }}

{{- /* The path below which the exporter serves everything: that of the external URL. */ -}}
{{- define "deepaffects-exporter.prefix" -}}
{{ (urlParse .Values.web.externalURL).path | trimSuffix "/" }}
{{- end }}

{{- define "deepaffects-exporter.probe" -}}
{path: {{ include "deepaffects-exporter.prefix" . }}/-/%s, port: http, scheme: {{ ternary "HTTPS" "HTTP" .Values.web.tls }}}
{{- end }}

{{- /* Where replicas run: those of the values, else spread over nodes and zones. */ -}}
{{- define "deepaffects-exporter.spread" -}}
{{- if .Values.topologySpreadConstraints }}
{{- toYaml .Values.topologySpreadConstraints }}
{{- else if gt (int .Values.replicas) 1 }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "deepaffects-exporter.selector" $ | nindent 6 }}
{{- end }}
{{- end }}
{{- end }}
