//go:build e2e

package bgp

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/e2e/cluster"
	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// secret is YAML of a Secret with a password.
func secret(password string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Secret
type: kubernetes.io/basic-auth
metadata: {name: bgp-password}
stringData: {password: %q}
---
`, password)
}

// A BFDProfile that is added to peers, and changed later, disturbs no session.
func TestProfileChanged(t *testing.T) {
	f := scenario(t)
	f.peers(t)
	f.Apply(t, cluster.System, advertisement("routed"))
	ips := f.announced(t, f.namespace, dualStack.service("watched"))
	f.everywhere(t, ips, f.names()...)
	before := f.ups(t)
	f.Apply(t, cluster.System, patient)
	f.peers(t, "bfdProfile: patient")
	f.watched(t, f.names()...)
	// Three times what the routers send, at most as often as this end wants it.
	about := func(want float64) func(float64) bool {
		return func(v float64) bool { return v > 0.99*want && v < 1.01*want }
	}
	f.metric(t, "porchlight_bfd_detection_time_seconds", about(4*3*0.1))
	f.Apply(t, cluster.System, strings.Replace(patient, "receiveInterval: 100", "receiveInterval: 200", 1))
	f.metric(t, "porchlight_bfd_detection_time_seconds", about(4*3*0.2))
	f.watched(t, f.names()...)
	f.everywhere(t, ips, f.names()...)
	f.undisturbed(t, before, "")
}

// A password is rotated: that session restarts, and no other. While the two
// ends have different ones, the state says what is suspected.
func TestPasswordRotated(t *testing.T) {
	for _, router := range routers {
		t.Run(router, func(t *testing.T) {
			f := scenario(t)
			var rotate func(password string)
			if router == lab.HostFRR {
				f.configureFRR(t, []string{"neighbor 172.30.0.11 remote-as 64600"}, []string{"no neighbor 172.30.0.11"})
				rotate = func(password string) {
					f.configureFRR(t, []string{"neighbor 172.30.0.11 password " + password}, nil)
				}
			} else {
				f.configureBIRD(t, "")
				rotate = func(password string) {
					f.reconfigureBIRD(t, fmt.Sprintf("protocol bgp signed { local 172.30.0.2 as 64513; neighbor 172.30.0.11 as 64600; direct; password %q; ipv4 { import all; export none; }; }\n", password))
				}
			}
			rotate("first")
			signed := sessionTo(router, false)
			for _, r := range routers {
				for _, v6 := range []bool{false, true} {
					name := sessionTo(r, v6)
					if name != signed {
						f.Apply(t, cluster.System, peer(name, append(to(r, v6), on("node1", "node2"))...))
						f.up(t, name, "node1", "node2")
					}
				}
			}
			f.Apply(t, cluster.System, secret("first")+peer(signed, append(to(router, false), "passwordSecret: {name: bgp-password}", on("node1"))...)+
				advertisement("routed"))
			f.up(t, signed, "node1")
			ip := f.announced(t, f.namespace, ipv4only.service("signed"))[0]
			f.hops(t, router, whole(ip), "node1")

			before := f.ups(t)
			f.Apply(t, cluster.System, secret("second"))
			f.says(t, signed, "node1", "may have another password")
			f.ready(t, signed, metav1.ConditionFalse, "NoSession", "may have another password")
			f.hops(t, router, whole(ip))
			rotate("second")
			f.up(t, signed, "node1")
			f.hops(t, router, whole(ip), "node1")
			f.undisturbed(t, before, signed)
			f.ready(t, signed, metav1.ConditionTrue, "Ready", "")
			if f.ups(t)[signed+" of node1"].Equal(before[signed+" of node1"]) {
				t.Error("the session was not restarted")
			}

			if err := f.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.System, Name: "bgp-password"}}); err != nil {
				t.Fatal(err)
			}
			f.says(t, signed, "node1", "SecretNotFound")
			f.refused(t, "BGPPeer "+signed+": SecretNotFound", "node1")
			f.hops(t, router, whole(ip))
			f.undisturbed(t, before, signed)
		})
	}
}
