{{/* Values that no schema can refuse: one line each. */}}
{{- define "deployer.problems" -}}
{{- include "deployer.missingSettings" . }}
{{- include "deployer.secretProblems" . }}
{{- include "deployer.certificateProblems" . }}
{{- include "deployer.scalingProblems" . }}
{{- include "deployer.stopProblems" . }}
{{- include "deployer.otherProblems" . }}
{{- end }}

{{- define "deployer.missingSettings" -}}
{{- range (.Files.Get "files/settings.yaml" | fromYaml).required }}
{{- $group := (splitList "." .path | first) }}
{{- $name := (splitList "." .path | last) }}
{{- $inSecret := and (eq $name "username") (get $.Values.secrets $group).usernameKey }}
{{- if not (or (get (get $.Values.settings $group) $name) $inSecret) }}
settings.{{ .path }}: missing. {{ .sentence }}
{{- end }}
{{- end }}
{{- end }}

{{- define "deployer.secretProblems" -}}
{{- $demo := .Values.demo }}
{{- $needed := include "deployer.neededSecrets" . | fromYaml }}
{{- range $group, $value := $demo.secrets }}
{{- $existing := (get $.Values.secrets $group).existingSecret }}
{{- if and $value (not $demo.enabled) }}
demo.secrets.{{ $group }}: given without demo.enabled. Put it into a Secret and name that in secrets.{{ $group }}.existingSecret.
{{- else if and $value $existing }}
demo.secrets.{{ $group }}: given together with secrets.{{ $group }}.existingSecret. Give one.
{{- else if and (hasKey $needed $group) (not $existing) (not $value) }}
secrets.{{ $group }}.existingSecret: missing. Name the Secret that holds it.
{{- end }}
{{- end }}
{{- with .Values.settings.auth }}
{{- if and .jwksUrl (or $.Values.secrets.auth.existingSecret $demo.secrets.auth) }}
settings.auth.jwksUrl: given together with a secret of `auth`. Give the portal's secret or the address of public keys.
{{- end }}
{{- if and .jwksUrl (hasPrefix "HS" .algorithm) }}
settings.auth.algorithm: {{ .algorithm }} needs a secret. With settings.auth.jwksUrl set what its keys are for, e.g. RS256.
{{- end }}
{{- if and (not .jwksUrl) (not (hasPrefix "HS" .algorithm)) }}
settings.auth.algorithm: {{ .algorithm }} needs settings.auth.jwksUrl. With a secret use HS512.
{{- end }}
{{- end }}
{{- if and (include "deployer.usesSasl" .) (not (or .Values.settings.kafka.saslUsername .Values.secrets.kafka.usernameKey)) }}
settings.kafka.saslUsername: missing. settings.kafka.securityProtocol {{ .Values.settings.kafka.securityProtocol }} needs a user.
{{- end }}
{{- range $group := list "kafka" "catalog" "artifacts" }}
{{- $name := eq $group "kafka" | ternary "saslUsername" "username" }}
{{- with (get $.Values.secrets $group) }}
{{- if and .usernameKey (get (get $.Values.settings $group) $name) }}
settings.{{ $group }}.{{ $name }}: given together with secrets.{{ $group }}.usernameKey. Give one.
{{- else if and .usernameKey (not .existingSecret) }}
secrets.{{ $group }}.usernameKey: needs secrets.{{ $group }}.existingSecret.
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "deployer.certificateProblems" -}}
{{- range $of := list "kafka" "playground" }}
{{- with (get $.Values.tls $of).ca }}
{{- if and .existingSecret .existingConfigMap }}
tls.{{ $of }}.ca.existingConfigMap: given together with existingSecret. Give one.
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.tls.kafka }}
{{- $protocol := $.Values.settings.kafka.securityProtocol }}
{{- $used := contains "SSL" $protocol }}
{{- if and (or .ca.existingSecret .ca.existingConfigMap) (not $used) }}
tls.kafka.ca: of no use with settings.kafka.securityProtocol {{ $protocol }}. Set SSL or SASL_SSL.
{{- end }}
{{- if and .client.existingSecret (not $used) }}
tls.kafka.client: of no use with settings.kafka.securityProtocol {{ $protocol }}. Set SSL or SASL_SSL.
{{- end }}
{{- end }}
{{- end }}

