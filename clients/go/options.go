package larder

import (
	"context"
	"log/slog"
	"net"
	"os"
	"regexp"
	"time"

	"google.golang.org/grpc"
)

// Preset is a set of limits: clients/README.md, "Time and connections".
type Preset string

// The presets.
const (
	// PresetService is the default: calls of 500 ms.
	PresetService Preset = "service"
	// PresetLocal is for development and tests: calls of 5 s.
	PresetLocal Preset = "local"
	// PresetLowLatency is for callers that cannot wait: calls of 100 ms.
	PresetLowLatency Preset = "low_latency"
	// PresetLambda is for processes that are frozen between calls.
	PresetLambda Preset = "lambda"
)

// OnError is what reads and writes do at an outage. It is an option of namespaces, too.
type OnError string

const (
	// FailOpen is the default: they go on without the cache.
	FailOpen OnError = "open"
	// Raise makes them return the error.
	Raise OnError = "raise"
)

func (e OnError) check() error {
	if e != "" && e != FailOpen && e != Raise {
		return wrong("OnError", "expected %q or %q, got %q", FailOpen, Raise, string(e))
	}
	return nil
}

// Option is an option of [New].
type Option func(*settings)

// settings is what the options of a client come to.
type settings struct {
	target             string
	preset             Preset
	onError            OnError
	prefix             string
	token              string
	provider           TokenProvider
	files              tlsFiles
	tls                bool
	serverName         string
	allowPlaintext     bool
	schemaVersion      string
	call               *time.Duration
	connect            *time.Duration
	wait               *time.Duration
	waitMargin         *time.Duration
	keepalive          *time.Duration
	keepaliveTimeout   time.Duration
	maxIdle            *time.Duration
	background         int
	logger             *slog.Logger
	observer           Observer
	dialer             func(context.Context, string) (net.Conn, error)
	dialOptions        []grpc.DialOption
	certificateRefresh time.Duration
}

// WithPreset selects a set of limits: [PresetService] by default.
func WithPreset(preset Preset) Option { return func(s *settings) { s.preset = preset } }

// WithOnError is what reads and writes do at an outage: [FailOpen] by default.
func WithOnError(onError OnError) Option { return func(s *settings) { s.onError = onError } }

// WithNamespacePrefix is put before the names of all namespaces.
func WithNamespacePrefix(prefix string) Option { return func(s *settings) { s.prefix = prefix } }

// WithToken is sent as `authorization: Bearer`. By default it is LARDER_TOKEN.
func WithToken(token string) Option { return func(s *settings) { s.token = token } }

// WithTokenProvider asks for a token before the last one expires.
func WithTokenProvider(provider TokenProvider) Option {
	return func(s *settings) { s.provider = provider }
}

// WithCAFile names the authorities of the server's certificate, in PEM, and switches TLS on. By
// default it is LARDER_CA_FILE. The file is read again when it changes.
func WithCAFile(file string) Option { return func(s *settings) { s.files.ca = file } }

// WithCertificate names the certificate of the client and its key, in PEM, and switches TLS on. By
// default they are LARDER_CERT_FILE and LARDER_KEY_FILE. The files are read again when they change.
func WithCertificate(certFile, keyFile string) Option {
	return func(s *settings) { s.files.cert, s.files.key = certFile, keyFile }
}

// WithTLS speaks TLS with the authorities of the system, when no file is named.
func WithTLS() Option { return func(s *settings) { s.tls = true } }

// WithServerName is the name in the server's certificate, if it is not that of the target.
func WithServerName(name string) Option { return func(s *settings) { s.serverName = name } }

// WithPlaintextToken permits to send the token over plain text to another machine.
func WithPlaintextToken() Option { return func(s *settings) { s.allowPlaintext = true } }

// WithSchemaVersion is the version of what the program caches, 1 to 64 of `A-Za-z0-9._-`: clients
// of two releases do not read each other's entries.
func WithSchemaVersion(version string) Option {
	return func(s *settings) { s.schemaVersion = version }
}

// WithCallTimeout is the time limit of a call.
func WithCallTimeout(d time.Duration) Option { return func(s *settings) { s.call = &d } }

// WithConnectTimeout is the time limit of Connect, and what the first call has in addition.
func WithConnectTimeout(d time.Duration) Option { return func(s *settings) { s.connect = &d } }

// WithWait is how long GetOrFetch waits for the computation of another process: 5 s.
func WithWait(d time.Duration) Option { return func(s *settings) { s.wait = &d } }

// WithWaitMargin is what the call of GetOrFetch has in addition to the wait.
func WithWaitMargin(d time.Duration) Option { return func(s *settings) { s.waitMargin = &d } }

// WithKeepalive is the time between pings while calls run; zero: none. gRPC for Go pings at most
// every 10 s.
func WithKeepalive(d time.Duration) Option { return func(s *settings) { s.keepalive = &d } }

