//go:build unix

package lardertest

import (
	"os"
	"syscall"
)

// wakeUp continues a server that a test has paused.
func wakeUp(process *os.Process) { _ = process.Signal(syscall.SIGCONT) }
