// Package lardertest has what tests of programs with Larder need: a fake in the process, with a
// clock to set and failures to switch on, and the real server on a free port.
package lardertest
