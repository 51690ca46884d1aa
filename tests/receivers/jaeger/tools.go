//go:build tools

// Package tools pins the receiver that the end-to-end tests read spans back from.
package tools

import _ "github.com/jaegertracing/jaeger/cmd/jaeger"
