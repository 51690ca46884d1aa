package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

// level is a server of this process, and what calls it.
type level struct {
	base   string
	client *http.Client
}

// unencrypted is what the package itself has for HTTP/2 without TLS.
func unencrypted() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

func get(client *http.Client, url string) error {
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}

// serveFan has /fan/LEVEL/NUMBER: with a level above 0, it makes two calls at once, and then another one, to the level below, each with the
// next digit after its own number. Level 2 is a server of golang.org/x/net; level 1 one of net/http, called by net/http; level 0 the same
// over TLS, called by golang.org/x/net.
func serveFan(listener net.Listener) error {
	var levels [2]level
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		if len(parts) != 4 {
			http.NotFound(w, r)
			return
		}
		at, _ := strconv.Atoi(parts[2])
		number, _ := strconv.Atoi(parts[3])
		// Not in the order in which they came.
		time.Sleep(time.Duration(number*7919%20) * time.Millisecond)
		if at > 0 {
			below := levels[at-1]
			ask := func(digit int) error {
				return get(below.client, fmt.Sprintf("%s/fan/%d/%d", below.base, at-1, number*10+digit))
			}
			results := make([]error, 3)
			var both sync.WaitGroup
			for i := range 2 {
				both.Go(func() { results[i] = ask(i) })
			}
			both.Wait()
			results[2] = ask(2)
			if err := errors.Join(results...); err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
		}
		fmt.Fprintln(w, number)
	})

	clear, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	levels[1] = level{"http://" + clear.Addr().String(), &http.Client{Transport: &http.Transport{Protocols: unencrypted()}}}
	go func() { log.Fatal((&http.Server{Handler: handler, Protocols: unencrypted()}).Serve(clear)) }()

	secret, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	levels[0] = level{"https://" + secret.Addr().String(), &http.Client{Transport: &http2.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}
	secure := &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	go func() { log.Fatal(secure.ServeTLS(secret, "", "")) }()

	return http.Serve(listener, h2c.NewHandler(handler, &http2.Server{}))
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// askFan asks for the numbers from one to before another, all at once on one connection, which the first one opens.
func askFan(address string, from, to int) error {
	client := &http.Client{Transport: &http.Transport{Protocols: unencrypted()}}
	base := "http://" + address + "/fan/2/"
	if err := get(client, base+strconv.Itoa(from)); err != nil {
		return err
	}
	results := make([]error, to-from-1)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() { results[i] = get(client, base+strconv.Itoa(from+1+i)) })
	}
	all.Wait()
	return errors.Join(results...)
}
