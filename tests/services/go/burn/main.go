// Burns a processor for so many seconds, in a goroutine: work > leaf.
package main

import (
	"os"
	"strconv"
	"time"
)

var sink uint64

//go:noinline
func leaf(rounds int) {
	for i := 0; i < rounds; i++ {
		sink = sink*6364136223846793005 + 1442695040888963407
	}
}

//go:noinline
func work(until time.Time) {
	for time.Now().Before(until) {
		leaf(1_000_000)
	}
}

func main() {
	seconds, err := strconv.ParseFloat(os.Args[1], 64)
	if err != nil {
		panic(err)
	}
	done := make(chan struct{})
	go func() {
		work(time.Now().Add(time.Duration(seconds * float64(time.Second))))
		close(done)
	}()
	<-done
}
