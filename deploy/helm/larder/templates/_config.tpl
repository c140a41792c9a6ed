{{/* Directories of mounted Secrets. */}}
{{- define "larder.secrets" -}}/run/secrets/larder{{- end -}}

{{/* The directory of the volume for the journal and the audit log. */}}
{{- define "larder.data" -}}/var/lib/larder{{- end -}}

{{/* "true" if the pods need that volume. */}}
{{- define "larder.hasData" -}}
{{- if or .Values.journal.enabled (eq .Values.audit.to "file") -}}true{{- end -}}
{{- end -}}

{{/* "true" if each pod has a volume of its own, which it keeps when it is moved. */}}
{{- define "larder.isStateful" -}}
{{- if and .Values.journal.enabled .Values.journal.persistence.enabled -}}true{{- end -}}
{{- end -}}

{{/* "true" if there can be more than one replica. */}}
{{- define "larder.isFleet" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) -}}true{{- end -}}
{{- end -}}

{{/* The settings that other values than config make, as JSON. */}}
{{- define "larder.managedConfig" -}}
{{- $secrets := include "larder.secrets" . -}}
{{- $data := include "larder.data" . -}}
{{- $store := dict -}}
{{- if .Values.store.urlSecret.name -}}
{{- $_ := set $store "url_file" (printf "%s/store-url/url" $secrets) -}}
{{- else -}}
{{- $_ := set $store "url" .Values.store.url -}}
{{- end -}}
{{- if .Values.store.tlsSecret -}}
{{- $_ := set $store "tls_ca" (printf "%s/store-tls/ca.crt" $secrets) -}}
{{- if .Values.store.clientCertificate -}}
{{- $_ := set $store "tls_cert" (printf "%s/store-tls/tls.crt" $secrets) -}}
{{- $_ := set $store "tls_key" (printf "%s/store-tls/tls.key" $secrets) -}}
{{- end -}}
{{- end -}}
{{- $config := dict
      "shutdown_timeout" (printf "%ds" (int .Values.shutdownTimeoutSeconds)) "store" $store -}}
{{- if .Values.tls.secret -}}
{{- $tls := dict
      "cert" (printf "%s/tls/tls.crt" $secrets) "key" (printf "%s/tls/tls.key" $secrets) -}}
{{- if ne .Values.tls.clientCertificates "none" -}}
{{- $_ := set $tls "client_ca" (printf "%s/tls/%s" $secrets .Values.tls.caKey) -}}
{{- $_ := set $tls "client_cert" .Values.tls.clientCertificates -}}
{{- end -}}
{{- $_ := set $config "tls" $tls -}}
{{- end -}}
{{- $admin := dict -}}
{{- if .Values.admin.tokenSecret.name -}}
{{- $_ := set $admin "token" (printf "${file:%s/admin-token/token}" $secrets) -}}
{{- end -}}
{{- if .Values.admin.tlsSecret -}}
{{- $_ := set $admin "tls" (dict
      "cert" (printf "%s/admin-tls/tls.crt" $secrets)
      "key" (printf "%s/admin-tls/tls.key" $secrets)) -}}
{{- end -}}
{{- if $admin -}}{{- $_ := set $config "admin" $admin -}}{{- end -}}
{{- if .Values.journal.enabled -}}
{{- $_ := set $config "journal" (dict
      "path" (printf "%s/journal" $data) "max_bytes" .Values.journal.maxBytes) -}}
{{- end -}}
{{- if eq .Values.audit.to "file" -}}
{{- $_ := set $config "audit" (dict "to" (printf "%s/audit.jsonl" $data)) -}}
{{- else if .Values.audit.to -}}
{{- $_ := set $config "audit" (dict "to" .Values.audit.to) -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{/* Fails if config has a setting that another value makes. */}}
{{- define "larder.refuseConflicts" -}}
{{- $path := .path -}}
{{- $config := .config -}}
{{- range $key, $value := .managed -}}
{{- if hasKey $config $key -}}
{{- $inner := printf "%s.%s" $path $key -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $config $key)) -}}
{{- include "larder.refuseConflicts"
      (dict "path" $inner "config" (get $config $key) "managed" $value) -}}
{{- else -}}
{{- fail (printf "%s: the chart sets it from another value; see its README" $inner) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The text of larder.toml. */}}
{{- define "larder.toml" -}}
{{- $managed := include "larder.managedConfig" . | fromJson -}}
{{- include "larder.refuseConflicts"
      (dict "path" "config" "config" .Values.config "managed" $managed) -}}
{{- $table := mergeOverwrite (deepCopy .Values.config) $managed -}}
{{- include "larder.tomlTable" (dict "path" list "table" $table) | trim -}}
{{- end -}}
