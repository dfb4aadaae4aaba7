{{/* Problems that the schema cannot express: one line each. */}}
{{- define "deployer.problems" -}}
{{- include "deployer.missingSettings" . }}
{{- include "deployer.secretProblems" . }}
{{- include "deployer.certificateProblems" . }}
{{- include "deployer.scalingProblems" . }}
{{- include "deployer.stopProblems" . }}
{{- include "deployer.gatewayProblems" . }}
{{- include "deployer.environmentProblems" . }}
{{- include "deployer.releaseProblems" . }}
{{- include "deployer.alertProblems" . }}
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
{{- if .Values.gateway.enabled }}{{ $_ := set $needed "gateway" "SESSION_KEY" }}{{ end }}
{{- range $group, $value := $demo.secrets }}
{{- $existing := (get $.Values.secrets $group).existingSecret }}
{{- if and $value (not $demo.enabled) }}
demo.secrets.{{ $group }}: set without demo.enabled. Put it into a Secret and set secrets.{{ $group }}.existingSecret.
{{- else if and $value $existing }}
demo.secrets.{{ $group }}: set together with secrets.{{ $group }}.existingSecret. Set only one.
{{- else if and (hasKey $needed $group) (not $existing) (not $value) }}
secrets.{{ $group }}.existingSecret: missing. Set the name of an existing Secret.
{{- end }}
{{- end }}
{{- with .Values.settings.auth }}
{{- if and .jwksUrl (or $.Values.secrets.auth.existingSecret $demo.secrets.auth) }}
settings.auth.jwksUrl: set together with a secret for `auth`. Set either the portal's secret or the URL of the public keys.
{{- end }}
{{- if and .jwksUrl (hasPrefix "HS" .algorithm) }}
settings.auth.algorithm: {{ .algorithm }} requires a secret. With settings.auth.jwksUrl, set the algorithm of its keys, e.g. RS256.
{{- end }}
{{- if and (not .jwksUrl) (not (hasPrefix "HS" .algorithm)) }}
settings.auth.algorithm: {{ .algorithm }} requires settings.auth.jwksUrl. With a secret, use HS512.
{{- end }}
{{- end }}
{{- if and (include "deployer.usesSasl" .) (not (or .Values.settings.kafka.saslUsername .Values.secrets.kafka.usernameKey)) }}
settings.kafka.saslUsername: missing. settings.kafka.securityProtocol {{ .Values.settings.kafka.securityProtocol }} requires a user name.
{{- end }}
{{- range $group := list "kafka" "catalog" "artifacts" }}
{{- $name := eq $group "kafka" | ternary "saslUsername" "username" }}
{{- with (get $.Values.secrets $group) }}
{{- if and .usernameKey (get (get $.Values.settings $group) $name) }}
settings.{{ $group }}.{{ $name }}: set together with secrets.{{ $group }}.usernameKey. Set only one.
{{- else if and .usernameKey (not .existingSecret) }}
secrets.{{ $group }}.usernameKey: requires secrets.{{ $group }}.existingSecret.
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "deployer.certificateProblems" -}}
{{- range $of := list "kafka" "playground" }}
{{- with (get $.Values.tls $of).ca }}
{{- if and .existingSecret .existingConfigMap }}
tls.{{ $of }}.ca.existingConfigMap: set together with existingSecret. Set only one.
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.tls.kafka }}
{{- $protocol := $.Values.settings.kafka.securityProtocol }}
{{- $used := contains "SSL" $protocol }}
{{- if and (or .ca.existingSecret .ca.existingConfigMap) (not $used) }}
tls.kafka.ca: not used with settings.kafka.securityProtocol {{ $protocol }}. Set SSL or SASL_SSL.
{{- end }}
{{- if and .client.existingSecret (not $used) }}
tls.kafka.client: not used with settings.kafka.securityProtocol {{ $protocol }}. Set SSL or SASL_SSL.
{{- end }}
{{- end }}
{{- end }}

