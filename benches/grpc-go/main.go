// A server with mutual TLS, whose handshakes are compared with those of Larder. It answers every
// call with UNIMPLEMENTED. Prints its address.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net"
	"os"
	"runtime"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("expected the directory with the certificates")
	}
	// As many threads as Larder has here.
	runtime.GOMAXPROCS(1)
	dir := os.Args[1]
	certificate, err := tls.LoadX509KeyPair(dir+"/server.crt", dir+"/server.key")
	if err != nil {
		log.Fatal(err)
	}
	authority, err := os.ReadFile(dir + "/ca.crt")
	if err != nil {
		log.Fatal(err)
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(authority) {
		log.Fatal("no certificate in ca.crt")
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	log.Fatal(grpc.NewServer(grpc.Creds(credentials.NewTLS(config))).Serve(listener))
}
