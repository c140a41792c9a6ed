//go:build !unix

package lardertest

import "os"

// wakeUp has nothing to do: there are no signals.
func wakeUp(*os.Process) {}