{{- define "deployer.scalingProblems" -}}
{{- $scaling := .Values.scaling }}
{{- $partitions := .Values.settings.kafka.partitions | int }}
{{- $timeout := .Values.settings.playground.timeoutSeconds }}
{{- if eq $scaling.mode "fixed" }}
{{- with $scaling.maxReplicas }}
scaling.maxReplicas: {{ . }} requires scaling.mode hpa or keda. With fixed, set scaling.replicas.
{{- end }}
{{- else }}
{{- if not (kindIs "invalid" $scaling.replicas) }}
scaling.replicas: {{ $scaling.replicas }} requires scaling.mode fixed. With {{ $scaling.mode }}, set scaling.minReplicas.
{{- end }}
{{- $max := include "deployer.maxReplicas" . | int }}
{{- if gt $max $partitions }}
scaling.maxReplicas: {{ $max }} is more than settings.kafka.partitions ({{ $partitions }}), and pods without a partition are idle.
{{- end }}
{{- if gt (int $scaling.minReplicas) $max }}
scaling.minReplicas: {{ $scaling.minReplicas }} is more than scaling.maxReplicas ({{ $max }}).
{{- end }}
{{- if le (float64 $scaling.stabilizationSeconds) (float64 $timeout) }}
scaling.stabilizationSeconds: {{ $scaling.stabilizationSeconds }} must exceed settings.playground.timeoutSeconds ({{ $timeout }}), the longest deployment.
{{- end }}
{{- end }}
{{- if and (eq $scaling.mode "keda") (le (float64 $scaling.keda.cooldownPeriod) (float64 $timeout)) }}
scaling.keda.cooldownPeriod: {{ $scaling.keda.cooldownPeriod }} must exceed settings.playground.timeoutSeconds ({{ $timeout }}), the longest deployment.
{{- end }}
{{- if eq $scaling.mode "hpa" }}
{{- if not (or $scaling.hpa.cpuUtilization $scaling.hpa.metrics) }}
scaling.hpa.metrics: empty, and scaling.hpa.cpuUtilization is null. Set one of them.
{{- end }}
{{- if and $scaling.hpa.cpuUtilization (not (dig "requests" "cpu" "" .Values.resources)) }}
scaling.hpa.cpuUtilization: requires resources.requests.cpu, which is missing.
{{- end }}
{{- end }}
{{- end }}

{{- define "deployer.stopProblems" -}}
{{- $drain := .Values.settings.runtime.drainSeconds }}
{{- $least := addf .Values.settings.playground.timeoutSeconds 30 }}
{{- if lt (float64 $drain) $least }}
settings.runtime.drainSeconds: {{ $drain }} is less than {{ $least }}, settings.playground.timeoutSeconds + 30; a shutdown would cut off deployments.
{{- end }}
{{- with .Values.terminationGracePeriodSeconds }}
{{- $grace := include "deployer.leastGracePeriod" $ | int }}
{{- if lt (int .) $grace }}
terminationGracePeriodSeconds: {{ . }} is less than {{ $grace }}, the minimum with settings.runtime.drainSeconds.
{{- end }}
{{- end }}
{{- if and .Values.preStopSleepSeconds (semverCompare "<1.30-0" .Capabilities.KubeVersion.Version) }}
preStopSleepSeconds: requires Kubernetes 1.30; this is {{ .Capabilities.KubeVersion.Version }}.
{{- end }}
{{- if and (has (toString .Values.rollingUpdate.maxSurge) (list "0" "0%")) (has (toString .Values.rollingUpdate.maxUnavailable) (list "0" "0%")) }}
rollingUpdate.maxUnavailable: 0 together with rollingUpdate.maxSurge 0 would block every update.
{{- end }}
{{- end }}

