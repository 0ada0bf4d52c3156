//go:build e2e

package layer2

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/probe"
)

// Two installations on one LAN, of one cluster even, have nothing to do with
// each other: their speakers do not become members of each other, and each
// announces its own addresses and writes its own Services' conditions.
func TestTwoInstallations(t *testing.T) {
	l := scenario(t)
	const (
		space   = "porchlight-second"
		metrics = 7492
	)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: space}}
	if err := l.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := l.Lab.Helm(context.Background(), "uninstall", "second", "--namespace", space, "--wait"); err != nil {
			t.Error(err)
		}
		if err := l.Delete(context.Background(), ns); err != nil {
			t.Error(err)
		}
	})
	tag, err := l.Lab.ImageTag()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Lab.Helm(t.Context(), "install", "second", l.Lab.Chart(), "--namespace", space, "--set-string", "image.tag="+tag,
		"--set", "lbClass=example.org/second,controller.requireClass=true,controller.replicas=1,gateway.enabled=false",
		"--set", "speaker.ignoreExcludeLB=true,speaker.gossipPort=7957,speaker.healthPort=7493,speaker.metricsPort="+strconv.Itoa(metrics),
		"--wait", "--timeout", "80s"); err != nil {
		t.Fatal(err)
	}
	l.Apply(t, space, `
apiVersion: porchlight.dev/v1beta1
kind: IPAddressPool
metadata: {name: default}
spec: {addresses: [172.30.0.166-172.30.0.169, "fd00:30::6:0/120"]}
---
apiVersion: porchlight.dev/v1beta1
kind: L2Advertisement
metadata: {name: all}
---
apiVersion: porchlight.dev/v1beta1
kind: L2Advertisement
metadata: {name: all, namespace: porchlight-system}
---
`)
	tests := l.Namespace(t)
	l.Apply(t, tests, cluster.Echo("DaemonSet", "echo")+service("ours", "")+
		service("theirs", "", "loadBalancerClass: example.org/second"))
	ours := l.Service(t, tests, "ours", "announced", announced)
	theirs := l.Service(t, tests, "theirs", "announced", announced)
	ips := append(addresses(ours), addresses(theirs)...)
	l.owners(t, ips...)
	for _, ip := range ips {
		l.reachable(t, "client", ip)
	}
	for _, of := range []struct {
		port, owned int
	}{{metricsPort, 2*services + 2}, {metrics, 2}} {
		cluster.Eventually(t, fmt.Sprintf("the installation at port %d is of three, and has its own", of.port), func(ctx context.Context) error {
			sum := 0
			for _, n := range l.names() {
				members, err := probe.Metric(ctx, l.Cluster, n, of.port, "porchlight_speaker_members")
				if err != nil {
					return err
				}
				if int(members) != len(l.names()) {
					return fmt.Errorf("the speaker of %s counts %v members", n, members)
				}
				owned, err := probe.Metric(ctx, l.Cluster, n, of.port, "porchlight_layer2_owned_addresses")
				if err != nil {
					return err
				}
				sum += int(owned)
			}
			if sum != of.owned {
				return fmt.Errorf("its speakers have %d addresses; want %d", sum, of.owned)
			}
			return nil
		})
	}
	// Nobody writes to the other's Service again and again. That a node is well
	// again may be told of once more, half a minute later.
	versions := func() [2]string {
		var v [2]string
		for i, name := range []string{"ours", "theirs"} {
			v[i] = l.Service(t, tests, name, "announced", announced).ResourceVersion
		}
		return v
	}
	cluster.Eventually(t, "the Services are left alone", func(context.Context) error {
		before := versions()
		l.observe(t, settle)
		if after := versions(); after != before {
			return fmt.Errorf("versions %v, then %v", before, after)
		}
		return nil
	})
	// The second was told to leave no node out.
	was := l.owners(t, addresses(theirs)...)
	l.exclude(t, l.names()...)
	l.silent(t, addresses(ours)...)
	l.unmoved(t, was)
}
