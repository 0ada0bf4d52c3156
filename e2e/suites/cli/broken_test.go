//go:build e2e

package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The only pool is deleted: nothing can get an address.
func TestNoPool(t *testing.T) {
	s := forTest(t)
	ns := s.Namespace(t)
	p := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "default"}}
	if err := s.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		again := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, Labels: p.Labels}, Spec: p.Spec}
		if err := s.Create(context.Background(), again); err != nil {
			t.Errorf("making the pool again: %v", err)
		}
	})
	s.Apply(t, ns, service("web", "none", ""))
	s.says(t, ns, "web", "Allocated", metav1.ConditionFalse, "NoPool")
	s.eventually(t, 2, []string{"NoPool: there is no IPAddressPool", "Service " + ns + "/web: NoPool: ", "Create an IPAddressPool"}, "check", "--all")
	s.eventually(t, 2, []string{"the chain breaks at address: NoPool", "Create an IPAddressPool"}, "explain", "svc", ns+"/web")
	if r := s.porchlight(t, 1, nil, "explain", "pool", "default"); !strings.Contains(r.stderr, "IPAddressPool default does not exist") {
		t.Errorf("explain of a pool that was deleted: %v", r)
	}
}

// A pool that nobody advertises: there is an address, and no one answers.
func TestNoAdvertisement(t *testing.T) {
	s := forTest(t)
	ns := s.Namespace(t)
	s.Apply(t, ns, cluster.Echo("Deployment", "echo")+pool("silent", "172.30.0.180/31")+
		service("web", "echo", "porchlight.dev/address-pool: silent"))
	s.says(t, ns, "web", "Announced", metav1.ConditionFalse, "NoAdvertisement")
	s.eventually(t, 2, []string{
		"IPAddressPool silent: NoAdvertisement: ", "Service " + ns + "/web: NoAdvertisement: ", "Create an L2Advertisement or a BGPAdvertisement",
	}, "check", "--all")
	s.eventually(t, 2, []string{"from pool silent", "the chain breaks at announcement: NoAdvertisement"}, "explain", "svc", ns+"/web")
	s.porchlight(t, 2, []string{"the chain breaks at advertisement: NoAdvertisement"}, "explain", "pool", "silent")
	s.eventually(t, 0, []string{"NoAdvertisement"}, "status", "--all")
}

// A Service that asks for what is not there.
func TestWrongRequest(t *testing.T) {
	s := forTest(t)
	ns := s.Namespace(t)
	s.Apply(t, ns, service("pool", "none", "porchlight.dev/address-pool: nowhere")+
		service("address", "none", "porchlight.dev/loadBalancerIPs: 203.0.113.7")+
		service("theirs", "none", "", "loadBalancerClass: example.com/other"))
	for name, reason := range map[string]string{"pool": "PoolNotFound", "address": "AddressNotInPool"} {
		s.says(t, ns, name, "Allocated", metav1.ConditionFalse, reason)
		s.porchlight(t, 2, []string{fmt.Sprintf("Service %s/%s: %s: ", ns, name, reason)}, "check", "--all")
		s.porchlight(t, 2, []string{"the chain breaks at address: " + reason}, "explain", "svc", ns+"/"+name)
	}
	s.porchlight(t, 2, []string{"the chain breaks at type: NotOurs"}, "explain", "svc", ns+"/theirs")
}

// The speakers are gone: what they last wrote is not taken for the truth.
func TestNoSpeaker(t *testing.T) {
	s := forTest(t)
	ns := s.Namespace(t)
	s.Apply(t, ns, cluster.Echo("Deployment", "echo")+service("web", "echo", ""))
	s.announced(t, ns, "web")
	speakers := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "porchlight-speaker"}}
	selector := func(value string) error {
		text := fmt.Sprintf(`{"spec":{"template":{"spec":{"nodeSelector":{"porchlight.dev/test-nowhere":%s}}}}}`, value)
		return s.Patch(context.Background(), speakers, client.RawPatch(types.StrategicMergePatchType, []byte(text)))
	}
	t.Cleanup(func() {
		if err := selector("null"); err != nil {
			t.Errorf("letting the speakers run again: %v", err)
		}
		if _, err := s.Kubectl("rollout", "status", "-n", cluster.System, "daemonset/porchlight-speaker", "--timeout=80s"); err != nil {
			t.Errorf("the speakers run again: %v", err)
		}
	})
	if err := selector(`"true"`); err != nil {
		t.Fatal(err)
	}
	s.eventually(t, 2, []string{"DaemonSet porchlight-speaker: ProgramNotReady: ", "See why its pods do not run"}, "check", "--all")
	// Speakers that end hand over until nobody is left to take.
	s.eventually(t, 2, []string{"the chain breaks at announcement: "}, "explain", "svc", ns+"/web")
}

