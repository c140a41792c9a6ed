package larder

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// tlsFiles are files of a client that speaks TLS, in PEM. Empty: none.
type tlsFiles struct{ ca, cert, key string }

func (f tlsFiles) any() bool { return f != tlsFiles{} }

// filesChecked is the time between two looks at the files.
const filesChecked = 10 * time.Second

// certificates reads the files of a certificate again when they change.
type certificates struct {
	files      tlsFiles
	serverName string
	every      time.Duration
	logger     *slog.Logger

	mu        sync.Mutex
	loaded    credentials.TransportCredentials
	stamp     string
	checkedAt time.Time
	// looking: a goroutine looks at the files.
	looking bool
	// replaced: there are credentials that no connection has yet.
	replaced bool
	// refused is the stamp of files that could not be read, which is logged once.
	refused string
}

// newCertificates reads the files, so that wrong ones are refused at once.
func newCertificates(
	files tlsFiles, serverName string, every time.Duration, logger *slog.Logger,
) (*certificates, error) {
	if (files.cert == "") != (files.key == "") {
		return nil, wrong("Certificate", "certFile and keyFile: both or none")
	}
	c := &certificates{files: files, serverName: serverName, every: every, logger: logger}
	var err error
	c.stamp, c.checkedAt = c.stamps(), time.Now()
	c.loaded, err = c.read()
	return c, err
}

// read makes credentials of the files as they are now.
func (c *certificates) read() (credentials.TransportCredentials, error) {
	config := &tls.Config{ServerName: c.serverName, MinVersion: tls.VersionTLS12}
	if c.files.ca != "" {
		pem, err := os.ReadFile(c.files.ca)
		if err != nil {
			return nil, wrong("CAFile", "%v", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, wrong("CAFile", "%s has no certificate in PEM", c.files.ca)
		}
	}
	if c.files.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.files.cert, c.files.key)
		if err != nil {
			return nil, wrong("Certificate", "%v", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), nil
}

// current are the last credentials that could be read.
func (c *certificates) current() credentials.TransportCredentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loaded.Clone()
}

// changed reports whether there are new credentials since it was asked last. It does not wait for
// files, which may be on a volume that hangs: they are looked at aside, by one at a time.
func (c *certificates) changed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); !c.looking && now.Sub(c.checkedAt) >= c.every {
		c.looking, c.checkedAt = true, now
		go c.look(c.stamp)
	}
	replaced := c.replaced
	c.replaced = false
	return replaced
}

// look reads files that have changed. Those that cannot be read, or do not fit together yet, leave
// the old credentials in use, and are looked at again later.
func (c *certificates) look(before string) {
	var loaded credentials.TransportCredentials
	var err error
	stamp := c.stamps()
	if stamp != before {
		loaded, err = c.read()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looking = false
	switch {
	case loaded != nil:
		c.loaded, c.stamp, c.refused, c.replaced = loaded, stamp, "", true
	case err != nil && c.refused != stamp:
		c.refused = stamp
		c.logger.Warn("larder: the old certificates stay in use", "error", err)
	}
}

func (c *certificates) stamps() string {
	var stamps strings.Builder
	for _, file := range []string{c.files.ca, c.files.cert, c.files.key} {
		if file == "" {
			continue
		}
		info, err := os.Stat(file)
		if err != nil {
			stamps.WriteString("missing ")
			continue
		}
		fmt.Fprintf(&stamps, "%d/%d ", info.ModTime().UnixNano(), info.Size())
	}
	return stamps.String()
}
