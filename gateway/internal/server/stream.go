package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"k8s.io/apimachinery/pkg/types"

	"github.com/porchlight-lb/porchlight/gateway/xds/ads"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// stream is one Envoy's stream; one goroutine owns the session.
type stream struct {
	fleet types.NamespacedName
	// pod is the name that the Envoy gives itself. Nothing is granted by it.
	pod  string
	wake chan struct{} // a snapshot is there
	sent map[string]sent
	live []string

	session  *ads.Session
	hub      *Hub
	observer Observer
	log      *slog.Logger
	grpc     discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
}

// sent is a response that was not answered yet.
type sent struct {
	at    time.Time
	items int
}

// run serves the stream until it ends. A client that is gone is no error.
func (s *stream) run(ctx context.Context) error {
	requests := make(chan *discoveryv3.DeltaDiscoveryRequest)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for {
			req, err := s.grpc.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case requests <- req:
			case <-ctx.Done():
				return
			}
		}
	}()
	s.hub.join(s)
	defer s.hub.leave(s)
	for {
		var out ads.Output
		select {
		case <-ctx.Done():
			return goingDown()
		case err := <-ended:
			return err
		case <-s.wake:
			set := s.hub.snapshot(s.fleet)
			if set == nil {
				continue
			}
			out = s.session.Publish(set)
		case req := <-requests:
			if s.pod == "" {
				s.pod = req.GetNode().GetId()
				s.log = s.log.With("envoy", s.pod)
				s.log.Info("envoy connected", "version", userAgent(req))
			}
			s.log.Debug("request", "type", typeLabel(resource.Type(req.GetTypeUrl())), "nonce", req.GetResponseNonce(),
				"subscribe", req.GetResourceNamesSubscribe(), "unsubscribe", req.GetResourceNamesUnsubscribe(),
				"has", len(req.GetInitialResourceVersions()), "error", req.GetErrorDetail().GetMessage())
			var err error
			var unknown *ads.UnknownTypeError
			if out, err = s.session.Request(req); errors.As(err, &unknown) {
				s.log.Warn("request ignored", "error", err)
				continue
			}
		}
		if err := s.put(out); err != nil {
			return err
		}
	}
}

// put sends what the session wants sent, and tells what it has learnt.
func (s *stream) put(out ads.Output) error {
	for _, a := range out.Acks {
		if was, ok := s.sent[a.Nonce]; ok {
			ackSeconds.WithLabelValues(typeLabel(a.Type)).Observe(time.Since(was.at).Seconds())
			delete(s.sent, a.Nonce)
		}
		if a.Refused {
			refusals.WithLabelValues(typeLabel(a.Type), "Response").Inc()
		}
	}
	for _, r := range out.Refusals {
		refusals.WithLabelValues(typeLabel(r.Type), "Resource").Inc()
		s.log.Warn("envoy refuses a resource", "type", typeLabel(r.Type), "resource", r.Name, "version", r.Version, "detail", r.Detail)
		s.observer.Refused(s.fleet, s.pod, r)
	}
	for _, resp := range out.Responses {
		n := len(resp.GetResources()) + len(resp.GetRemovedResources())
		s.sent[resp.GetNonce()] = sent{at: time.Now(), items: n}
		t := typeLabel(resource.Type(resp.GetTypeUrl()))
		pushes.WithLabelValues(t).Inc()
		pushed.WithLabelValues(t).Add(float64(n))
		s.log.Debug("response", "type", t, "nonce", resp.GetNonce(), "resources", len(resp.GetResources()), "removed", resp.GetRemovedResources())
		if err := s.grpc.Send(resp); err != nil {
			return err
		}
	}
	if live := s.session.Live(); live != nil && !slices.Equal(live, s.live) {
		s.live = live
		s.observer.Serves(s.fleet, s.pod, live)
	}
	return nil
}

func userAgent(req *discoveryv3.DeltaDiscoveryRequest) string {
	v := req.GetNode().GetUserAgentBuildVersion().GetVersion()
	if v == nil {
		return ""
	}
	return req.GetNode().GetUserAgentName()
}
