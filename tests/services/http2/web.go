package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type bytesValue = wrapperspb.BytesValue

// serveWeb answers calls of gRPC-Web by HTTP/1.1: unary ones, and others with a stream.
func serveWeb(listener net.Listener) error {
	end := func(plan plan) error {
		if plan.code == 0 {
			return nil
		}
		return connect.NewError(connect.Code(plan.code), errors.New("as asked: 100%"))
	}
	unary := func(_ context.Context, request *connect.Request[bytesValue]) (*connect.Response[bytesValue], error) {
		plan, err := parse(request.Header().Get("X-Path"))
		if err != nil {
			return nil, err
		}
		return connect.NewResponse(wrapperspb.Bytes(make([]byte, plan.size))), end(plan)
	}
	stream := func(_ context.Context, request *connect.Request[bytesValue], out *connect.ServerStream[bytesValue]) error {
		plan, err := parse(request.Header().Get("X-Path"))
		if err != nil {
			return err
		}
		for range plan.answers {
			if err := out.Send(wrapperspb.Bytes(make([]byte, plan.size))); err != nil {
				return err
			}
		}
		return end(plan)
	}
	one := connect.NewUnaryHandler("/test.v1.Calls/unary", unary)
	many := connect.NewServerStreamHandler("/test.v1.Calls/stream", stream)
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Handlers are not told of the path, which has the plan.
		r.Header.Set("X-Path", r.URL.Path)
		if strings.Contains(r.URL.Path, "/stream_") {
			many.ServeHTTP(w, r)
		} else {
			one.ServeHTTP(w, r)
		}
	}))
}

// callWeb is call by gRPC-Web, one call after the other.
func callWeb(address string) {
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		method := input.Text()
		plan, err := parse(method)
		if err != nil {
			log.Fatal(err)
		}
		client := connect.NewClient[bytesValue, bytesValue](http.DefaultClient, "http://"+address+method, connect.WithGRPCWeb())
		request := connect.NewRequest(wrapperspb.Bytes(make([]byte, plan.size)))
		if plan.kind == "stream" {
			var stream *connect.ServerStreamForClient[bytesValue]
			if stream, err = client.CallServerStream(context.Background(), request); err == nil {
				for stream.Receive() {
				}
				err = stream.Err()
				stream.Close()
			}
		} else {
			_, err = client.CallUnary(context.Background(), request)
		}
		code := 0
		if err != nil {
			code = int(connect.CodeOf(err))
		}
		fmt.Println(method, code)
	}
}
