{{/* The template of the pods, of a Deployment and of a StatefulSet. */}}
{{- define "larder.pod" -}}
metadata:
  labels:
    {{- include "larder.labels" . | nindent 4 }}
    larder/fleet: {{ include "larder.fleet" . }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A changed configuration starts new pods.
    checksum/config: {{ include "larder.toml" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "larder.serviceAccountName" . }}
  automountServiceAccountToken: false
  # Variables of other Services are not for Larder.
  enableServiceLinks: false
  # The drain takes shutdownTimeoutSeconds, and what follows it up to 15 s.
  terminationGracePeriodSeconds: {{ add (int .Values.shutdownTimeoutSeconds) 20 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: larder
      image: {{ include "larder.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve]
      env:
        {{- include "larder.env" . | nindent 8 }}
      {{- with .Values.secretEnv }}
      envFrom:
        {{- range . }}
        - secretRef:
            name: {{ . }}
        {{- end }}
      {{- end }}
      ports:
        - name: grpc
          containerPort: 50051
        - name: admin
          containerPort: 9464
      {{- include "larder.probes" . | nindent 6 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        {{- include "larder.mounts" . | nindent 8 }}
  volumes:
    {{- include "larder.volumes" . | nindent 4 }}
  {{- include "larder.topology" . | nindent 2 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "larder.env" -}}
- name: LARDER_CONFIG
  value: /etc/larder/larder.toml
- name: LARDER_LISTEN
  value: {{ printf "%s:50051" .Values.bindAddress | quote }}
- name: LARDER_ADMIN_LISTEN
  value: {{ printf "%s:9464" .Values.bindAddress | quote }}
# The image sets it too, and a variable precedes the file.
- name: LARDER_LOG__FORMAT
  value: {{ dig "log" "format" "json" .Values.config }}
{{- with .Values.store.passwordSecret }}
{{- if .name }}
- name: REDIS_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- with .Values.store.sentinelPasswordSecret }}
{{- if .name }}
- name: REDIS_SENTINEL_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* All on the admin port: it answers probes without a token, and whether or not Redis does. */}}
{{- define "larder.probes" -}}
{{- $scheme := ternary "HTTPS" "HTTP" (or (not (empty .Values.admin.tlsSecret))
      (hasKey (dig "admin" "tls" dict .Values.config) "cert")) -}}
startupProbe:
  httpGet:
    path: /livez
    port: admin
    scheme: {{ $scheme }}
  periodSeconds: 1
  timeoutSeconds: 1
  failureThreshold: {{ .Values.probes.startupSeconds }}
livenessProbe:
  httpGet:
    path: /livez
    port: admin
    scheme: {{ $scheme }}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: admin
    scheme: {{ $scheme }}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{- define "larder.topology" -}}
{{- if or .Values.topologySpread.zone .Values.topologySpread.host -}}
topologySpreadConstraints:
  {{- with .Values.topologySpread.zone }}
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: {{ . }}
    labelSelector:
      matchLabels:
        {{- include "larder.selectorLabels" $ | nindent 8 }}
    {{- include "larder.revisionKeys" $ | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpread.host }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ . }}
    labelSelector:
      matchLabels:
        {{- include "larder.selectorLabels" $ | nindent 8 }}
    {{- include "larder.revisionKeys" $ | nindent 4 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* The pods of one revision are spread, not those of the old and the new one together. */}}
{{- define "larder.revisionKeys" -}}
matchLabelKeys:
  - {{ ternary "controller-revision-hash" "pod-template-hash"
      (not (empty (include "larder.isStateful" .))) }}
{{- end -}}
