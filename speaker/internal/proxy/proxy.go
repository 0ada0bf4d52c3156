// Package proxy watches the node's service proxy: a node whose proxy is not healthy, and so
// attracts traffic that it cannot forward, should yield (Watch), and an address that the
// proxy does not know yet should not be announced (Gate).
package proxy

import (
	"context"
	"net/http"
	"time"
)

const (
	every = time.Second
	// failures in a row make the proxy unhealthy: a restart takes less.
	failures = 8
)

// Watch asks url until ctx ends, and reports changes. A proxy that never
// answered is not there to be watched: other proxies have no such endpoint.
func Watch(ctx context.Context, url string, report func(down bool)) {
	client := &http.Client{Timeout: every, Transport: &http.Transport{DisableKeepAlives: true}}
	follow(ctx, func() bool { return healthy(ctx, client, url) }, report)
}

func follow(ctx context.Context, healthy func() bool, report func(down bool)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	seen, down, failed := false, false, 0
	for {
		if healthy() {
			seen, failed = true, 0
		} else {
			failed++
		}
		if now := seen && failed >= failures; now != down {
			down = now
			report(down)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func healthy(ctx context.Context, client *http.Client, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode < http.StatusInternalServerError
}