{{- define "deployer.gatewayProblems" -}}
{{- $gateway := .Values.gateway }}
{{- range $name := list "ingress" "httpRoute" }}
{{- if and (get $gateway $name).enabled (not $gateway.enabled) }}
gateway.{{ $name }}.enabled: requires gateway.enabled.
{{- end }}
{{- end }}
{{- if $gateway.enabled }}
{{- $url := urlParse .Values.settings.gateway.publicUrl }}
{{- if has $url.hostname (list "localhost" "127.0.0.1" "::1") }}
settings.gateway.publicUrl: {{ .Values.settings.gateway.publicUrl }} points each user to their own machine. Set the URL that browsers use for the gateway.
{{- end }}
{{- if and $gateway.ingress.tls.existingSecret (eq $url.scheme "http") }}
settings.gateway.publicUrl: {{ .Values.settings.gateway.publicUrl }} has no TLS, but gateway.ingress.tls.existingSecret is set. Set the https:// URL.
{{- end }}
{{- if eq (int .Values.settings.gateway.httpPort) 0 }}
settings.gateway.httpPort: 0 selects any free port, but the probes need a fixed port.
{{- end }}
{{- if and $gateway.ingress.enabled $gateway.httpRoute.enabled }}
gateway.httpRoute.enabled: set together with gateway.ingress.enabled. Set only one.
{{- end }}
{{- if and $gateway.httpRoute.enabled (not $gateway.httpRoute.parentRefs) }}
gateway.httpRoute.parentRefs: missing. Name the Gateway of the route.
{{- end }}
{{- with $gateway.autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
gateway.autoscaling.minReplicas: {{ .minReplicas }} is more than gateway.autoscaling.maxReplicas ({{ .maxReplicas }}).
{{- end }}
{{- if and .enabled (not (dig "requests" "cpu" "" $gateway.resources)) }}
gateway.autoscaling.enabled: requires gateway.resources.requests.cpu, which is missing.
{{- end }}
{{- end }}
{{- with $gateway.rollingUpdate }}
{{- if and (has (toString .maxSurge) (list "0" "0%")) (has (toString .maxUnavailable) (list "0" "0%")) }}
gateway.rollingUpdate.maxUnavailable: 0 together with gateway.rollingUpdate.maxSurge 0 would block every update.
{{- end }}
{{- end }}
{{- with $gateway.kafka }}
{{- $sasl := include "deployer.usesSasl" $ }}
{{- if and .existingSecret (not $sasl) }}
gateway.kafka.existingSecret: not used with settings.kafka.securityProtocol {{ $.Values.settings.kafka.securityProtocol }}. Set SASL_SSL or SASL_PLAINTEXT.
{{- end }}
{{- if and .existingSecret (eq (empty .saslUsername) (empty .usernameKey)) }}
gateway.kafka.saslUsername: set either this or gateway.kafka.usernameKey, together with gateway.kafka.existingSecret.
{{- end }}
{{- if and (or .saslUsername .usernameKey) (not .existingSecret) }}
gateway.kafka.existingSecret: missing. Set the name of the Secret with the password of the gateway's own user.
{{- end }}
{{- if and .client.existingSecret (not (include "deployer.usesTls" $)) }}
gateway.kafka.client: not used with settings.kafka.securityProtocol {{ $.Values.settings.kafka.securityProtocol }}. Set SSL or SASL_SSL.
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A setting in extraEnv would replace the chart's own value, and values that the chart derives from it would be wrong. */}}
{{- define "deployer.environmentProblems" -}}
{{- $meant := dict }}
{{- range (.Files.Get "files/settings.yaml" | fromYaml).variables }}{{ $_ := set $meant (regexReplaceAll "[^A-Z0-9]" . "") . }}{{ end }}
{{- range $path, $env := dict "extraEnv" .Values.extraEnv "gateway.extraEnv" .Values.gateway.extraEnv }}
{{- range tpl (toYaml $env) $ | fromYamlArray }}
{{- $name := toString .name }}
{{- $like := get $meant (regexReplaceAll "[^A-Z0-9]" (upper $name) "") }}
{{- if and $like (ne $like $name) }}
{{ $path }}: {{ $name }} is an unknown setting; did you mean {{ $like }}? Set it in `settings`, or in `secrets` or `tls` if it comes from a Secret.
{{- else if regexMatch "^(?i:DEPLOYER_).*__" $name }}
{{ $path }}: {{ $name }} is a setting, which the chart must know. Set it in `settings`, or in `secrets` or `tls` if it comes from a Secret.
{{- end }}
{{- end }}
{{- end }}
{{- range .Values.extraEnvFrom }}
{{- if regexMatch "^(?i:DEPLOYER)(_|$)" (.prefix | default "") }}
extraEnvFrom: {{ .prefix }} is the prefix of settings, which the chart must know. Set them in `settings`, or in `secrets` or `tls` if they come from a Secret.
{{- end }}
{{- end }}
{{- end }}

{{/* Workers of two releases with the same group or topic would process each other's requests. Other releases can only be looked up in a cluster. */}}
{{- define "deployer.releaseProblems" -}}
{{- $kafka := .Values.settings.kafka }}
{{- $defaults := (.Files.Get "files/settings.yaml" | fromYaml).defaults.kafka }}
{{- range (lookup "apps/v1" "Deployment" .Release.Namespace "").items }}
{{- $labels := .spec.template.metadata.labels | default dict }}
{{- $release := get $labels "app.kubernetes.io/instance" }}
{{- $chart := get (.metadata.labels | default dict) "helm.sh/chart" }}
{{- if and (hasPrefix (print $.Chart.Name "-") $chart) (eq (get $labels "app.kubernetes.io/component") "worker") (ne $release $.Release.Name) }}
{{- $env := dict }}
{{- range .spec.template.spec.containers }}{{ range .env }}{{ $_ := set $env .name (.value | default "") }}{{ end }}{{ end }}
{{- $same := list }}
{{- range $name := list "bootstrapServers" "requestsTopic" "statusTopic" "settlementsTopic" "deadLetterTopic" "groupId" }}
{{- $variable := regexReplaceAll "([A-Z])" $name "_${1}" | upper | print "DEPLOYER_KAFKA__" }}
{{- if eq (toString (get $kafka $name)) (get $env $variable | default (get $defaults $name) | toString) }}{{ $same = append $same $name }}{{ end }}
{{- end }}
{{- if has "bootstrapServers" $same }}
{{- range rest $same }}
settings.kafka.{{ . }}: {{ get $kafka . }} is also used by the release {{ $release }} in this namespace. Set another value; see docs/two-playgrounds.md.
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "deployer.alertProblems" -}}
{{- $rules := concat (.Files.Get "files/alerts.yaml" | fromYaml).groups (.Files.Get "files/gateway-alerts.yaml" | fromYaml).groups }}
{{- $expressions := dict }}
{{- range $rules }}{{ range .rules }}{{ $_ := set $expressions .alert .expr }}{{ end }}{{ end }}
{{- range $name, $changes := .Values.prometheusRule.alerts }}
{{- if not (hasKey $expressions $name) }}
prometheusRule.alerts.{{ $name }}: there is no such alert. docs/operating.md lists all alerts.
{{- else if and (hasKey $changes "threshold") (not (regexMatch "\\([0-9.]+\\)" (get $expressions $name))) }}
prometheusRule.alerts.{{ $name }}.threshold: this alert has no threshold. Set `for`, `severity` or `enabled`.
{{- end }}
{{- end }}
{{- end }}

