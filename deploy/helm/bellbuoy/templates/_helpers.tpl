{{- define "bellbuoy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "bellbuoy.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "bellbuoy.selector" -}}
app.kubernetes.io/name: {{ include "bellbuoy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "bellbuoy.labels" -}}
{{ include "bellbuoy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "bellbuoy.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "bellbuoy.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "bellbuoy.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "bellbuoy.hasRegistry" -}}
{{- if and (eq .Values.mode "sidecar") .Values.registry.enabled -}}true{{- end -}}
{{- end -}}

{{/* bellbuoy.yaml: the configuration of the values, and what the chart knows. */}}
{{- define "bellbuoy.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not $config.upstreams -}}
{{- if not (include "bellbuoy.hasRegistry" .) -}}
{{- fail "config.upstreams is empty: name the registries that bellbuoy stands in front of" -}}
{{- end -}}
{{- $upstream := dict "type" "registry" "url" "http://127.0.0.1:5000" -}}
{{- with .Values.externalURL -}}{{- $_ := set $upstream "external_url" . -}}{{- end -}}
{{- $_ := set $config "upstreams" (list $upstream) -}}
{{- else if .Values.externalURL -}}
{{- fail "externalURL is for the registry of the pod: write external_url into config.upstreams" -}}
{{- end -}}
{{- $_ := set $config "listen" ":5080" -}}
{{- $_ := set $config "health" (dict "listen" ":5081") -}}
{{- $_ := set $config "data_dir" "/data" -}}
{{- if .Values.tls.existingSecret -}}
{{- $files := dict "cert_file" "/tls/tls.crt" "key_file" "/tls/tls.key" -}}
{{- $_ := set $config "tls" (merge $files (default dict $config.tls)) -}}
{{- end -}}
{{- if eq .Values.mode "replicas" -}}
{{- $_ := set $config "database" "${BELLBUOY_DATABASE}" -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
