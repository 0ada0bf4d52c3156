//go:build e2e

package bgp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

// counts are the writes to objects, by kind and name.
type counts map[string]int

// writes counts the writes to the objects of a list until ctx ends.
func (f *fabric) writes(ctx context.Context, list client.ObjectList, done chan<- counts) error {
	w, err := f.Watch(ctx, list, client.InNamespace(cluster.System))
	if err != nil {
		return err
	}
	go func() {
		all := counts{}
		for e := range w.ResultChan() {
			o, ok := e.Object.(client.Object)
			if ok && (e.Type == watch.Modified || e.Type == watch.Deleted) {
				all[fmt.Sprintf("%T %s", o, o.GetName())]++
			}
		}
		done <- all
	}()
	return nil
}

// However fast sessions and Services change, an object is written once a second
// at most; and events tell of changes alone.
func TestBoundedWrites(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	f.Apply(t, cluster.System, advertisement("routed"))
	ips := f.announced(t, f.namespace, dualStack.service("busy", local))
	f.everywhere(t, ips, f.names()...)

	// What does not change a session makes no event of it.
	before := f.peerEvents(t)
	f.announced(t, f.namespace, dualStack.service("quiet"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan counts)
	lists := []client.ObjectList{&v1beta1.BGPSessionStateList{}, &v1beta1.ServiceBGPStatusList{}, &v1beta1.ConfigurationStateList{}}
	for _, list := range lists {
		if err := f.writes(ctx, list, done); err != nil {
			t.Fatal(err)
		}
	}
	if after := f.peerEvents(t); after != before {
		t.Errorf("%d events tell of peers of which nothing changed", after-before)
	}
	began := time.Now()
	service := func(selector string) {
		t.Helper()
		f.Apply(t, f.namespace, strings.Replace(dualStack.service("busy", local), "app: echo", "app: "+selector, 1))
	}
	rounds := 0
	for ; time.Since(began) < 6*time.Second; rounds++ {
		if _, err := f.vtysh(t.Context(), "clear bgp *"); err != nil {
			t.Fatal(err)
		}
		f.Apply(t, cluster.System, peer("frr-twin", to(lab.HostFRR, false)...))
		service("nobody")
		if err := f.Delete(t.Context(), &v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "frr-twin"}}); err != nil {
			t.Fatal(err)
		}
		service("echo")
	}
	f.everywhere(t, ips, f.names()...)
	most := int(time.Since(began)/time.Second) + 2
	cancel()
	written := 0
	for range lists {
		for name, n := range <-done {
			written += n
			if n > most {
				t.Errorf("%s was written %d times in %v", name, n, time.Since(began))
			}
		}
	}
	t.Logf("%d writes in %d rounds", written, rounds)
	if written == 0 {
		t.Error("nothing was written")
	}
}

// peerEvents counts the events that tell of peers.
func (f *fabric) peerEvents(t *testing.T) int {
	t.Helper()
	var all eventsv1.EventList
	if err := f.List(t.Context(), &all, client.InNamespace(cluster.System)); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range all.Items {
		if e.Regarding.Kind == "BGPPeer" {
			if n++; e.Series != nil {
				n += int(e.Series.Count)
			}
		}
	}
	return n
}

// metricsPort of a speaker, on its node.
const metricsPort = 7482

// metric waits until a metric of node1 is as ok says: the sum of all series that
// begin so.
func (f *fabric) metric(t *testing.T, series string, ok func(float64) bool) {
	t.Helper()
	cluster.Eventually(t, series, func(ctx context.Context) error {
		v, err := probe.Metric(ctx, f.Cluster, "node1", metricsPort, series)
		if err == nil && !ok(v) {
			err = fmt.Errorf("it is %v", v)
		}
		return err
	})
}

// Each peer has its metrics, and none is left of one that is gone.
func TestMetrics(t *testing.T) {
	f := scenario(t)
	f.Apply(t, cluster.System, patient+advertisement("routed"))
	f.peers(t, "bfdProfile: patient")
	f.watched(t, f.names()...)
	f.announced(t, f.namespace, dualStack.service("measured"))
	metric := func(series string, ok func(float64) bool) { t.Helper(); f.metric(t, series, ok) }
	exactly := func(want float64) func(float64) bool { return func(v float64) bool { return v == want } }
	flaps := map[string]float64{}
	for _, router := range routers {
		for _, v6 := range []bool{false, true} {
			label := fmt.Sprintf(`{peer=%q`, sessionTo(router, v6))
			metric("porchlight_bgp_session_up"+label, exactly(1))
			metric("porchlight_bgp_announced_prefixes"+label, exactly(1))
			metric("porchlight_bgp_updates_sent_total"+label, func(v float64) bool { return v >= 1 })
			flaps[label], _ = probe.Metric(t.Context(), f.Cluster, "node1", metricsPort, "porchlight_bgp_session_flaps_total"+label)
		}
	}
	metric("porchlight_bfd_session_up", exactly(4))
	// Six times what FRR and BIRD are told, and thrice what they say.
	metric("porchlight_bfd_detection_time_seconds", func(v float64) bool { return v > 0.299*4 && v < 0.301*4 })
	if _, err := f.vtysh(t.Context(), "clear bgp 172.30.0.11"); err != nil {
		t.Fatal(err)
	}
	flapped := fmt.Sprintf(`{peer=%q`, sessionTo(lab.HostFRR, false))
	metric("porchlight_bgp_session_flaps_total"+flapped, func(v float64) bool { return v > flaps[flapped] })
	metric("porchlight_bgp_session_up"+flapped, exactly(1))
	if err := f.Delete(t.Context(), &v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "frr-ipv4"}}); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, "the metrics of the peer are gone", func(ctx context.Context) error {
		if _, err := probe.Metric(ctx, f.Cluster, "node1", metricsPort, "porchlight_bgp_session_up"+flapped); err == nil {
			return errors.New("they are there")
		}
		return nil
	})
	metric("porchlight_bfd_session_up", exactly(3))
}