{{- define "deployer.scalingProblems" -}}
{{- $scaling := .Values.scaling }}
{{- $partitions := .Values.settings.kafka.partitions | int }}
{{- $timeout := .Values.settings.playground.timeoutSeconds }}
{{- if eq $scaling.mode "fixed" }}
{{- with $scaling.maxReplicas }}
scaling.maxReplicas: {{ . }} is for scaling.mode hpa or keda. With fixed set scaling.replicas.
{{- end }}
{{- else }}
{{- if not (kindIs "invalid" $scaling.replicas) }}
scaling.replicas: {{ $scaling.replicas }} is for scaling.mode fixed. With {{ $scaling.mode }} set scaling.minReplicas.
{{- end }}
{{- $max := include "deployer.maxReplicas" . | int }}
{{- if gt $max $partitions }}
scaling.maxReplicas: {{ $max }} is more than settings.kafka.partitions ({{ $partitions }}), and pods without a partition are idle.
{{- end }}
{{- if gt (int $scaling.minReplicas) $max }}
scaling.minReplicas: {{ $scaling.minReplicas }} is more than scaling.maxReplicas ({{ $max }}).
{{- end }}
{{- if le (float64 $scaling.stabilizationSeconds) (float64 $timeout) }}
scaling.stabilizationSeconds: {{ $scaling.stabilizationSeconds }} must be more than settings.playground.timeoutSeconds ({{ $timeout }}), the longest deployment.
{{- end }}
{{- end }}
{{- if and (eq $scaling.mode "keda") (le (float64 $scaling.keda.cooldownPeriod) (float64 $timeout)) }}
scaling.keda.cooldownPeriod: {{ $scaling.keda.cooldownPeriod }} must be more than settings.playground.timeoutSeconds ({{ $timeout }}), the longest deployment.
{{- end }}
{{- if eq $scaling.mode "hpa" }}
{{- if not (or $scaling.hpa.cpuUtilization $scaling.hpa.metrics) }}
scaling.hpa.metrics: empty, and scaling.hpa.cpuUtilization is null. One is needed.
{{- end }}
{{- if and $scaling.hpa.cpuUtilization (not (dig "requests" "cpu" "" .Values.resources)) }}
scaling.hpa.cpuUtilization: is a part of resources.requests.cpu, which is missing.
{{- end }}
{{- end }}
{{- end }}

{{- define "deployer.stopProblems" -}}
{{- $drain := .Values.settings.runtime.drainSeconds }}
{{- $least := addf .Values.settings.playground.timeoutSeconds 30 }}
{{- if lt (float64 $drain) $least }}
settings.runtime.drainSeconds: {{ $drain }} is less than {{ $least }}, settings.playground.timeoutSeconds + 30; a stop would cut deployments off.
{{- end }}
{{- with .Values.terminationGracePeriodSeconds }}
{{- $grace := include "deployer.leastGracePeriod" $ | int }}
{{- if lt (int .) $grace }}
terminationGracePeriodSeconds: {{ . }} is less than {{ $grace }}, which settings.runtime.drainSeconds asks for.
{{- end }}
{{- end }}
{{- if and .Values.preStopSleepSeconds (semverCompare "<1.30-0" .Capabilities.KubeVersion.Version) }}
preStopSleepSeconds: needs Kubernetes 1.30; this is {{ .Capabilities.KubeVersion.Version }}.
{{- end }}
{{- if and (has (toString .Values.rollingUpdate.maxSurge) (list "0" "0%")) (has (toString .Values.rollingUpdate.maxUnavailable) (list "0" "0%")) }}
rollingUpdate.maxUnavailable: 0 together with rollingUpdate.maxSurge 0 allows no update.
{{- end }}
{{- end }}

{{- define "deployer.otherProblems" -}}
{{- if eq (int .Values.settings.runtime.httpPort) 0 }}
settings.runtime.httpPort: 0 is any port, and the probes must know it.
{{- end }}
{{- if and .Values.service.enabled (regexMatch "^[0-9]" (include "deployer.fullname" .)) }}
service.enabled: a Service's name must begin with a letter, and {{ include "deployer.fullname" . }} does not. Set fullnameOverride.
{{- end }}
{{- if and .Values.overrides.entries .Values.overrides.existingConfigMap }}
overrides.entries: given together with overrides.existingConfigMap. Give one.
{{- end }}
{{- if and (eq .Values.topics.mode "strimzi") (not .Values.topics.strimzi.cluster) }}
topics.strimzi.cluster: missing. Name the Kafka object that the topics belong to.
{{- end }}
{{- end }}
