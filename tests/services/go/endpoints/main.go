// An HTTP server whose endpoints are known by the functions that they spend their time in:
//
//	endpoints PORT
//
// /light/ID, /medium/ID and /heavy/ID spend one, two and four parts of processor time in burnLight, burnMedium and burnHeavy; half of
// it in a goroutine that the handler starts and waits for.
package main

import (
	"net/http"
	"os"
)

var sink uint64

func burn(parts int) {
	local := uint64(parts)
	for i := 0; i < parts*400000; i++ {
		local = local*6364136223846793005 + 1442695040888963407
	}
	if local == 0 {
		sink++
	}
}

//go:noinline
func burnLight() { burn(1); sink += 0 }

//go:noinline
func burnMedium() { burn(2); sink += 0 }

//go:noinline
func burnHeavy() { burn(4); sink += 0 }

func endpoint(work func()) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		done := make(chan struct{})
		go func() {
			work()
			close(done)
		}()
		<-done
		work()
		_, _ = w.Write([]byte("ok"))
	}
}

func main() {
	http.HandleFunc("/light/", endpoint(burnLight))
	http.HandleFunc("/medium/", endpoint(burnMedium))
	http.HandleFunc("/heavy/", endpoint(burnHeavy))
	if err := http.ListenAndServe("127.0.0.1:"+os.Args[1], nil); err != nil {
		panic(err)
	}
}
