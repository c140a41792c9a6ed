//go:build !unix

package main

func main() { println("the time of the processor is measured on Unix only") }
