package assign

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
	"github.com/porchlight-lb/porchlight/internal/names"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// FuzzService checks that whatever a Service asks for, and whatever its status
// says, is answered: with a patch that brings about what is wished, and with
// words that the API takes.
func FuzzService(f *testing.F) {
	f.Add("p", "10.0.0.1", "", "key", "10.0.0.2", "80,443", byte(0))
	f.Add("", "fd00::1, 10.0.0.3", "10.0.0.3", "", "not an address", "53", byte(3))
	f.Add("nowhere", "::ffff:10.0.0.1", "fe80::1%eth0", " ", "::ffff:10.0.0.1", "", byte(6))
	f.Add(strings.Repeat("é", 2000), "10.0.0.0/24", "\xff", "\x00", ",", "-1", byte(7))
	f.Fuzz(func(t *testing.T, pool, asked, field, key, recorded, port string, families byte) {
		svc := balancer("a", strings.Split(recorded, ",")...)
		svc.Annotations = map[string]string{
			names.Prefix + names.AddressPool: pool, names.Prefix + names.LoadBalancerIPs: asked, names.Prefix + names.AllowSharedIP: key,
			poolAnnotation: recorded,
		}
		svc.Spec.LoadBalancerIP = field
		svc.Spec.Selector = map[string]string{port: key}
		svc.Spec.IPFamilies = [][]corev1.IPFamily{
			nil, {corev1.IPv4Protocol}, {corev1.IPv6Protocol}, {corev1.IPv6Protocol, corev1.IPv4Protocol},
		}[families%4]
		if families&4 != 0 {
			policy := corev1.IPFamilyPolicy(port)
			svc.Spec.IPFamilyPolicy = &policy
		}
		d := newDesk(names.Class{Name: names.LoadBalancerClass})
		d.replaceNamespaces([]*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "x"}}})
		d.replacePools([]*v1beta1.IPAddressPool{somePool("10.0.0.0/30", "fd00::/126")})
		d.replaceServices([]*corev1.Service{svc})
		j, due := d.wanted[keyOf(svc)]
		if !due {
			t.Fatalf("nothing is written, though no condition is there")
		}
		if w := j.wish; w.reason == "" || w.message == "" || len(w.message) > longestNote || !utf8.ValidString(w.message) {
			t.Errorf("wished: %+v", w)
		}
		patch, err := j.wish.patch(j.seen, d.now())
		if err != nil {
			t.Fatal(err)
		}
		if after := look(patched(t, svc, patch)); !j.wish.fulfilled(after) {
			t.Errorf("not fulfilled by %s: %+v", patch, after)
		}
	})
}

// patched is the Service after a patch, applied as the API server applies it.
func patched(t *testing.T, svc *corev1.Service, patch []byte) *corev1.Service {
	t.Helper()
	old, err := json.Marshal(svc)
	if err != nil {
		t.Fatal(err)
	}
	out, err := strategicpatch.StrategicMergePatch(old, patch, corev1.Service{})
	if err != nil {
		t.Fatal(err)
	}
	now := &corev1.Service{}
	if err := json.Unmarshal(out, now); err != nil {
		t.Fatal(err)
	}
	return now
}
