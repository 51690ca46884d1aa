// Command http2 serves and calls over HTTP/2. Arguments: h2c HOST:PORT, grpc HOST:PORT, or call HOST:PORT; web HOST:PORT and
// callweb HOST:PORT are gRPC-Web over HTTP/1.1; fan HOST:PORT and askfan HOST:PORT FROM TO make calls of calls.
package main

import (
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

// route has /echo/TEXT, /bytes/N and /status/CODE.
func route(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	if len(parts) < 3 {
		http.NotFound(w, r)
		return
	}
	number, _ := strconv.Atoi(parts[2])
	switch parts[1] {
	case "echo":
		w.Write([]byte(parts[2]))
	case "bytes":
		w.Write(make([]byte, number))
	case "status":
		w.WriteHeader(number)
	case "trailer":
		w.Header().Set("Trailer", "X-Sum")
		w.Write([]byte("body"))
		w.Header().Set("X-Sum", "1")
	default:
		http.NotFound(w, r)
	}
}

func main() {
	if os.Args[1] == "call" {
		call(os.Args[2])
		return
	}
	if os.Args[1] == "callweb" {
		callWeb(os.Args[2])
		return
	}
	if os.Args[1] == "askfan" {
		from, _ := strconv.Atoi(os.Args[3])
		to, _ := strconv.Atoi(os.Args[4])
		if err := askFan(os.Args[2], from, to); err != nil {
			log.Fatal(err)
		}
		return
	}
	listener, err := net.Listen("tcp", os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	if os.Args[1] == "grpc" {
		log.Fatal(serve(listener))
	}
	if os.Args[1] == "web" {
		log.Fatal(serveWeb(listener))
	}
	if os.Args[1] == "fan" {
		log.Fatal(serveFan(listener))
	}
	log.Fatal(http.Serve(listener, h2c.NewHandler(http.HandlerFunc(route), &http2.Server{})))
}
