package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/gateway/xds/ads"
)

// A peer that is gone without a word is noticed within the sum of these.
const (
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
	// minPing is the shortest interval at which Envoys may ping.
	minPing = 2 * time.Second
)

// Server accepts the streams. It is a program.Task.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	// Address to listen on.
	Address  string
	TLS      *certs.Serving
	Hub      *Hub
	Observer Observer
	Log      *slog.Logger

	ready chan struct{}
	ctx   context.Context // of Run, so that streams end with it
}

// New returns a server that does not listen yet.
func New(address string, tls *certs.Serving, hub *Hub, o Observer, log *slog.Logger) *Server {
	return &Server{Address: address, TLS: tls, Hub: hub, Observer: o, Log: log, ready: make(chan struct{})}
}

// String names the task.
func (s *Server) String() string { return "xds-server" }

// Ready is closed once the server listens.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run listens once there is a certificate, and serves until ctx ends. Envoys
// keep what they have and connect to another replica.
func (s *Server) Run(ctx context.Context) error {
	select {
	case <-s.TLS.Loaded():
	case <-ctx.Done():
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listening for Envoys on %s: %w", s.Address, err)
	}
	return s.serve(ctx, l)
}

func (s *Server) serve(ctx context.Context, l net.Listener) error {
	s.ctx = ctx
	g := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(s.TLS.Config())),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.MaxRecvMsgSize(16<<20), // a client that comes back names all it has
	)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
	s.Log.Info("serving xDS", "address", l.Addr().String())
	close(s.ready)
	stopped := context.AfterFunc(ctx, g.Stop)
	defer stopped()
	if err := g.Serve(l); err != nil && ctx.Err() == nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serving xDS on %s: %w", s.Address, err)
	}
	return nil
}

// DeltaAggregatedResources serves one Envoy.
func (s *Server) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	// An Envoy whose stream has ended with the server may be back before its
	// connection ends too.
	if s.ctx.Err() != nil {
		return goingDown()
	}
	p, ok := peer.FromContext(g.Context())
	if !ok {
		return status.Error(codes.Unauthenticated, certs.ErrNoIdentity.Error())
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return status.Error(codes.Unauthenticated, certs.ErrNoIdentity.Error())
	}
	fleet, err := certs.Fleet(info.State.VerifiedChains[0][0])
	if err != nil {
		s.Log.Warn("stream refused", "peer", p.Addr.String(), "error", err)
		return status.Error(codes.PermissionDenied, err.Error())
	}
	st := &stream{
		fleet: fleet, wake: make(chan struct{}, 1), sent: map[string]sent{},
		session: ads.New(), hub: s.Hub, observer: s.Observer, grpc: g,
		log: s.Log.With("fleet", fleet.String(), "peer", p.Addr.String()),
	}
	ctx, cancel := context.WithCancel(g.Context())
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	err = st.run(ctx)
	st.log.Info("envoy gone", "reason", fmt.Sprint(err))
	return err
}

// goingDown is how streams end with the server.
func goingDown() error { return status.Error(codes.Unavailable, "the server is going down") }
