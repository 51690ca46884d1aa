// Command tlsclient is a client over TLS (crypto/tls, HTTP/1.1): two connections in turns. See services/python/tls_client.py.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"time"
)

type request struct {
	Method string `json:"method"`
	Target string `json:"target"`
	Body   int    `json:"body"`
}

type plan struct {
	Host     string    `json:"host"`
	Port     int       `json:"port"`
	Rounds   int       `json:"rounds"`
	Warmup   int       `json:"warmup"`
	Requests []request `json:"requests"`
}

type exchanged struct {
	Method       string `json:"method"`
	Target       string `json:"target"`
	Traceparent  string `json:"traceparent"`
	RequestBody  int    `json:"request_body"`
	Status       int    `json:"status"`
	ResponseBody int    `json:"response_body"`
	ResponseText string `json:"response_text"`
	Start        int64  `json:"start"`
	End          int64  `json:"end"`
	Port         int    `json:"port"`
}

func exchange(client *http.Client, p plan, r request, target string) exchanged {
	port := 0
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		port = info.Conn.LocalAddr().(*net.TCPAddr).Port
	}}
	start := time.Now().UnixNano()
	var body io.Reader
	if r.Body > 0 {
		body = bytes.NewReader(bytes.Repeat([]byte("x"), r.Body))
	}
	url := fmt.Sprintf("https://%s:%d%s", p.Host, p.Port, target)
	built, err := http.NewRequest(r.Method, url, body)
	if err != nil {
		log.Fatal(err)
	}
	response, err := client.Do(built.WithContext(httptrace.WithClientTrace(built.Context(), trace)))
	if err != nil {
		log.Fatal(err)
	}
	content, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	response.Body.Close()
	text := string(content[:min(len(content), 64)])
	end := time.Now().UnixNano()
	return exchanged{r.Method, target, "", r.Body, response.StatusCode, len(content), text, start, end, port}
}

func main() {
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		log.Fatal(err)
	}
	var p plan
	if err := json.Unmarshal(line, &p); err != nil {
		log.Fatal(err)
	}
	var clients [2]*http.Client
	for i := range clients {
		clients[i] = &http.Client{Transport: &http.Transport{
			DisableCompression: true,
			MaxConnsPerHost:    1,
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true},
			TLSNextProto:       map[string]func(string, *tls.Conn) http.RoundTripper{},
		}}
	}
	send := func(prefix string, rounds int) []exchanged {
		var all [2][]exchanged
		var group sync.WaitGroup
		for connection := range clients {
			connection := connection
			group.Add(1)
			go func() {
				defer group.Done()
				for round := 0; round < rounds; round++ {
					for index, r := range p.Requests {
						id := fmt.Sprintf("%s-%d-%d-%d", prefix, round, index, connection)
						target := strings.ReplaceAll(r.Target, "{id}", id)
						all[connection] = append(all[connection], exchange(clients[connection], p, r, target))
					}
				}
			}()
		}
		group.Wait()
		return append(all[0], all[1]...)
	}
	send("warm", p.Warmup)
	fmt.Println("ready")
	in.ReadBytes('\n')
	out, err := json.Marshal(send("id", p.Rounds))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(out))
}
