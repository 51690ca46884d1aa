//go:build cgo_calls

package main

/*
#include <pthread.h>

static unsigned long self(void) { return (unsigned long)pthread_self(); }
*/
import "C"

func init() {
	if C.self() == 0 {
		panic("C has no threads")
	}
}
