package larder_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	larder "larder.test/clients/go"
	"larder.test/clients/go/larderpb"
)

func tokenOf(ctx context.Context) string {
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) == 1 {
		return values[0]
	}
	return ""
}

// gateway is a server that looks at the credentials of calls.
type gateway struct {
	larderpb.UnimplementedCacheServiceServer
	mu     sync.Mutex
	tokens []string
	names  []string
	// accepts is the only token that is accepted; empty: all.
	accepts atomic.Value
}

func (g *gateway) Get(
	ctx context.Context, _ *larderpb.GetRequest,
) (*larderpb.GetResponse, error) {
	token, name := tokenOf(ctx), ""
	if from, ok := peer.FromContext(ctx); ok {
		if info, ok := from.AuthInfo.(credentials.TLSInfo); ok {
			for _, certificate := range info.State.PeerCertificates {
				name = certificate.Subject.CommonName
			}
		}
	}
	g.mu.Lock()
	g.tokens, g.names = append(g.tokens, token), append(g.names, name)
	g.mu.Unlock()
	if wanted, ok := g.accepts.Load().(string); ok && wanted != token {
		return nil, status.Error(codes.Unauthenticated, "another token is needed")
	}
	return &larderpb.GetResponse{Outcome: larderpb.Outcome_OUTCOME_MISS}, nil
}

