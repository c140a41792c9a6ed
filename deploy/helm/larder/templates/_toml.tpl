{{/*
Writes a map as TOML. Helm's toToml writes the numbers of value files as floats (8192.0), which are
no valid sizes and counts.
*/}}
{{- define "larder.tomlKey" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ toRawJson . }}{{- end -}}
{{- end -}}

{{- define "larder.tomlValue" -}}
{{- if kindIs "map" . -}}
{{- $map := . -}}
{{- $pairs := list -}}
{{- range $key := keys $map | sortAlpha -}}
{{- $value := include "larder.tomlValue" (get $map $key) -}}
{{- $pairs = append $pairs (printf "%s = %s" (include "larder.tomlKey" $key) $value) -}}
{{- end -}}
{ {{ join ", " $pairs }} }
{{- else if kindIs "slice" . -}}
{{- $items := list -}}
{{- range . -}}{{- $items = append $items (include "larder.tomlValue" .) -}}{{- end -}}
[{{ join ", " $items }}]
{{- else if kindIs "float64" . -}}
{{- if eq (floor .) . -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- else -}}
{{ toRawJson . }}
{{- end -}}
{{- end -}}

{{/* Arguments: path, a list of keys, and table, a map. Values come before tables. */}}
{{- define "larder.tomlTable" -}}
{{- $path := .path -}}
{{- $table := .table -}}
{{- range $key := keys $table | sortAlpha -}}
{{- $value := get $table $key -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ include "larder.tomlKey" $key }} = {{ include "larder.tomlValue" $value }}
{{- end -}}
{{- end -}}
{{- range $key := keys $table | sortAlpha -}}
{{- $value := get $table $key -}}
{{- if kindIs "map" $value -}}
{{- $inner := append $path (include "larder.tomlKey" $key) }}

[{{ join "." $inner }}]
{{- include "larder.tomlTable" (dict "path" $inner "table" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
