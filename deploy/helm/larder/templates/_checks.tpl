{{/* Fails on values that cannot work together. The schema checks each value by itself. */}}
{{- define "larder.checks" -}}
{{- $store := .Values.store -}}
{{- $embedded := and (eq $store.url "memory") (not $store.urlSecret.name) -}}
{{- if and $embedded (include "larder.isFleet" .) -}}
{{- fail "store.url: the embedded store allows one replica only: set a URL, or replicas: 1" -}}
{{- end -}}
{{- if and $store.urlSecret.name (ne $store.url "memory") -}}
{{- fail "store.url and store.urlSecret.name exclude each other" -}}
{{- end -}}
{{- if eq (include "larder.hasPassword" $store.url) "true" -}}
{{- fail "store.url: a ConfigMap is no place for a password: use store.passwordSecret" -}}
{{- end -}}
{{- include "larder.refuseSecrets" .Values.config -}}
{{- if and $store.clientCertificate (not $store.tlsSecret) -}}
{{- fail "store.clientCertificate needs store.tlsSecret" -}}
{{- end -}}
{{- if and $embedded .Values.journal.enabled -}}
{{- fail "journal.enabled: the embedded store has no journal" -}}
{{- end -}}
{{- if and (ne .Values.tls.clientCertificates "none") (not .Values.tls.secret) -}}
{{- fail "tls.clientCertificates needs tls.secret" -}}
{{- end -}}
{{- if and (ne .Values.tls.clientCertificates "none") (not .Values.tls.caKey) -}}
{{- fail "tls.clientCertificates needs tls.caKey: the authority of the callers" -}}
{{- end -}}
{{- if or (hasKey .Values.config "listen") (hasKey .Values.config "admin_listen") -}}
{{- fail "config.listen and config.admin_listen: the ports are fixed; see bindAddress" -}}
{{- end -}}
{{- $adminTls := dig "admin" "tls" "client_cert" "none" .Values.config -}}
{{- if eq $adminTls "required" -}}
{{- fail "config.admin.tls.client_cert: required refuses the probes of the kubelet" -}}
{{- end -}}
{{- $scaling := .Values.autoscaling -}}
{{- if $scaling.enabled -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail "autoscaling.minReplicas is larger than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if not (or $scaling.cpuUtilization $scaling.requestsInFlight) -}}
{{- fail "autoscaling: set cpuUtilization or requestsInFlight" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.fleet .Values.service.enabled -}}
{{- fail "fleet: the Services are those of the main release: set service.enabled: false" -}}
{{- end -}}
{{- end -}}

{{/* Whether the URL of a Redis has a password. */}}
{{- define "larder.hasPassword" -}}
{{- regexMatch "(://[^/]*:[^/]*@)|([?&][a-z_]*pass[a-z_]*=)" . -}}
{{- end -}}

{{/* Fails if config, which becomes a ConfigMap, has a secret itself, and not a reference to one. A
digest of a token is no secret. */}}
{{- define "larder.refuseSecrets" -}}
{{- $secrets := dict
      "admin.token" (get (default dict .admin) "token")
      "audit.hash_key" (get (default dict .audit) "hash_key")
      "auth.minted.keys" (get (get (default dict .auth) "minted" | default dict) "keys") -}}
{{- range $name, $principal := get (default dict .auth) "principals" | default dict -}}
{{- $_ := set $secrets (printf "auth.principals.%s.tokens" $name)
      (get (default dict $principal) "tokens") -}}
{{- end -}}
{{- range $name, $namespace := default dict .namespaces -}}
{{- $origin := get (default dict $namespace) "origin" | default dict -}}
{{- range $header, $value := get $origin "headers" | default dict -}}
{{- if regexMatch "(?i)^((proxy-)?authorization|cookie|x-api-key)$" $header -}}
{{- $_ := set $secrets (printf "namespaces.%s.origin.headers.%s" $name $header) $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $index, $source := default list .event_sources -}}
{{- if eq (include "larder.hasPassword" (get $source "url" | default "")) "true" -}}
{{- fail (printf "config.event_sources[%d].url: a ConfigMap is no place for a password: use %s"
      $index "url_file with secretFiles") -}}
{{- end -}}
{{- end -}}
{{- range $path, $values := $secrets -}}
{{- range $value := kindIs "slice" $values | ternary $values (list $values) -}}
{{- $text := default "" $value | toString -}}
{{- if and $text (not (contains "${" $text)) (not (hasPrefix "sha256:" $text)) -}}
{{- fail (printf "config.%s: a ConfigMap is no place for a secret: use %s" $path
      "${env:NAME} with secretEnv, or ${file:PATH} with secretFiles") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