func (g *gateway) serve(t *testing.T, options ...grpc.ServerOption) string {
	t.Helper()
	listener := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	server := grpc.NewServer(options...)
	larderpb.RegisterCacheServiceServer(server, g)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func TestATokenIsAskedForAgain(t *testing.T) {
	g := &gateway{}
	var asked atomic.Int32
	provider := func(context.Context) (larder.Token, error) {
		value := "first"
		if asked.Add(1) > 1 {
			value = "second"
		}
		return larder.Token{Value: value, ExpiresAt: time.Now().Add(time.Hour)}, nil
	}
	client := must[*larder.Client](t)(larder.New(g.serve(t), larder.WithTokenProvider(provider)))
	defer func() { _ = client.Close() }()
	cache, ctx := newCache[string](t, client), context.Background()
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if _, err := cache.Get(ctx, "k"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if asked.Load() != 1 {
		t.Fatal("asked", asked.Load(), "times")
	}
	// A token that the server refuses is replaced, and the call repeated.
	g.accepts.Store("Bearer second")
	must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	if asked.Load() != 2 {
		t.Fatal("asked", asked.Load(), "times")
	}
	g.accepts.Store("Bearer third")
	if _, err := cache.Get(ctx, "k"); !errors.Is(err, larder.ErrUnauthenticated) {
		t.Fatal(err)
	}
}

func TestAnExpiredTokenIsNotSent(t *testing.T) {
	g := &gateway{}
	var asked atomic.Int32
	provider := func(context.Context) (larder.Token, error) {
		asked.Add(1)
		return larder.Token{Value: "t", ExpiresAt: time.Now().Add(50 * time.Millisecond)}, nil
	}
	client := must[*larder.Client](t)(larder.New(g.serve(t), larder.WithTokenProvider(provider)))
	defer func() { _ = client.Close() }()
	cache, ctx := newCache[string](t, client), context.Background()
	must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	time.Sleep(60 * time.Millisecond) // The life of the token itself.
	must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	if asked.Load() != 2 {
		t.Fatal("asked", asked.Load(), "times")
	}
}

func TestAFailingTokenProviderIsAnOutage(t *testing.T) {
	g, broken := &gateway{}, errors.New("no identity")
	provider := func(context.Context) (larder.Token, error) { return larder.Token{}, broken }
	client := must[*larder.Client](t)(larder.New(g.serve(t), larder.WithTokenProvider(provider)))
	defer func() { _ = client.Close() }()
	cache, ctx := newCache[string](t, client), context.Background()
	result := must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	if !result.Degraded || !errors.Is(result.Err, broken) {
		t.Fatal(result)
	}
	if _, err := cache.Delete(ctx, "k"); !errors.Is(err, broken) ||
		!errors.Is(err, larder.ErrUnavailable) {
		t.Fatal(err)
	}
}

// authority signs certificates.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	directory   string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{directory: t.TempDir()}
	a.key = must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := must[[]byte](t)(x509.CreateCertificate(
		rand.Reader, template, template, &a.key.PublicKey, a.key))
	a.certificate = must[*x509.Certificate](t)(x509.ParseCertificate(der))
	a.write(t, "ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.directory, name) }

func (a *authority) write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(a.file(name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// sign writes a certificate of a name, and its key.
func (a *authority) sign(t *testing.T, file, name string) {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost", "cache.internal"},
	}
	der := must[[]byte](t)(x509.CreateCertificate(
		rand.Reader, template, a.certificate, &key.PublicKey, a.key))
	a.write(t, file+".pem", "CERTIFICATE", der)
	a.write(t, file+".key", "EC PRIVATE KEY", must[[]byte](t)(x509.MarshalECPrivateKey(key)))
}

// pair is the certificate of the server with its key.
func (a *authority) pair(t *testing.T) tls.Certificate {
	t.Helper()
	certFile, keyFile := a.file("server.pem"), a.file("server.key")
	return must[tls.Certificate](t)(tls.LoadX509KeyPair(certFile, keyFile))
}

func TestCertificatesAreReadAgainWhenTheyChange(t *testing.T) {
	a := newAuthority(t)
	a.sign(t, "server", "localhost")
	a.sign(t, "client", "first")
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	pair := a.pair(t)
	g := &gateway{}
	address := g.serve(t, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	log := &lines{}
	client := must[*larder.Client](t)(larder.New(address,
		larder.WithLogger(slog.New(slog.NewTextHandler(log, nil))),
		larder.WithCAFile(a.file("ca.pem")), larder.WithServerName("cache.internal"),
		larder.WithCertificate(a.file("client.pem"), a.file("client.key")),
		larder.WithToken("secret"), larder.WithCertificateRefresh(time.Millisecond),
		larder.WithOnError(larder.Raise)))
	defer func() { _ = client.Close() }()
	cache, ctx := newCache[string](t, client), context.Background()
	last := func() string {
		must[larder.Result[string]](t)(cache.Get(ctx, "k"))
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.names[len(g.names)-1] + " " + g.tokens[len(g.tokens)-1]
	}
	if got := last(); got != "first Bearer secret" {
		t.Fatal(got)
	}
	// Files that do not fit together leave the old ones in use.
	a.write(t, "client.key", "EC PRIVATE KEY", []byte("broken"))
	eventually(t, "a look at the files", func() bool {
		if got := last(); got != "first Bearer secret" {
			t.Fatal(got)
		}
		return log.count("the old certificates stay in use") == 1
	})
	// So do connections that are replaced meanwhile.
	larder.ReplaceConnection(client)
	if got := last(); got != "first Bearer secret" {
		t.Fatal(got)
	}
	if count := log.count("the old certificates stay in use"); count != 1 {
		t.Error(count, "lines of the log")
	}
	a.sign(t, "client", "second")
	eventually(t, "the new certificate", func() bool { return last() == "second Bearer secret" })
}

// TestCertificatesOnAVolumeThatHangs has a pipe in place of a file: to open it waits for a writer.
func TestCertificatesOnAVolumeThatHangs(t *testing.T) {
	a := newAuthority(t)
	a.sign(t, "server", "localhost")
	pair := a.pair(t)
	address := (&gateway{}).serve(t, grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	client := must[*larder.Client](t)(larder.New(address, larder.WithCAFile(a.file("ca.pem")),
		larder.WithServerName("cache.internal"), larder.WithCertificateRefresh(time.Millisecond),
		larder.WithOnError(larder.Raise), larder.WithPreset(larder.PresetLocal)))
	defer func() { _ = client.Close() }()
	cache, ctx := newCache[string](t, client), context.Background()
	must[larder.Result[string]](t)(cache.Get(ctx, "k"))
	ca := must[[]byte](t)(os.ReadFile(a.file("ca.pem")))
	if err := errors.Join(
		os.Remove(a.file("ca.pem")), syscall.Mkfifo(a.file("ca.pem"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		var errs []error
		for range 100 {
			errs = append(errs, errOf(cache.Get(ctx, "k")))
		}
		answered <- errors.Join(errs...)
	}()
	select {
	case err := <-answered:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(deadline):
		t.Error("calls wait for the file")
	}
	// It can be opened while a look waits for it.
	var pipe *os.File
	eventually(t, "a look at the file", func() (opened bool) {
		var err error
		pipe, err = os.OpenFile(a.file("ca.pem"), os.O_WRONLY|syscall.O_NONBLOCK, 0)
		return err == nil
	})
	if _, err := pipe.Write(ca); err != nil {
		t.Error(err)
	}
	_ = pipe.Close()
}

func TestCertificatesThatCannotBeReadAreNamed(t *testing.T) {
	a := newAuthority(t)
	_, err := larder.New("localhost:1", larder.WithCAFile(a.file("missing.pem")))
	var wrong *larder.ArgumentError
	if !errors.As(err, &wrong) || wrong.Argument != "CAFile" {
		t.Error(err)
	}
	_, err = larder.New("localhost:1",
		larder.WithCertificate(a.file("ca.pem"), a.file("missing.key")))
	if !errors.As(err, &wrong) || wrong.Argument != "Certificate" {
		t.Error(err)
	}
}

func TestACertificateOfAnotherNameIsRefused(t *testing.T) {
	a := newAuthority(t)
	a.sign(t, "server", "localhost")
	pair := a.pair(t)
	g := &gateway{}
	address := g.serve(t, grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	client := must[*larder.Client](t)(larder.New(address, larder.WithCAFile(a.file("ca.pem")),
		larder.WithServerName("other.internal"), larder.WithOnError(larder.Raise)))
	defer func() { _ = client.Close() }()
	_, err := newCache[string](t, client).Get(context.Background(), "k")
	if !errors.Is(err, larder.ErrUnavailable) {
		t.Fatal(err)
	}
}

func TestTheEnvironment(t *testing.T) {
	a := newAuthority(t)
	a.sign(t, "server", "localhost")
	pair := a.pair(t)
	g := &gateway{}
	_, port, _ := net.SplitHostPort(g.serve(t, grpc.Creds(credentials.NewServerTLSFromCert(&pair))))
	t.Setenv("LARDER_ENDPOINT", "localhost:"+port)
	t.Setenv("LARDER_TOKEN", "from-the-environment")
	t.Setenv("LARDER_CA_FILE", a.file("ca.pem"))
	client := must[*larder.Client](t)(larder.New("", larder.WithOnError(larder.Raise)))
	defer func() { _ = client.Close() }()
	must[larder.Result[string]](t)(newCache[string](t, client).Get(context.Background(), "k"))
	if g.tokens[0] != "Bearer from-the-environment" {
		t.Fatal(g.tokens)
	}
}
