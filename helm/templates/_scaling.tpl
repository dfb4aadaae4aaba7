{{- define "deployer.fixedReplicas" -}}
{{- kindIs "invalid" .Values.scaling.replicas | ternary 2 .Values.scaling.replicas -}}
{{- end }}

{{/* The minimum number of pods. */}}
{{- define "deployer.minReplicas" -}}
{{- eq .Values.scaling.mode "fixed" | ternary (include "deployer.fixedReplicas" .) .Values.scaling.minReplicas -}}
{{- end }}

{{- define "deployer.maxReplicas" -}}
{{- .Values.scaling.maxReplicas | default .Values.settings.kafka.partitions -}}
{{- end }}

{{/* The maximum number of pods. */}}
{{- define "deployer.mostReplicas" -}}
{{- eq .Values.scaling.mode "fixed" | ternary (include "deployer.fixedReplicas" .) (include "deployer.maxReplicas" .) -}}
{{- end }}

{{/* One pod at a time, and slowly: each change is a rebalance. */}}
{{- define "deployer.scalingBehavior" -}}
scaleDown:
  stabilizationWindowSeconds: {{ .Values.scaling.stabilizationSeconds }}
  policies:
    - type: Pods
      value: 1
      periodSeconds: 60
{{- end }}
