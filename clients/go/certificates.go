package larder

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
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

	mu        sync.Mutex
	stamp     string
	checkedAt time.Time
}

func newCertificates(
	files tlsFiles, serverName string, every time.Duration,
) (*certificates, error) {
	if (files.cert == "") != (files.key == "") {
		return nil, wrong("Certificate", "certFile and keyFile: both or none")
	}
	return &certificates{files: files, serverName: serverName, every: every}, nil
}

// read makes credentials of the files as they are now.
func (c *certificates) read() (credentials.TransportCredentials, error) {
	stamp := c.stamps()
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
	c.mu.Lock()
	c.stamp, c.checkedAt = stamp, time.Now()
	c.mu.Unlock()
	return credentials.NewTLS(config), nil
}

// changed reports whether a file has changed since it was read.
func (c *certificates) changed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.checkedAt) < c.every {
		return false
	}
	c.checkedAt = now
	stamps := c.stamps()
	// A file that is being replaced is looked at again later.
	return stamps != c.stamp && !strings.Contains(stamps, "missing")
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
