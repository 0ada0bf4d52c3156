package ingest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// A certificate grows old although nobody changes an object: what is said of it
// follows at the times that the translator has named, and what is served stays.
func TestCertificatesGrowOld(t *testing.T) {
	certificate, key := pem()
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "infra", Name: "c"},
		Data:       map[string][]byte{corev1.TLSCertKey: []byte(certificate), corev1.TLSPrivateKeyKey: []byte(key)},
	}
	g := &gwv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "infra", Name: "g"}}
	g.Spec.GatewayClassName = "porchlight"
	g.Spec.Listeners = []gwv1.Listener{
		{Name: "http", Port: 80, Protocol: gwv1.HTTPProtocolType},
		{Name: "https", Port: 443, Protocol: gwv1.HTTPSProtocolType, TLS: &gwv1.ListenerTLSConfig{CertificateRefs: []gwv1.SecretObjectReference{{Name: "c"}}}},
	}
	tr := ingest.NewTranslator("porchlight-system", names.GatewayController)
	ends := time.Date(2126, 10, 27, 22, 46, 50, 0, time.UTC)
	pair, err := ingest.Certificate(secret)
	if err != nil {
		t.Fatal(err)
	}
	begins := pair.NotBefore
	tr.SetTime(begins.Add(-time.Second))
	in := crowd(0)
	tr.Set(in.Fleets[0])
	tr.Set(in.GatewayClasses[0])
	tr.Set(g)
	tr.Set(secret)

	if !tr.Lapses().IsZero() {
		t.Errorf("nothing was translated, and is to lapse at %v", tr.Lapses())
	}
	says := func(want ...string) {
		t.Helper()
		c := tr.Flush()
		var got []string
		for _, s := range c.GatewayStatuses {
			l := s.Status.Listeners[1]
			got = append(got, fmt.Sprintf("%s, expiring %t", apimeta.FindStatusCondition(l.Conditions, "ResolvedRefs").Reason,
				apimeta.IsStatusConditionTrue(l.Conditions, names.CertificateExpiring)))
		}
		if !slices.Equal(got, want) || len(got) > 1 {
			t.Errorf("said %q, want %q", got, want)
		}
	}
	lapses := func(want time.Time) {
		t.Helper()
		if got := tr.Lapses(); !got.Equal(want) {
			t.Errorf("what is said lapses at %v, want %v", got, want)
		}
	}
	week := ends.Add(-7 * 24 * time.Hour)
	says("CertificateNotYetValid, expiring false")
	lapses(begins)
	tr.SetTime(begins)
	says("ResolvedRefs, expiring false")
	lapses(week)
	tr.SetTime(week.Add(-time.Second))
	says()
	tr.SetTime(week)
	says("ResolvedRefs, expiring true")
	lapses(ends)
	tr.SetTime(ends)
	says("CertificateExpired, expiring false")
	lapses(time.Time{})
	if n := len(tr.All().Certificates); n != 1 {
		t.Errorf("the certificates of %d Gateways are in use, want 1", n)
	}
	tr.SetTime(week) // a clock that is set back
	says()
	tr.Delete(secret)
	says("InvalidCertificateRef, expiring false")
	if c := tr.All().Certificates; len(c) != 0 {
		t.Errorf("without the Secret, %v are in use", c)
	}
}