{{- define "deployer.otherProblems" -}}
{{- $topics := dict }}
{{- range $name := list "requestsTopic" "statusTopic" "settlementsTopic" "deadLetterTopic" }}
{{- $topic := get $.Values.settings.kafka $name }}
{{- with get $topics $topic }}
settings.kafka.{{ $name }}: {{ $topic }} is also settings.kafka.{{ . }}. The four topics must be different.
{{- end }}
{{- $_ := set $topics $topic $name }}
{{- end }}
{{- if eq (int .Values.settings.runtime.httpPort) 0 }}
settings.runtime.httpPort: 0 selects any free port, but the probes need a fixed port.
{{- end }}
{{- range $name := list "service" "gateway" }}
{{- if and (get $.Values $name).enabled (regexMatch "^[0-9]" (include "deployer.fullname" $)) }}
{{ $name }}.enabled: a Service's name must start with a letter, and {{ include "deployer.fullname" $ }} does not. Set fullnameOverride.
{{- end }}
{{- end }}
{{- if and .Values.overrides.entries .Values.overrides.existingConfigMap }}
overrides.entries: set together with overrides.existingConfigMap. Set only one.
{{- end }}
{{- if and (eq .Values.topics.mode "strimzi") (not .Values.topics.strimzi.cluster) }}
topics.strimzi.cluster: missing. Set the name of the Kafka resource of the topics.
{{- end }}
{{- end }}
