{{- define "larder.mounts" -}}
{{- $secrets := include "larder.secrets" . -}}
- name: config
  mountPath: /etc/larder
  readOnly: true
{{- if include "larder.hasData" . }}
- name: data
  mountPath: {{ include "larder.data" . }}
{{- end }}
{{- range $secret := include "larder.mountedSecrets" . | fromJsonArray }}
- name: {{ $secret.volume }}
  mountPath: {{ $secrets }}/{{ $secret.path }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "larder.volumes" -}}
- name: config
  configMap:
    name: {{ include "larder.fullname" . }}
{{- if and (include "larder.hasData" .) (not (include "larder.isStateful" .)) }}
- name: data
  emptyDir: {}
{{- end }}
{{- range $secret := include "larder.mountedSecrets" . | fromJsonArray }}
- name: {{ $secret.volume }}
  secret:
    secretName: {{ $secret.name }}
    # For the group of the pod (fsGroup).
    defaultMode: 0440
    {{- if $secret.key }}
    items:
      - key: {{ $secret.key }}
        path: {{ $secret.file }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* The Secrets that are mounted, as JSON: volume, directory, name, and the only
key with its file, if any. */}}
{{- define "larder.mountedSecrets" -}}
{{- $all := list -}}
{{- with .Values.store.urlSecret -}}
{{- if .name -}}
{{- $all = append $all (dict
      "volume" "store-url" "path" "store-url" "name" .name "key" .key "file" "url") -}}
{{- end -}}
{{- end -}}
{{- with .Values.admin.tokenSecret -}}
{{- if .name -}}
{{- $all = append $all (dict
      "volume" "admin-token" "path" "admin-token" "name" .name "key" .key "file" "token") -}}
{{- end -}}
{{- end -}}
{{- range $path, $name := dict
      "store-tls" .Values.store.tlsSecret "tls" .Values.tls.secret
      "admin-tls" .Values.admin.tlsSecret -}}
{{- if $name -}}
{{- $all = append $all (dict "volume" $path "path" $path "name" $name "key" "") -}}
{{- end -}}
{{- end -}}
{{- range $directory, $name := .Values.secretFiles -}}
{{- $all = append $all (dict
      "volume" (printf "files-%s" $directory) "path" (printf "files/%s" $directory)
      "name" $name "key" "") -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}
