// Command speaker runs on every node. The speakers agree who answers for each
// address, and answer ARP and NDP for it; or each announces it over BGP. The
// decisions are in election, layer2, bgp and bfd, the rest in internal.
//
// It needs the host's network and the capability NET_RAW, for the raw sockets;
// nothing else.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/porchlight-lb/porchlight/internal/names"
	"github.com/porchlight-lb/porchlight/internal/program"
	"github.com/porchlight-lb/porchlight/speaker/bgp"
	"github.com/porchlight-lb/porchlight/speaker/election"
	"github.com/porchlight-lb/porchlight/speaker/internal/advertise"
	"github.com/porchlight-lb/porchlight/speaker/internal/agent"
	"github.com/porchlight-lb/porchlight/speaker/internal/detector"
	"github.com/porchlight-lb/porchlight/speaker/internal/gossip"
	"github.com/porchlight-lb/porchlight/speaker/internal/kube"
	"github.com/porchlight-lb/porchlight/speaker/internal/originate"
	"github.com/porchlight-lb/porchlight/speaker/internal/peering"
	"github.com/porchlight-lb/porchlight/speaker/internal/proxy"
	"github.com/porchlight-lb/porchlight/speaker/internal/segment"
	"github.com/porchlight-lb/porchlight/speaker/internal/status"
	"github.com/porchlight-lb/porchlight/speaker/internal/watch"
)

type options struct {
	program.Options
	node, ip, pod string
	gossipPort    int
	join          time.Duration
	refresh       time.Duration
	drain         time.Duration
	bgpDrain      time.Duration
	ignoreExclude bool
	class         names.Class
	proxyHealth   string
}

func main() {
	var o options
	o.Bind(flag.CommandLine)
	flag.StringVar(&o.node, "node-name", os.Getenv("NODE_NAME"), "name of this node")
	flag.StringVar(&o.pod, "pod-name", os.Getenv("POD_NAME"), "name of this pod; with what it belongs to goes what this program writes")
	flag.StringVar(&o.ip, "node-ip", os.Getenv("NODE_IP"), "address of this node, for gossip")
	flag.IntVar(&o.gossipPort, "gossip-port", 7947, "port of the gossip, UDP and TCP")
	flag.DurationVar(&o.join, "join-timeout", 5*time.Second, "how long to look for other speakers before going on alone")
	flag.DurationVar(&o.refresh, "announce-refresh", time.Minute, "time between announcements of an address that stays")
	flag.DurationVar(&o.drain, "drain-timeout", 5*time.Second, "how long to wait at a stop until others took over")
	flag.StringVar(&o.class.Name, "lb-class", names.LoadBalancerClass, "spec.loadBalancerClass of the Services to announce")
	flag.BoolVar(&o.class.Required, "require-class", false, "leave Services without a loadBalancerClass alone")
	flag.DurationVar(&o.bgpDrain, "bgp-drain-time", 3*time.Second, "how long BGP peers without graceful restart have at a stop to turn to other paths")
	flag.BoolVar(&o.ignoreExclude, "ignore-exclude-lb", false, "announce also from nodes labelled node.kubernetes.io/exclude-from-external-load-balancers")
	flag.StringVar(&o.proxyHealth, "proxy-health-url", "http://127.0.0.1:10256/livez", "health of kube-proxy; a node whose proxy was healthy and is not any more yields, and new addresses wait until the proxy knows them; empty: there is none")
	flag.Parse()

	ctx, stop := program.Context()
	defer stop()
	log, err := o.Logger("speaker")
	if err == nil {
		err = run(ctx, o, log)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "speaker:", err)
		os.Exit(1)
	}
}

// gcPercent trades a little processor time for memory: the speaker's heap is
// small, hardly changes, and is on every node.
const gcPercent = 25

