package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"
)

// raw hands messages on as they are.
type raw struct{}

func (raw) Name() string                  { return "raw" }
func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// plan is what a method's name asks for: KIND_MESSAGES_ANSWERS_SIZE_CODE_NUMBER.
type plan struct {
	kind                          string
	messages, answers, size, code int
}

func parse(method string) (plan, error) {
	parts := strings.Split(method[strings.LastIndex(method, "/")+1:], "_")
	if len(parts) != 6 {
		return plan{}, errors.New("no plan")
	}
	var numbers [4]int
	for i := range numbers {
		number, err := strconv.Atoi(parts[i+1])
		if err != nil {
			return plan{}, err
		}
		numbers[i] = number
	}
	return plan{parts[0], numbers[0], numbers[1], numbers[2], numbers[3]}, nil
}

// handle does what the method's name asks for.
func handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	plan, err := parse(method)
	if err != nil {
		return status.Error(codes.Unimplemented, err.Error())
	}
	message, answer := []byte{}, make([]byte, plan.size)
	sent := 0
	send := func() error { sent++; return stream.SendMsg(&answer) }
	for {
		err := stream.RecvMsg(&message)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if plan.kind == "chat" && sent < plan.answers {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if plan.kind == "fan" {
		if err := fan(method, plan); err != nil {
			return err
		}
	}
	for sent < plan.answers {
		if err := send(); err != nil {
			return err
		}
	}
	if plan.kind == "slow" {
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	if plan.code != 0 && plan.kind != "fan" {
		return status.Error(codes.Code(plan.code), "as asked: 100%")
	}
	return nil
}

// self is the server's connection to itself.
var self *grpc.ClientConn

// fan makes two calls at once, and then another one, to the same server, each with the next digit after its own number. With a code
// above 0, the two do so as well, with one less.
func fan(method string, of plan) error {
	number, err := strconv.Atoi(method[strings.LastIndex(method, "_")+1:])
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	// Not in the order in which they came.
	time.Sleep(time.Duration(number*7919%20) * time.Millisecond)
	ask := func(kind string, code, digit int) error {
		message, answer := make([]byte, of.size), []byte{}
		return self.Invoke(context.Background(), fmt.Sprintf("/test.v1.Calls/%s_1_1_%d_%d_%d", kind, of.size, code, number*10+digit), &message, &answer)
	}
	kind, code := "unary", 0
	if of.code > 0 {
		kind, code = "fan", of.code-1
	}
	results := make([]error, 3)
	var both sync.WaitGroup
	for i := range 2 {
		both.Go(func() { results[i] = ask(kind, code, i) })
	}
	both.Wait()
	results[2] = ask("unary", 0, 2)
	return errors.Join(results...)
}

func dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
}

func serve(listener net.Listener) error {
	encoding.RegisterCodec(raw{})
	var err error
	if self, err = dial(listener.Addr().String()); err != nil {
		return err
	}
	return grpc.NewServer(grpc.UnknownServiceHandler(handle), grpc.ForceServerCodec(raw{})).Serve(listener)
}

// call makes the calls that its input names, a method in each line, as they come, eight at a time on one connection, and prints for
// each what it came to: METHOD CODE.
func call(address string) {
	connection, err := dial(address)
	if err != nil {
		log.Fatal(err)
	}
	methods := make(chan string)
	var workers sync.WaitGroup
	var printing sync.Mutex
	for range 8 {
		workers.Go(func() {
			for method := range methods {
				err := one(connection, method)
				printing.Lock()
				fmt.Println(method, uint32(status.Code(err)))
				printing.Unlock()
			}
		})
	}
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		methods <- input.Text()
	}
	close(methods)
	workers.Wait()
}

func one(connection *grpc.ClientConn, method string) error {
	plan, err := parse(method)
	if err != nil {
		return err
	}
	limit := 20 * time.Second
	if plan.kind == "slow" {
		limit = 300 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	message, answer := make([]byte, plan.size), []byte{}
	if plan.kind == "unary" || plan.kind == "fan" {
		return connection.Invoke(ctx, method, &message, &answer)
	}
	stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err
	}
	for range plan.messages {
		if err := stream.SendMsg(&message); err != nil {
			break
		}
		if plan.kind == "chat" {
			if err := stream.RecvMsg(&answer); err != nil {
				return err
			}
		}
	}
	stream.CloseSend()
	for {
		if err := stream.RecvMsg(&answer); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}