// WithKeepaliveTimeout is the time for the answer to a ping: 10 s.
func WithKeepaliveTimeout(d time.Duration) Option {
	return func(s *settings) { s.keepaliveTimeout = d }
}

// WithMaxIdle replaces a connection that was idle for longer; zero: never.
func WithMaxIdle(d time.Duration) Option { return func(s *settings) { s.maxIdle = &d } }

// WithBackground bounds the computations in the background: 16.
func WithBackground(computations int) Option {
	return func(s *settings) { s.background = computations }
}

// WithLogger receives the begin and the end of outages, and failures in the background. By default
// it is that of [slog.Default].
func WithLogger(logger *slog.Logger) Option { return func(s *settings) { s.logger = logger } }

// WithObserver sees all calls: the module larderotel has one for OpenTelemetry.
func WithObserver(observer Observer) Option { return func(s *settings) { s.observer = observer } }

// WithDialer makes the connections, for tests and tunnels. The target is not resolved then.
func WithDialer(dial func(context.Context, string) (net.Conn, error)) Option {
	return func(s *settings) { s.dialer = dial }
}

// WithDialOptions are further options of gRPC.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) { s.dialOptions = append(s.dialOptions, options...) }
}

// limits are the times of a client.
type limits struct {
	call, connect, wait, waitMargin time.Duration
	keepalive, maxIdle              time.Duration
}

const (
	defaultEndpoint   = "127.0.0.1:50051"
	defaultWait       = 5 * time.Second
	defaultPingWait   = 10 * time.Second
	defaultBackground = 16
)

var presets = map[Preset]limits{
	PresetService: {
		call: 500 * time.Millisecond, connect: time.Second, waitMargin: time.Second,
		keepalive: 30 * time.Second,
	},
	PresetLocal: {call: 5 * time.Second, connect: 5 * time.Second, waitMargin: 5 * time.Second},
	PresetLowLatency: {
		call: 100 * time.Millisecond, connect: 500 * time.Millisecond,
		waitMargin: 250 * time.Millisecond, keepalive: 30 * time.Second,
	},
	PresetLambda: {
		call: time.Second, connect: time.Second, waitMargin: time.Second,
		maxIdle: 4 * time.Minute,
	},
}

var schemaVersion = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func setting(target string, options []Option) (*settings, limits, error) {
	s := &settings{
		target: target, preset: PresetService, onError: FailOpen, background: defaultBackground,
		keepaliveTimeout: defaultPingWait, certificateRefresh: filesChecked,
	}
	s.fromEnvironment()
	for _, option := range options {
		option(s)
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	bounds, err := s.limits()
	if err != nil {
		return nil, limits{}, err
	}
	if err := s.onError.check(); err != nil {
		return nil, limits{}, err
	}
	if s.schemaVersion != "" && !schemaVersion.MatchString(s.schemaVersion) {
		return nil, limits{}, wrong("SchemaVersion", "expected 1 to 64 of A-Za-z0-9._-")
	}
	if s.background < 0 {
		return nil, limits{}, wrong("Background", "must not be negative, got %d", s.background)
	}
	return s, bounds, nil
}

func (s *settings) fromEnvironment() {
	if s.target == "" {
		s.target = os.Getenv("LARDER_ENDPOINT")
	}
	if s.target == "" {
		s.target = defaultEndpoint
	}
	s.token = os.Getenv("LARDER_TOKEN")
	s.files = tlsFiles{
		ca:   os.Getenv("LARDER_CA_FILE"),
		cert: os.Getenv("LARDER_CERT_FILE"),
		key:  os.Getenv("LARDER_KEY_FILE"),
	}
}

func (s *settings) limits() (limits, error) {
	bounds, ok := presets[s.preset]
	if !ok {
		return limits{}, wrong("Preset", "there is no preset %q", string(s.preset))
	}
	bounds.wait = defaultWait
	for _, each := range []struct {
		name  string
		given *time.Duration
		into  *time.Duration
		check func(time.Duration, string) error
	}{
		{"CallTimeout", s.call, &bounds.call, positive},
		{"ConnectTimeout", s.connect, &bounds.connect, positive},
		{"Wait", s.wait, &bounds.wait, notNegative},
		{"WaitMargin", s.waitMargin, &bounds.waitMargin, positive},
		{"Keepalive", s.keepalive, &bounds.keepalive, notNegative},
		{"KeepaliveTimeout", &s.keepaliveTimeout, &s.keepaliveTimeout, positive},
		{"MaxIdle", s.maxIdle, &bounds.maxIdle, notNegative},
	} {
		if each.given == nil {
			continue
		}
		if err := each.check(*each.given, each.name); err != nil {
			return limits{}, err
		}
		*each.into = *each.given
	}
	return bounds, nil
}
