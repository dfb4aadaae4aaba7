{{/* The gateway's pods use the workers' templates with modified values. */}}

{{/* Fills a dict with the gateway's root: dict "root" $ "into" dict. */}}
{{- define "deployer.asGateway" -}}
{{- $own := .root.Values.gateway -}}
{{- $values := deepCopy .root.Values -}}
{{- $_ := set $values "asGateway" true -}}
{{- $_ := set $values "topics" (dict "mode" "none") -}}
{{- $_ := set $values.tls "playground" (dict "ca" dict) -}}
{{- range $name := list "affinity" "extraEnv" }}{{ $_ := set $values $name (get $own $name) }}{{ end -}}
{{- range $name := list "extraEnvFrom" "extraVolumes" "extraVolumeMounts" }}{{ $_ := set $values $name list }}{{ end -}}
{{- $account := $own.serviceAccount -}}
{{- $default := $account.create | ternary (include "deployer.gatewayName" .root) "default" -}}
{{- $_ := set $values "serviceAccount" (dict "create" false "name" ($account.name | default $default)) -}}
{{- with $own.kafka -}}
{{- if .existingSecret -}}
{{- $_ := set $values.secrets "kafka" (dict "existingSecret" .existingSecret "key" .key "usernameKey" .usernameKey) -}}
{{- $_ := set $values.settings.kafka "saslUsername" (.saslUsername | empty | ternary nil .saslUsername) -}}
{{- end -}}
{{- if .client.existingSecret -}}
{{- $_ := set $values.tls.kafka "client" .client -}}
{{- end -}}
{{- end -}}
{{- $_ := set .into "Values" $values -}}
{{- $_ := set .into "Chart" .root.Chart -}}
{{- $_ := set .into "Release" .root.Release -}}
{{- $_ := set .into "Files" .root.Files -}}
{{- $_ := set .into "Capabilities" .root.Capabilities -}}
{{- $_ := set .into "Template" .root.Template -}}
{{- end }}

{{- define "deployer.gatewayMostReplicas" -}}
{{- $gateway := .Values.gateway -}}
{{- $gateway.autoscaling.enabled | ternary $gateway.autoscaling.maxReplicas $gateway.replicas -}}
{{- end }}

{{/* External paths: path → path type. /live, /ready and /metrics are internal to the cluster. */}}
{{- define "deployer.gatewayPaths" -}}
{{- $base := (urlParse .Values.settings.gateway.publicUrl).path | trimSuffix "/" -}}
{{- range list "deploy" "getSolutionZip" "requests" "static" "v1" }}
{{ $base }}/{{ . }}: Prefix
{{- end }}
{{- range list "" "log-out" "openapi.json" "parked" }}
{{ $base }}/{{ . }}: Exact
{{- end }}
{{- with $base }}
{{ . }}: Exact
{{- end }}
{{- end }}
