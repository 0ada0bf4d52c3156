package gossip

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/speaker/election"
)

// The figures of docs/decisions/0006-membership.md. Each member is a process of
// its own, as in a cluster, but all are on one machine, whose processors they
// share.
//
//	go test ./speaker/internal/gossip -run '^$' -bench . -benchtime 5x

// asMember, in the environment, has the program be one of so many members:
// "2/3" is the second of three.
const asMember = "PORCHLIGHT_MEMBER"

// beMember takes part until its input ends, and prints what it logs.
func beMember(which string) {
	var i, n int
	if _, err := fmt.Sscanf(which, "%d/%d", &i, &n); err != nil {
		panic(err)
	}
	var peers []Peer
	for i := range n {
		peers = append(peers, Peer{memberName(i), netip.AddrFrom4([4]byte{127, 1, 0, byte(i + 1)})})
	}
	g, err := Start(Config{
		Resolve: func(netip.Addr, netip.Addr) {},
		Node:    peers[i].Node, IP: peers[i].IP, Port: 7947, Key: bytes.Repeat([]byte("k"), 32),
		Log:  slog.New(slog.NewTextHandler(os.Stdout, nil)),
		Post: func(election.Event) {}, State: func() []byte { return election.Message{}.Marshal() },
		Peers: func() []Peer { return peers },
	})
	if err != nil {
		panic(err)
	}
	go g.Run(context.Background())
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

func memberName(i int) string { return "n" + strconv.Itoa(i+1) }

// process is a member, and the lines that it logs.
type process struct {
	cmd   *exec.Cmd
	lines chan string
}

// members starts so many, and waits until all know all.
func members(b *testing.B, n int) (all []*process) {
	b.Helper()
	for i := range n {
		p := &process{cmd: exec.Command("/proc/self/exe"), lines: make(chan string, 10000)}
		p.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d/%d", asMember, i, n))
		if _, err := p.cmd.StdinPipe(); err != nil { // ends with this process
			b.Fatal(err)
		}
		out, err := p.cmd.StdoutPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := p.cmd.Start(); err != nil {
			b.Fatal(err)
		}
		go func() {
			defer close(p.lines)
			for s := bufio.NewScanner(out); s.Scan(); {
				p.lines <- s.Text()
			}
		}()
		all = append(all, p)
	}
	for _, p := range all {
		for range n - 1 {
			p.await(b, "speaker joined")
		}
	}
	return all
}

func (p *process) await(b *testing.B, what string) {
	b.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case line, open := <-p.lines:
			if !open {
				b.Fatalf("a member ended, and never said %q", what)
			}
			if strings.Contains(line, what) {
				return
			}
		case <-deadline:
			b.Fatalf("a member never said %q", what)
		}
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// BenchmarkDetection is how long a member that is killed is believed alive, by
// the last of the others to notice.
func BenchmarkDetection(b *testing.B) {
	for _, n := range []int{3, 10} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			var worst, sum time.Duration
			for range b.N {
				all := members(b, n)
				time.Sleep(2 * time.Second) // until the joins are told and forgotten
				began := time.Now()
				all[n-1].kill()
				for _, p := range all[:n-1] {
					p.await(b, "speaker left")
				}
				took := time.Since(began)
				worst, sum = max(worst, took), sum+took
				for _, p := range all[:n-1] {
					p.kill()
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(sum.Milliseconds())/float64(b.N), "ms-mean")
			b.ReportMetric(float64(worst.Milliseconds()), "ms-worst")
		})
	}
}

// BenchmarkFalseDeaths counts, for ten seconds, the deaths of members that live:
// those that memberlist declared, and those of them that were believed. So many
// processes beside them want each processor.
func BenchmarkFalseDeaths(b *testing.B) {
	for _, hogs := range []int{0, 5, 10, 20} {
		b.Run(fmt.Sprintf("nodes=3,hogs=%d", hogs), func(b *testing.B) {
			var believed, doubted, seconds float64
			for range b.N {
				all := members(b, 3)
				ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
				began := time.Now()
				for range hogs * runtime.NumCPU() {
					hog := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
					if err := hog.Start(); err != nil {
						b.Fatal(err)
					}
					defer func() { _ = hog.Wait() }()
				}
				<-ctx.Done()
				stop()
				seconds += time.Since(began).Seconds()
				for _, p := range all {
					p.kill()
					for line := range p.lines {
						switch {
						case strings.Contains(line, "speaker left"):
							believed++
						case strings.Contains(line, "not dead"):
							doubted++
						}
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(60*(believed+doubted)/seconds, "declared/min")
			b.ReportMetric(60*believed/seconds, "believed/min")
		})
	}
}
