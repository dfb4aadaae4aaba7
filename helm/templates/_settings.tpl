{{/* The configuration of the pods: variables for settings, files for secrets and certificates. */}}

{{- define "deployer.filesFolder" -}}/etc/playground-deployer{{- end }}

{{- define "deployer.usesTls" -}}
{{- if contains "SSL" .Values.settings.kafka.securityProtocol }}yes{{ end -}}
{{- end }}

{{- define "deployer.usesSasl" -}}
{{- if hasPrefix "SASL_" .Values.settings.kafka.securityProtocol }}yes{{ end -}}
{{- end }}

{{/* The required secrets: group → its setting. */}}
{{- define "deployer.neededSecrets" -}}
catalog: PASSWORD
artifacts: PASSWORD
{{- if include "deployer.usesSasl" . }}
kafka: SASL_PASSWORD
{{- end }}
{{- if not .Values.settings.auth.jwksUrl }}
auth: SECRET
{{- end }}
{{- if .Values.asGateway }}
gateway: SESSION_KEY
{{- end }}
{{- end }}

{{- define "deployer.demoSecretName" -}}{{ include "deployer.fullname" . }}-demo{{- end }}

{{- define "deployer.overridesName" -}}
{{- $name := printf "%s-overrides" (include "deployer.fullname" .) -}}
{{- .Values.overrides.existingConfigMap | default $name -}}
{{- end }}

{{/* Name and key of a group's secret: dict "root" $ "group" "kafka". */}}
{{- define "deployer.secretKey" -}}
{{- $secret := get .root.Values.secrets .group -}}
{{- if $secret.existingSecret -}}
name: {{ tpl $secret.existingSecret .root | quote }}
key: {{ quote $secret.key }}
{{- else -}}
name: {{ include "deployer.demoSecretName" .root | quote }}
key: {{ .group }}
{{- end -}}
{{- end }}

{{/* Certificates in use: file → its source. */}}
{{- define "deployer.certificates" -}}
{{- $tls := .Values.tls -}}
{{- range $of := list "kafka" "playground" }}
{{- with (get $tls $of).ca }}
{{- if or .existingSecret .existingConfigMap }}
{{ $of }}-ca.crt:
  kind: {{ ternary "secret" "configMap" (not (empty .existingSecret)) }}
  name: {{ tpl (.existingSecret | default .existingConfigMap) $ | quote }}
  key: {{ quote .key }}
  setting: {{ eq $of "kafka" | ternary "KAFKA__SSL_CA_FILE" "PLAYGROUND__CA_FILE" }}
{{- end }}
{{- end }}
{{- end }}
{{- with $tls.kafka.client }}
{{- if .existingSecret }}
kafka-client.crt: {kind: secret, name: {{ tpl .existingSecret $ | quote }}, key: {{ quote .certKey }}, setting: KAFKA__SSL_CERT_FILE}
kafka-client.key: {kind: secret, name: {{ tpl .existingSecret $ | quote }}, key: {{ quote .keyKey }}, setting: KAFKA__SSL_KEY_FILE}
{{- end }}
{{- end }}
{{- end }}

{{- define "deployer.hasOverrides" -}}
{{- if or .Values.overrides.entries .Values.overrides.existingConfigMap }}yes{{ end -}}
{{- end }}

{{/* Defaults are left to the worker, so that older images work. Each process gets only the settings that it needs. */}}
{{- define "deployer.env" -}}
{{- $folder := include "deployer.filesFolder" . -}}
{{- $defaults := (.Files.Get "files/settings.yaml" | fromYaml).defaults -}}
{{- range $group, $fields := omit .Values.settings (.Values.asGateway | empty | ternary "gateway" "playground") }}
{{- range $name, $value := $fields }}
{{- if ne (toJson $value) (get (get $defaults $group) $name | toJson) }}
- name: DEPLOYER_{{ upper $group }}__{{ regexReplaceAll "([A-Z])" $name "_${1}" | upper }}
  value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- if eq .Values.topics.mode "worker" }}
- name: DEPLOYER_KAFKA__CREATE_TOPICS
  value: "true"
{{- end }}
{{- range $group, $setting := include "deployer.neededSecrets" . | fromYaml }}
{{- with (get $.Values.secrets $group).usernameKey }}
- name: DEPLOYER_{{ upper $group }}__{{ eq $group "kafka" | ternary "SASL_USERNAME" "USERNAME" }}
  valueFrom:
    secretKeyRef: {{- omit (include "deployer.secretKey" (dict "root" $ "group" $group) | fromYaml) "key" | merge (dict "key" .) | toYaml | nindent 6 }}
{{- end }}
- name: DEPLOYER_{{ upper $group }}__{{ $setting }}_FILE
  value: {{ $folder }}/{{ $group }}-secret
{{- end }}
{{- range $file, $source := include "deployer.certificates" . | fromYaml }}
- name: DEPLOYER_{{ $source.setting }}
  value: {{ $folder }}/{{ $file }}
{{- end }}
{{- if include "deployer.hasOverrides" . }}
- name: DEPLOYER_BUNDLE__OVERRIDES_FILE
  value: {{ $folder }}/overrides.yaml
{{- end }}
{{- end }}

{{/* One volume for all files. Kubernetes updates it when a Secret changes; the worker reads it at startup. */}}
{{- define "deployer.files" -}}
name: files
projected:
  defaultMode: 0440
  sources:
    {{- range $group, $_ := include "deployer.neededSecrets" . | fromYaml }}
    {{- with include "deployer.secretKey" (dict "root" $ "group" $group) | fromYaml }}
    - secret: {name: {{ quote .name }}, items: [{key: {{ quote .key }}, path: {{ $group }}-secret}]}
    {{- end }}
    {{- end }}
    {{- range $file, $source := include "deployer.certificates" . | fromYaml }}
    - {{ $source.kind }}: {name: {{ quote $source.name }}, items: [{key: {{ quote $source.key }}, path: {{ $file }}}]}
    {{- end }}
    {{- if include "deployer.hasOverrides" . }}
    - configMap:
        name: {{ tpl (include "deployer.overridesName" .) . | quote }}
        items: [{key: {{ .Values.overrides.existingConfigMap | empty | ternary "overrides.yaml" .Values.overrides.key | quote }}, path: overrides.yaml}]
    {{- end }}
{{- end }}
