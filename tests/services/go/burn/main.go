// Burns a processor for so many seconds, in a goroutine: work > leaf.
package main

import (
	"os"
	"strconv"
	"time"
)

var sink uint64

// What it works on is on the stack: a function that keeps nothing there has no frame.
//
//go:noinline
func leaf(rounds int) {
	var local [16]uint64
	for i := 0; i < rounds; i++ {
		local[i&15] = local[(i+1)&15]*6364136223846793005 + 1442695040888963407
	}
	sink += local[rounds&15]
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
