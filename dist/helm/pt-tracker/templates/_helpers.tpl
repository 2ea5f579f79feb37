{{- define "pt-tracker.labels" -}}
app.kubernetes.io/name: pt-tracker
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
{{- define "pt-tracker.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- define "pt-tracker.redis" -}}
{{- if .root.Values.redisSecret }}
valueFrom:
  secretKeyRef:
    name: {{ .root.Values.redisSecret }}
    key: url
{{- else }}
value: {{ .root.Values.redisURL | quote }}
{{- end }}
{{- end }}
{{- define "pt-tracker.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 6969
runAsGroup: 6969
capabilities:
  drop: [ ALL ]
seccompProfile:
  type: RuntimeDefault
{{- end }}
