// Asks a name server for addresses of names with Go's own resolver: SERVER NAME...
package main

import (
	"context"
	"fmt"
	"net"
	"os"
)

func main() {
	resolver := net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, network, os.Args[1])
		},
	}
	for _, name := range os.Args[2:] {
		addresses, err := resolver.LookupIP(context.Background(), "ip4", name)
		fmt.Println(name, addresses, err)
	}
}
