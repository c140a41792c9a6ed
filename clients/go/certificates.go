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

// changed reports whether there are new credentials. Files that cannot be read, or do not fit
// together yet, leave the old ones in use, and are looked at again later.
func (c *certificates) changed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.checkedAt) < c.every {
		return false
	}
	c.checkedAt = now
	stamp := c.stamps()
	if stamp == c.stamp {
		return false
	}
	loaded, err := c.read()
	if err != nil {
		if c.refused != stamp {
			c.refused = stamp
			c.logger.Warn("larder: the old certificates stay in use", "error", err)
		}
		return false
	}
	c.loaded, c.stamp, c.refused = loaded, stamp, ""
	return true
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
