// Command go-service is a service of the accuracy suite on net/http; see ../README.md. With -workers=N all calls are made by N
// goroutines that are fed over a channel.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

type callee struct{ name, address string }

// job is a call that a worker makes for somebody else.
type job struct {
	to       callee
	id       int64
	position int64
	answer   chan<- answer
}

type answer struct {
	served int64
	err    error
}

var (
	groups  [][]callee
	think   int64
	retries bool
	client  *http.Client
	jobs    chan job
)

// delay is 0 for every second request.
func delay(id, position int64) time.Duration {
	return time.Duration(max(0, (id*7919+position*104729)%41-20)) * time.Millisecond
}

func get(to callee, id, position int64) (int, []byte, error) {
	response, err := client.Get(fmt.Sprintf("http://%s/%s/%d/%d", to.address, to.name, id, position))
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

func call(to callee, id, position int64) (int64, error) {
	status, body, err := get(to, id, position)
	if err == nil && status == http.StatusServiceUnavailable {
		status, body, err = get(to, id, position+5)
	}
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK {
		return 0, fmt.Errorf("%s answered with %d", to.name, status)
	}
	return strconv.ParseInt(string(body), 10, 64)
}

// makeGroup makes the calls of a group at the same time.
func makeGroup(group []callee, id, position int64) (int64, error) {
	answers := make(chan answer, len(group))
	var wait sync.WaitGroup
	for i, to := range group {
		position := position + int64(i)
		switch {
		case jobs != nil:
			jobs <- job{to, id, position, answers}
		case len(group) == 1:
			return call(to, id, position)
		default:
			wait.Add(1)
			go func(to callee) {
				defer wait.Done()
				served, err := call(to, id, position)
				answers <- answer{served, err}
			}(to)
		}
	}
	wait.Wait()
	var served int64
	var failed error
	for range group {
		one := <-answers
		served += one.served
		failed = errors.Join(failed, one.err)
	}
	return served, failed
}

func serve(w http.ResponseWriter, r *http.Request) {
	words := strings.Split(r.URL.Path, "/")
	if len(words) != 4 {
		http.NotFound(w, r)
		return
	}
	id, _ := strconv.ParseInt(words[2], 10, 64)
	position, _ := strconv.ParseInt(words[3], 10, 64)
	time.Sleep(delay(id, position))
	if retries && position > 1 && position%10 < 5 && (id+position)%8 == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "0")
		return
	}
	served, next := int64(1), position*10
	for _, group := range groups {
		if think > 0 {
			time.Sleep(delay(id, next) * time.Duration(think) / 20)
		}
		more, err := makeGroup(group, id, next)
		if err != nil {
			log.Print(err)
			http.Error(w, "failed", http.StatusInternalServerError)
			return
		}
		served += more
		next += int64(len(group))
	}
	io.WriteString(w, strconv.FormatInt(served, 10))
}

func number(name string) int64 {
	value, _ := strconv.ParseInt(os.Getenv(name), 10, 64)
	return value
}

func main() {
	workers := flag.Int("workers", 0, "make all calls by so many goroutines")
	flag.Parse()
	for _, text := range strings.Split(os.Getenv("CALLS"), ";") {
		var group []callee
		for _, call := range strings.Split(text, ",") {
			if name, address, found := strings.Cut(call, "="); found {
				group = append(group, callee{name, address})
			}
		}
		if group != nil {
			groups = append(groups, group)
		}
	}
	think = number("THINK")
	_, retries = os.LookupEnv("RETRIES")
	client = &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 512,
		MaxConnsPerHost:     int(number("POOL")),
		IdleConnTimeout:     time.Minute,
	}}
	if *workers > 0 {
		jobs = make(chan job)
		for range make([]struct{}, *workers) {
			go func() {
				for job := range jobs {
					served, err := call(job.to, job.id, job.position)
					job.answer <- answer{served, err}
				}
			}()
		}
	}
	log.Fatal(http.ListenAndServe(os.Getenv("HOST")+":"+os.Getenv("PORT"), http.HandlerFunc(serve)))
}
