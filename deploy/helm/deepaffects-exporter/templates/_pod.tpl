{{- /* The pod of the StatefulSet and of the Deployment. */ -}}
{{- define "deepaffects-exporter.pod" -}}
metadata:
  labels:
    {{- include "deepaffects-exporter.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ .Values.config | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.database.enabled }}
  # Requests in flight end, and the accounts are handed over.
  terminationGracePeriodSeconds: 30
  {{- end }}
  {{- with include "deepaffects-exporter.spread" . | trim }}
  topologySpreadConstraints:
    {{- . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: exporter
      image: {{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - --config.file=/etc/deepaffects/exporter.toml
        {{- if not .Values.database.enabled }}
        - --storage.path=/data
        {{- end }}
        {{- with .Values.web.externalURL }}
        - {{ printf "--web.external-url=%s" . | quote }}
        {{- end }}
        {{- if .Values.web.configSecret }}
        - --web.config.file=/etc/deepaffects/web/web.yml
        {{- end }}
        {{- with .Values.extraArgs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      env:
        - {name: GOMEMLIMIT, value: {{ .Values.goMemoryLimit | quote }}}
        {{- if .Values.database.enabled }}
        - name: DEEPAFFECTS_DATABASE_URL
          valueFrom:
            secretKeyRef: {name: {{ default .Values.secretName .Values.database.secretName | quote }}, key: {{ .Values.database.secretKey | quote }}}
        {{- end }}
        - name: DEEPAFFECTS_JOBS_TOKEN
          valueFrom:
            secretKeyRef: {name: {{ .Values.secretName | quote }}, key: jobs-token, optional: true}
        - name: DEEPAFFECTS_WEBHOOK_TOKEN
          valueFrom:
            secretKeyRef: {name: {{ .Values.secretName | quote }}, key: webhook-token, optional: true}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: http, containerPort: 9891}
        - {name: webhooks, containerPort: {{ .Values.service.webhooksPort }}}
      # Without a database, the exporter loads the store before it opens the port. These paths need no password.
      startupProbe:
        httpGet: {{ printf (include "deepaffects-exporter.probe" .) "ready" }}
        periodSeconds: 2
        failureThreshold: 60
      readinessProbe:
        httpGet: {{ printf (include "deepaffects-exporter.probe" .) "ready" }}
      livenessProbe:
        httpGet: {{ printf (include "deepaffects-exporter.probe" .) "healthy" }}
        timeoutSeconds: 5
        failureThreshold: 6
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        {{- if not .Values.database.enabled }}
        - {name: data, mountPath: /data}
        {{- end }}
        - {name: config, mountPath: /etc/deepaffects}
        - {name: secret, mountPath: /etc/deepaffects/secret, readOnly: true}
        {{- if .Values.web.configSecret }}
        - {name: web, mountPath: /etc/deepaffects/web, readOnly: true}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "deepaffects-exporter.name" . }}}
    - name: secret
      secret: {secretName: {{ .Values.secretName | quote }}, defaultMode: 0440}
    {{- with .Values.web.configSecret }}
    - name: web
      secret: {secretName: {{ . | quote }}, defaultMode: 0440}
    {{- end }}
    {{- if not (or .Values.database.enabled .Values.persistence.enabled) }}
    - name: data
      emptyDir: {}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
