{{/* The name of the chart in labels. */}}
{{- define "larder.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of all objects. 52 characters leave room for suffixes, and for those of pods. */}}
{{- define "larder.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "larder.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "larder.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The fleet: the name of the Services, and the label by which they select pods. */}}
{{- define "larder.fleet" -}}
{{- default (include "larder.fullname" .) .Values.fleet -}}
{{- end -}}

{{- define "larder.selectorLabels" -}}
app.kubernetes.io/name: {{ include "larder.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "larder.labels" -}}
{{ include "larder.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The pods of all releases of the fleet. */}}
{{- define "larder.fleetLabels" -}}
app.kubernetes.io/name: {{ include "larder.name" . }}
larder/fleet: {{ include "larder.fleet" . }}
{{- end -}}

{{/* "true" if `helm test` has a pod. It has no certificate of a caller. */}}
{{- define "larder.hasTest" -}}
{{- if and .Values.service.enabled (ne .Values.tls.clientCertificates "required") -}}
true
{{- end -}}
{{- end -}}

{{- define "larder.testMountsCa" -}}
{{- if and .Values.tls.secret .Values.tls.caKey -}}true{{- end -}}
{{- end -}}

{{- define "larder.testLabels" -}}
app.kubernetes.io/name: {{ include "larder.name" . }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "larder.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "larder.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "larder.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}
