// Command server has the test routes on net/http. Arguments: tcp HOST:PORT [CERTIFICATE KEY], or unix PATH.
package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func route(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	first := ""
	if len(parts) > 2 {
		first = parts[2]
	}
	number, _ := strconv.Atoi(first)
	switch parts[1] {
	case "echo":
		w.Header().Set("Content-Length", strconv.Itoa(len(first)))
		io.WriteString(w, first)
	case "status":
		w.WriteHeader(number)
		if number != http.StatusNoContent && number != http.StatusNotModified {
			io.WriteString(w, "status")
		}
	case "bytes":
		w.Header().Set("Content-Length", first)
		fill(w, number, 65536)
	case "chunked":
		w.(http.Flusher).Flush()
		fill(w, number, 8192)
	case "upload":
		total, _ := io.Copy(io.Discard, r.Body)
		io.WriteString(w, strconv.FormatInt(total, 10))
	case "slow":
		time.Sleep(time.Duration(number) * time.Millisecond)
		io.WriteString(w, "slow")
	default:
		http.NotFound(w, r)
	}
}

func fill(w io.Writer, left, part int) {
	block := bytes.Repeat([]byte("x"), part)
	for left > 0 {
		n := min(left, part)
		if _, err := w.Write(block[:n]); err != nil {
			return
		}
		left -= n
	}
}

func main() {
	listener, err := net.Listen(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	if len(os.Args) > 3 {
		// HTTP/1.1 only.
		server := &http.Server{Handler: http.HandlerFunc(route), TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
		log.Fatal(server.ServeTLS(listener, os.Args[3], os.Args[4]))
	}
	log.Fatal(http.Serve(listener, http.HandlerFunc(route)))
}