func run(ctx context.Context, o options, log *slog.Logger) error {
	ip, err := netip.ParseAddr(o.ip)
	if err != nil || o.node == "" {
		return fmt.Errorf("--node-name %q and --node-ip %q: want the node's name and address", o.node, o.ip)
	}
	config, err := program.Cluster()
	if err != nil {
		return err
	}
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return fmt.Errorf("connecting to the API server: %w", err)
	}
	api, err := kube.New(config, transport, kube.Scheme())
	if err != nil {
		return err
	}
	events := kube.NewEvents(log, api.Events)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	speaker := agent.New(log, o.node)
	speaker.Drain = o.drain

	lan := segment.New(log)
	lan.Refresh = o.refresh
	lan.Fresh = speaker.Fresh

	writer := &status.Writer{
		Log: log, Node: o.node, Namespace: o.Namespace, API: api, Ask: speaker.Do,
		Recorder: events,
	}
	writer.Init()

	routes := peering.New(log, o.node)
	routes.RouterID = peering.RouterID(o.node, ip)
	routes.Drain = o.bgpDrain
	paths, err := detector.New(log)
	if err != nil {
		return err
	}
	prometheus.MustRegister(paths)
	paths.Changed = routes.BFDChanged
	paths.Until = routes.Done() // a router may take the end of BFD for that of the path
	routes.BFD = paths
	writer.Plan = routes.Do
	sessions := &status.Sessions{
		Log: log, Node: o.node, Namespace: o.Namespace, API: api, Plan: routes.Do,
		Recorder: events,
		Writer: func() (node string) {
			speaker.Do(func(e *election.Election) { node = e.Writer() })
			return node
		},
	}
	sessions.Init()
	routes.Changed = sessions.Changed
	routes.Touched = func(ips []netip.Addr) {
		writer.RoutesChanged(ips)
		sessions.Touch()
	}

	gate := newGate(o, log)
	objects := watch.New(o.Namespace, o.ignoreExclude, gate, advertise.New(speaker.Post, gate.Held), originate.New(routes.Post, gate.Held), writer)
	objects.Class = o.class
	gate.Open, gate.Overdue = objects.Touch, writer.ProxyBehind
	writer.View = objects.View

	lan.Post = func(ev election.Event) {
		speaker.Post(ev)
		if saw, ok := ev.(election.SawAnnouncement); ok {
			writer.Heard(saw.IP)
		}
	}

	speaker.Segment = lan
	speaker.Reporter = writer
	speaker.Begin = func(ctx context.Context, serve func(task func(context.Context) error)) (int, error) {
		sensed := make(chan struct{})
		serve(func(ctx context.Context) error { return lan.Run(ctx, sensed) })
		if err := objects.Start(ctx, api); err != nil {
			return 0, err
		}
		debug.FreeOSMemory() // what decoding the lists took is not needed again
		witness, err := kube.APIService(ctx, log, api.Core)
		if err != nil {
			return 0, err
		}
		gate.Witness = witness
		// Neither the other speakers nor the BGP peers are to think that this node
		// has given up what it is about to announce again.
		serve(func(ctx context.Context) error { gate.Run(ctx); return nil })
		select {
		case <-gate.Settled():
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		routes.Begin()
		owners, err := kube.Owners(ctx, log, api.Core, o.Namespace, o.pod)
		if err != nil {
			return 0, err
		}
		writer.Owners, sessions.Owners = owners, owners
		serve(func(ctx context.Context) error { sessions.Run(ctx); return nil })
		key, err := gossip.Key(ctx, log, api.Core, o.Namespace)
		if err != nil {
			return 0, err
		}
		select {
		case <-sensed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		members, err := gossip.Start(gossip.Config{
			Node: o.node, IP: ip, Port: o.gossipPort, Key: key, Log: log,
			Post: speaker.Post, State: speaker.State, Peers: func() []gossip.Peer { return peers(objects) }, Resolve: lan.Resolve,
		})
		if err != nil {
			return 0, err
		}
		speaker.Connect(members)
		others := members.Join(ctx, o.join)
		serve(func(ctx context.Context) error { members.Run(ctx); return nil })
		serve(func(ctx context.Context) error { writer.Run(ctx); return nil })
		serve(func(ctx context.Context) error { events.Run(ctx); return nil })
		if o.proxyHealth != "" {
			serve(func(ctx context.Context) error {
				proxy.Watch(ctx, o.proxyHealth, func(down bool) {
					speaker.Post(election.SetProxy{Down: down})
					routes.Post(bgp.SetProxy{Down: down})
				})
				return nil
			})
		}
		return others, nil
	}
	return o.Run(ctx, paths, speaker, routes)
}

// newGate holds nothing back where there is no kube-proxy, or the kernel cannot
// be asked.
func newGate(o options, log *slog.Logger) *proxy.Gate {
	if o.proxyHealth == "" {
		return proxy.NewGate(log, nil)
	}
	kernel, err := proxy.NewKernel()
	if err != nil {
		log.Warn("addresses are announced before the node's service proxy knows them", "error", err)
		return proxy.NewGate(log, nil)
	}
	return proxy.NewGate(log, kernel.Ask)
}

// peers are the speakers that the API knows.
func peers(objects *watch.Watch) (out []gossip.Peer) {
	objects.View(func(s *watch.State) {
		for _, at := range s.Speakers {
			out = append(out, gossip.Peer(at))
		}
	})
	return out
}
