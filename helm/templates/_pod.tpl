{{/* Shared by the workers, the gateways and the pod of `helm test`. */}}

{{- define "deployer.podBasics" -}}
automountServiceAccountToken: false
enableServiceLinks: false
serviceAccountName: {{ include "deployer.serviceAccountName" . | quote }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ tpl . $ | quote }}
  {{- end }}
{{- end }}
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- if kindIs "bool" .Values.hostUsers }}
hostUsers: {{ .Values.hostUsers }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ quote . }}
{{- end }}
{{- range $name := list "dnsConfig" "nodeSelector" "affinity" "tolerations" }}
{{- with get $.Values $name }}
{{ $name }}: {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "deployer.containerBasics" -}}
image: {{ include "deployer.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{- toYaml .Values.securityContext | nindent 2 }}
env:
  {{- include "deployer.env" . | trim | nindent 2 }}
  {{- with .Values.extraEnv }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvFrom }}
envFrom: {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
volumeMounts:
  - name: files
    mountPath: {{ include "deployer.filesFolder" . }}
    readOnly: true
  - name: tmp
    mountPath: /tmp
  {{- with .Values.extraVolumeMounts }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "deployer.volumes" -}}
- {{ include "deployer.files" . | indent 2 | trim }}
- name: tmp
  emptyDir:
    sizeLimit: {{ quote .Values.tmpSizeLimit }}
{{- with .Values.extraVolumes }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end }}

{{- define "deployer.probe" -}}
httpGet: {path: {{ .path }}, port: http}
{{ toYaml .numbers }}
{{- end }}

{{/* Time for running requests to complete, and for leaving the consumer group. */}}
{{- define "deployer.leastGracePeriod" -}}
{{- add (ceil .Values.settings.runtime.drainSeconds) .Values.preStopSleepSeconds 15 -}}
{{- end }}
