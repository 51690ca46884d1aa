// Command calls is a service that calls another one, and says which goroutines did it. Arguments: HOST:PORT, and s for TLS.
//
// GET /work/SHAPE calls /leaf/GOROUTINE/PARENT of the same program, once or more, by the goroutine of that number: the handler's own
// (SHAPE is "self"), or one that it starts ("child"). Its answer has the handler's goroutine as X-Goroutine.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// goroutine says the number of the goroutine that runs, and of the one that started it, as a stack trace does.
func goroutine() (id, parent string) {
	buffer := make([]byte, 1<<16)
	text := string(buffer[:runtime.Stack(buffer, false)])
	id = strings.Fields(text)[1]
	parent = "0"
	if at := strings.LastIndex(text, " in goroutine "); at >= 0 {
		parent = strings.Fields(text[at:])[2]
	}
	return id, parent
}

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 8,
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		// HTTP/1.1 only.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}}
	var leaves string
	call := func() {
		id, parent := goroutine()
		response, err := client.Get(leaves + "/leaf/" + id + "/" + parent)
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/work/", func(w http.ResponseWriter, r *http.Request) {
		switch strings.TrimPrefix(r.URL.Path, "/work/") {
		case "self":
			call()
			call()
		case "child":
			var group sync.WaitGroup
			for i := 0; i < 4; i++ {
				group.Add(1)
				go func() {
					defer group.Done()
					call()
				}()
			}
			group.Wait()
		}
		id, parent := goroutine()
		w.Header().Set("X-Goroutine", id)
		w.Header().Set("X-Parent", parent)
		io.WriteString(w, strconv.Itoa(os.Getpid()))
	})
	mux.HandleFunc("/leaf/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "leaf") })
	if len(os.Args) > 2 {
		server := httptest.NewUnstartedServer(mux)
		server.StartTLS()
		leaves = server.URL
	} else {
		leaves = "http://" + listener.Addr().String()
	}
	fmt.Println("ready")
	log.Fatal(http.Serve(listener, mux))
}
