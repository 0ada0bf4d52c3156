//go:build e2e

package fleet

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
)

const (
	// keepers hold a connection each and ask keptPerSecond times a second on
	// it; newPerSecond requests a second come on a connection of their own.
	keepers       = 10
	keptPerSecond = 10
	newPerSecond  = 100
	// answered is how long an answer may take.
	answered = 5 * time.Second
)

// answering is what an EnvoyFleet of a test says that wants each request to be
// answered: processor time, as the default fleet asks for. An Envoy that asks
// for none stands still for seconds when its node is busy, as it is when pods
// start there.
const answering = "resources: {requests: {cpu: 100m}}"

// load is what a client of a Gateway saw.
type load struct {
	mu       sync.Mutex
	began    time.Time
	requests int
	failed   []failure
}

// failure is a request that was not answered with 200.
type failure struct {
	kind        string
	from, until time.Time
	err         error
}

func (l *load) note(kind string, at time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	if err != nil {
		l.failed = append(l.failed, failure{kind, at, time.Now(), err})
	}
}

// report fails the test for each request that failed and is not excused.
func (l *load) report(t *testing.T, excused func(failure) bool) {
	t.Helper()
	t.Logf("%d requests, %d failed", l.requests, len(l.failed))
	told := 0
	for _, f := range l.failed {
		says := fmt.Sprintf("%s after %v, under way for %v: %v", f.kind,
			f.from.Sub(l.began).Round(time.Millisecond), f.until.Sub(f.from).Round(time.Millisecond), f.err)
		switch {
		case excused(f):
			t.Logf("excused: %s", says)
		case told < 20:
			told++
			t.Error(says)
		default:
			t.Error("… and more")
			return
		}
	}
}

// underLoad asks url from the client's host 200 times a second while it does
// what during does, and for a second before and after. Every request must be
// answered with 200.
func underLoad(t *testing.T, c *cluster.Cluster, url string, during func()) {
	t.Helper()
	ask(t, c, url, during).report(t, func(failure) bool { return false })
}

// ask is underLoad without a judgement.
func ask(t *testing.T, c *cluster.Cluster, url string, during func()) *load {
	t.Helper()
	l := &load{began: time.Now()}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range keepers {
		wg.Go(func() {
			transport := &http.Transport{DialContext: c.Lab.Dialer("client")}
			defer transport.CloseIdleConnections()
			each(ctx, keptPerSecond, func() { l.ask(transport, url, "kept connection") })
		})
	}
	wg.Go(func() {
		transport := &http.Transport{DialContext: c.Lab.Dialer("client"), DisableKeepAlives: true}
		each(ctx, newPerSecond, func() { wg.Go(func() { l.ask(transport, url, "new connection") }) })
	})
	func() {
		defer wg.Wait()
		defer stop()
		pause(ctx)
		during()
		pause(ctx)
	}()
	return l
}

func (l *load) ask(transport *http.Transport, url, kind string) {
	at := time.Now()
	// It ends by itself, so that what is under way at the end is not failed.
	ctx, cancel := context.WithTimeout(context.Background(), answered)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err == nil {
		var resp *http.Response
		if resp, err = transport.RoundTrip(req); err == nil {
			if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d", resp.StatusCode)
			}
			_ = resp.Body.Close() // it has been read
		}
	}
	l.note(kind, at, err)
}

// each calls f perSecond times a second until ctx ends.
func each(ctx context.Context, perSecond int, f func()) {
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f()
		}
	}
}

// pause is the time before and after in which nothing happens.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
}

// underWay sends n requests, each on a connection of its own, does what during
// does once all of them are sent, and wants each answered with 200.
func underWay(t *testing.T, c *cluster.Cluster, url string, n int, during func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	sent, answers := make(chan struct{}, n), make(chan error, n)
	transport := &http.Transport{DialContext: c.Lab.Dialer("client"), DisableKeepAlives: true}
	for range n {
		go func() {
			trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { sent <- struct{}{} }}
			req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, url, nil)
			if err != nil {
				answers <- err
				return
			}
			resp, err := transport.RoundTrip(req)
			if err == nil {
				if resp.StatusCode != http.StatusOK {
					err = fmt.Errorf("status %d", resp.StatusCode)
				}
				_ = resp.Body.Close() // its status is what is asked about
			}
			answers <- err
		}()
	}
	for range n {
		select {
		case <-sent:
		case err := <-answers:
			t.Fatalf("a request was answered before all were sent: %v", err)
		}
	}
	during()
	for range n {
		if err := <-answers; err != nil {
			t.Errorf("a request that was under way: %v", err)
		}
	}
}
