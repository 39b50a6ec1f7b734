// Command badnet is a bad network between two programs that speak TCP, for kernels that have no
// netem: bytes come late, some much later as if a packet had been lost and sent again,
// connections break, and while a file is there nothing passes at all.
//
//	badnet -listen 127.0.0.1:4222 -to 192.0.2.1:4222 -delay 50ms -loss 0.05 -cut 60s -hold FILE
package main

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"time"
)

// A link is what lies between the two programs.
type link struct {
	delay time.Duration // each way
	loss  float64       // share of the packets that are lost; each comes late by resend
	// cut is how long a connection lasts on average before it breaks; 0: for ever
	cut  time.Duration
	hold string // the file while whose existence nothing passes, or ""

	passed, lost, broken atomic.Int64 // packets, packets, connections
}

// resend is what TCP waits at least before it sends a lost packet again (RFC 6298 allows less than
// its second; Linux takes 200 ms).
const resend = 200 * time.Millisecond

// packet is the payload of a packet on Ethernet.
const packet = 1448

func main() {
	l := &link{}
	listen := flag.String("listen", "127.0.0.1:4222", "`HOST:PORT` of the program that calls")
	to := flag.String("to", "", "`HOST:PORT` of the program that is called")
	flag.DurationVar(&l.delay, "delay", 50*time.Millisecond, "delay each way")
	flag.Float64Var(&l.loss, "loss", 0.05, "share of packets that are lost and sent again")
	flag.DurationVar(&l.cut, "cut", 0, "how long a connection lasts on average; 0: for ever")
	flag.StringVar(&l.hold, "hold", "", "while `FILE` is there, nothing passes")
	flag.Parse()
	in, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, "badnet:", err)
		os.Exit(1)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt)
	go func() {
		<-end
		fmt.Println(l.counts())
		os.Exit(0)
	}()
	l.serve(in, *to)
}

// counts says what happened, for a script.
func (l *link) counts() string {
	return fmt.Sprintf("packets=%d lost=%d broken=%d", l.passed.Load(), l.lost.Load(), l.broken.Load())
}

// serve takes connections until in is closed.
func (l *link) serve(in net.Listener, to string) {
	for {
		a, err := in.Accept()
		if err != nil {
			return
		}
		go func() {
			defer a.Close()
			l.wait()
			b, err := net.DialTimeout("tcp", to, 10*time.Second)
			if err != nil {
				return
			}
			defer b.Close()
			done := make(chan struct{}, 2)
			for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
				go func() {
					l.carry(way[1], way[0])
					done <- struct{}{}
				}()
			}
			var cut <-chan time.Time
			if l.cut > 0 {
				cut = time.After(time.Duration(rand.ExpFloat64() * float64(l.cut)))
			}
			select {
			case <-done: // what closes on one side closes on the other
			case <-cut:
				l.broken.Add(1)
				for _, c := range []net.Conn{a, b} {
					if t, ok := c.(*net.TCPConn); ok {
						_ = t.SetLinger(0) // a reset, not an end
					}
				}
			}
		}()
	}
}

// A late is bytes that arrive at a time.
type late struct {
	data []byte
	at   time.Time
}

// carry takes what from sends to to, in order, until one of them ends. Some megabytes may be on
// the way.
func (l *link) carry(to io.Writer, from io.Reader) {
	way := make(chan late, 2048)
	go func() {
		defer close(way)
		at := time.Now()
		for {
			b := make([]byte, packet)
			n, err := from.Read(b)
			if n > 0 {
				l.passed.Add(1)
				t := time.Now().Add(l.delay)
				if rand.Float64() < l.loss {
					l.lost.Add(1)
					t = t.Add(resend)
				}
				if t.Before(at) { // behind one that was lost
					t = at
				}
				at = t
				way <- late{b[:n], t}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range way {
		time.Sleep(time.Until(p.at))
		l.wait()
		if _, err := to.Write(p.data); err != nil {
			for range way { // the reader ends once its connection is closed
			}
			return
		}
	}
}

// wait returns once the file hold is not there.
func (l *link) wait() {
	for l.hold != "" {
		if _, err := os.Lstat(l.hold); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
