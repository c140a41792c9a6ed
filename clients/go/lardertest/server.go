package lardertest

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// ServerOptions are those of a real server for tests.
type ServerOptions struct {
	// Binary is LARDER_BIN, else `larder` on the path.
	Binary string
	// Config is the configuration in TOML. Without one TTLs have no jitter, so that tests can be
	// repeated.
	Config string
	// Environment has variables of the server, such as `LARDER_LOG__LEVEL=debug`.
	Environment []string
	// Listen is 127.0.0.1 with a free port.
	Listen string
	// Timeout is for the start: 10 s.
	Timeout time.Duration
}

const (
	plainConfig  = "[defaults]\nttl_jitter = 0.0\n"
	startTimeout = 10 * time.Second
	stopTimeout  = 10 * time.Second
	keptLines    = 100
)

// ErrNoBinary is the error of StartServer if there is no server to start.
var ErrNoBinary = errors.New("lardertest: there is no server: set LARDER_BIN")

// Server is the real server with the embedded store, on a free port.
type Server struct {
	// Target is for larder.New.
	Target string

	process   *exec.Cmd
	directory string
	ended     chan struct{}
	stop      sync.Once

	mu    sync.Mutex
	lines []string
}

// RunServer is a server that ends with the test. Without a binary the test is skipped; with CI=true
// it fails.
func RunServer(t testing.TB, options ServerOptions) *Server {
	t.Helper()
	server, err := StartServer(context.Background(), options)
	if errors.Is(err, ErrNoBinary) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// StartServer starts a server, and waits until it serves.
func StartServer(ctx context.Context, options ServerOptions) (*Server, error) {
	binary, err := exec.LookPath(cmp.Or(options.Binary, os.Getenv("LARDER_BIN"), "larder"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBinary, err)
	}
	directory, err := os.MkdirTemp("", "larder-test-")
	if err != nil {
		return nil, err
	}
	server := &Server{directory: directory, ended: make(chan struct{})}
	config := filepath.Join(directory, "larder.toml")
	content := cmp.Or(options.Config, plainConfig)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		_ = os.RemoveAll(directory)
		return nil, err
	}
	server.process = exec.Command(binary, "serve", "--config", config)
	server.process.Env = append(environment(),
		"LARDER_LISTEN="+cmp.Or(options.Listen, "127.0.0.1:0"),
		"LARDER_ADMIN_LISTEN=127.0.0.1:0", "LARDER_LOG__FORMAT=json")
	server.process.Env = append(server.process.Env, options.Environment...)
	serving := make(chan string, 1)
	if err := server.begin(serving); err != nil {
		_ = os.RemoveAll(directory)
		return nil, err
	}
	timer := time.NewTimer(cmp.Or(options.Timeout, startTimeout))
	defer timer.Stop()
	why := ""
	select {
	case server.Target = <-serving:
		return server, nil
	case <-server.ended:
		why = "has ended"
	case <-timer.C:
		why = "does not serve in time"
	case <-ctx.Done():
		why = ctx.Err().Error()
	}
	server.Stop()
	log := strings.Join(server.Log(), "\n")
	return nil, fmt.Errorf("lardertest: %s %s:\n%s", binary, why, log)
}

// environment is without the variables of the caller that could point the server at a store that
// tests must not write to.
func environment() []string {
	var kept []string
	for _, variable := range os.Environ() {
		foreign := false
		for _, prefix := range []string{"LARDER_", "REDIS_", "OTEL_"} {
			foreign = foreign || strings.HasPrefix(variable, prefix)
		}
		if !foreign {
			kept = append(kept, variable)
		}
	}
	return kept
}

func (s *Server) begin(serving chan<- string) error {
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	s.process.Stdout, s.process.Stderr = writer, writer
	err = s.process.Start()
	_ = writer.Close()
	if err != nil {
		_ = reader.Close()
		return err
	}
	go func() {
		defer close(s.ended)
		s.read(reader, serving)
		_ = reader.Close()
		_ = s.process.Wait()
	}()
	return nil
}

// read keeps the last lines of the log, and finds the address in them.
func (s *Server) read(from io.Reader, serving chan<- string) {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" {
			s.mu.Lock()
			s.lines = append(s.lines, line)
			s.lines = s.lines[max(0, len(s.lines)-keptLines):]
			s.mu.Unlock()
		}
		var record struct {
			Fields struct {
				Message string `json:"message"`
				Listen  string `json:"listen"`
			} `json:"fields"`
		}
		if strings.Contains(line, `"serving"`) && json.Unmarshal([]byte(line), &record) == nil &&
			record.Fields.Listen != "" {
			select {
			case serving <- record.Fields.Listen:
			default:
			}
		}
		if err != nil {
			return
		}
	}
}

// Log has the last lines of the server.
func (s *Server) Log() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lines...)
}

// Signal sends a signal: that of stopping makes the server silent.
func (s *Server) Signal(signal os.Signal) error { return s.process.Process.Signal(signal) }

// Stop ends the server, and waits for that. It can be repeated.
func (s *Server) Stop() {
	s.stop.Do(func() {
		wakeUp(s.process.Process)
		_ = s.process.Process.Signal(os.Interrupt)
		timer := time.NewTimer(stopTimeout)
		defer timer.Stop()
		select {
		case <-s.ended:
		case <-timer.C:
			_ = s.process.Process.Kill()
			<-s.ended
		}
		_ = os.RemoveAll(s.directory)
	})
}
