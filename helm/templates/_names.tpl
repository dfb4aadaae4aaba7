{{- define "deployer.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* Leaves room for the suffixes of other objects. */}}
{{- define "deployer.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $both := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $both | replace "." "-" | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{/* The selector of the workers. A Deployment's selector is immutable, so only the name in it depends on values. */}}
{{- define "deployer.selectorLabels" -}}
{{ include "deployer.instanceLabels" . }}
app.kubernetes.io/component: worker
{{- end }}

{{/* The selector of the gateways. */}}
{{- define "deployer.gatewaySelectorLabels" -}}
{{ include "deployer.instanceLabels" . }}
app.kubernetes.io/component: gateway
{{- end }}

{{- define "deployer.gatewayName" -}}{{ include "deployer.fullname" . }}-gateway{{- end }}

{{/* Labels of all pods of this release: workers, gateways and the pod of `helm test`. */}}
{{- define "deployer.instanceLabels" -}}
app.kubernetes.io/name: {{ include "deployer.name" . | quote }}
app.kubernetes.io/instance: {{ quote .Release.Name }}
{{- end }}

{{- define "deployer.labels" -}}
{{- $own := include "deployer.instanceLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" (.Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "-_.") -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63) -}}
{{- merge $own .Values.commonLabels | toYaml -}}
{{- end }}

{{/* Name and labels of an object: dict "root" $ ["suffix" "-x"] ["labels" {…}] ["annotations" {…}]. */}}
{{- define "deployer.metadata" -}}
metadata:
  name: {{ print (include "deployer.fullname" .root) (.suffix | default "") | quote }}
  namespace: {{ .namespace | default .root.Release.Namespace | quote }}
  labels:
    {{- merge (dict) (include "deployer.labels" .root | fromYaml) (.labels | default dict) | toYaml | nindent 4 }}
  {{- with .annotations }}
  annotations: {{- tpl (toYaml .) $.root | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "deployer.image" -}}
{{- $image := .Values.image -}}
{{- $registry := .Values.global.imageRegistry | default $image.registry -}}
{{- with $registry }}{{ . | trimSuffix "/" }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end }}

{{- define "deployer.serviceAccountName" -}}
{{- $account := .Values.serviceAccount -}}
{{- $account.name | default ($account.create | ternary (include "deployer.fullname" .) "default") -}}
{{- end }}