// A node that is cut off is named, and its addresses have another owner.
func TestCutNode(t *testing.T) {
	s := forTest(t)
	ns := s.Namespace(t)
	s.Apply(t, ns, cluster.Echo("DaemonSet", "echo")+service("web", "echo", ""))
	s.announced(t, ns, "web")
	const node = "node2"
	t.Cleanup(func() {
		if err := s.Lab.Heal(context.Background()); err != nil {
			t.Errorf("healing: %v", err)
		}
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
		if err := s.Await(context.Background(), n, &corev1.NodeList{}, func() bool { return ready(n) }); err != nil {
			t.Errorf("%s: want it ready: %v", node, err)
		}
		if _, err := s.Kubectl("rollout", "status", "-n", cluster.System, "daemonset/porchlight-speaker", "--timeout=80s"); err != nil {
			t.Errorf("the speakers run again: %v", err)
		}
	})
	if err := s.Lab.Fault(t.Context(), lab.LinkDown, node); err != nil {
		t.Fatal(err)
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	if err := s.Await(t.Context(), n, &corev1.NodeList{}, func() bool { return !ready(n) }); err != nil {
		t.Fatalf("%s: want it not ready: %v", node, err)
	}
	cluster.Eventually(t, "check names the node that is cut off", func(ctx context.Context) error {
		r, err := s.try(ctx, "check", "--all")
		if err != nil {
			return err
		}
		for _, text := range []string{"Node " + node + ": NodeNotReady: ", "DaemonSet porchlight-speaker: ProgramNotReady: 2 of 3 pods are ready; on " + node} {
			if !strings.Contains(r.stdout, text) {
				return fmt.Errorf("want %q: %v", text, r)
			}
		}
		return nil
	})
	cluster.Eventually(t, "the Service has another owner, and explain says why not the node", func(ctx context.Context) error {
		r, err := s.try(ctx, "explain", "svc", ns+"/web")
		if err != nil {
			return err
		}
		for _, why := range []string{"SpeakerDown", "NodeNotReady", "NetworkUnavailable"} {
			if strings.Contains(r.stdout, node+" "+why+" is not chosen") {
				return r.is(0, []string{"the chain holds"})
			}
		}
		return fmt.Errorf("want a reason for %s: %v", node, r)
	})
}

func ready(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// A route to a Service that is not there, and one to a Service with nobody
// behind it.
func TestWrongBackend(t *testing.T) {
	s := forTest(t)
	ns := s.Namespace(t)
	s.Apply(t, ns, site("missing"))
	s.Programmed(t, ns, "web")
	s.eventually(t, 2, []string{"HTTPRoute " + ns + "/site: BackendNotFound: ", "Create the Service"}, "check", "--all")
	s.eventually(t, 2, []string{"the chain breaks at route: BackendNotFound", "Service " + ns + "/missing does not exist"}, "explain", "httproute", ns+"/site")
	s.Apply(t, ns, `
apiVersion: v1
kind: Service
metadata: {name: missing}
spec: {ports: [{port: 80, targetPort: 3000}], selector: {app: nobody}}
`)
	s.eventually(t, 2, []string{"Service " + ns + "/missing: NoEndpoints: HTTPRoute " + ns + "/site sends requests to port 80"}, "check", "--all")
	s.eventually(t, 2, []string{"the chain breaks at rule 1: NoEndpoints", "app=nobody"}, "explain", "httproute", ns+"/site")
	s.Apply(t, ns, cluster.Echo("Deployment", "nobody"))
	s.eventually(t, 0, []string{"the chain holds"}, "explain", "httproute", ns+"/site")
}

// A session that is up, and one to a router that is not there.
func TestBGP(t *testing.T) {
	s := forTest(t)
	ns := s.Namespace(t)
	s.Apply(t, ns, cluster.Echo("Deployment", "echo")+pool("routed", "10.92.0.0/29")+`
apiVersion: porchlight.dev/v1beta1
kind: BGPPeer
metadata: {name: frr, namespace: porchlight-system}
spec: {myASN: 64600, peerASN: 64512, peerAddress: 172.30.0.1}
---
apiVersion: porchlight.dev/v1beta1
kind: BGPPeer
metadata: {name: nobody, namespace: porchlight-system}
spec: {myASN: 64600, peerASN: 64999, peerAddress: 172.30.0.199, connectTime: 1s}
---
apiVersion: porchlight.dev/v1beta1
kind: BGPAdvertisement
metadata: {name: routed, namespace: porchlight-system}
spec: {ipAddressPools: [routed]}
---
`+service("web", "echo", "porchlight.dev/address-pool: routed"))
	s.announced(t, ns, "web")
	s.eventually(t, 2, []string{"BGPPeer nobody: NoSession: the session of node1, node2, node3 is ", "Bring a BGP session up", "3 of 6 established"}, "check", "--all")
	s.eventually(t, 0, []string{"10.92.0.0", "bgp", "Established"}, "status", "--all")
	s.eventually(t, 0, []string{
		"10.92.0.0 is announced over BGP", "node1 tells BGP peer frr", "node1 NoSession would tell BGP peer nobody", "BGPAdvertisement routed", "the chain holds",
	}, "explain", "svc", ns+"/web")
}
