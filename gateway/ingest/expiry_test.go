package ingest_test

import (
	"fmt"
	"slices"
	"strings"
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

// CA certificates grow old, too: what is said of them follows at the times that
// the translator has named, to the policy and to the listener that name them,
// and to nobody else.
func TestAuthoritiesGrowOld(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2027, 1, n, 0, 0, 0, 0, time.UTC) }
	bundle := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "infra", Name: "ca"}, Data: map[string]string{
		ingest.AuthorityKey: authority("first", day(1), day(21)) + authority("second", day(9), day(29)),
	}}
	certificate, key := pem()
	in := crowd(1)
	g := in.Gateways[0]
	g.Spec.Listeners = append(g.Spec.Listeners, gwv1.Listener{
		Name: "https", Port: 443, Protocol: gwv1.HTTPSProtocolType, TLS: &gwv1.ListenerTLSConfig{CertificateRefs: []gwv1.SecretObjectReference{{Name: "c"}}},
	})
	g.Spec.TLS = &gwv1.GatewayTLSConfig{Frontend: &gwv1.FrontendTLSConfig{Default: gwv1.TLSConfig{Validation: &gwv1.FrontendTLSValidation{
		CACertificateRefs: []gwv1.ObjectReference{{Kind: "ConfigMap", Name: "ca"}},
	}}}}
	p := &gwv1.BackendTLSPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "infra", Name: "p"}}
	p.Spec.TargetRefs = []gwv1.LocalPolicyTargetReferenceWithSectionName{{LocalPolicyTargetReference: gwv1.LocalPolicyTargetReference{Kind: "Service", Name: "s"}}}
	p.Spec.Validation = gwv1.BackendTLSPolicyValidation{Hostname: "s.io", CACertificateRefs: []gwv1.LocalObjectReference{{Kind: "ConfigMap", Name: "ca"}}}

	tr := ingest.NewTranslator("porchlight-system", names.GatewayController)
	tr.SetTime(day(1).Add(-time.Second))
	tr.Set(in.Fleets[0])
	tr.Set(in.GatewayClasses[0])
	tr.Set(g)
	tr.Set(in.HTTPRoutes[0])
	tr.Set(p)
	tr.Set(bundle)
	tr.Set(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "infra", Name: "c"},
		Data:       map[string][]byte{corev1.TLSCertKey: []byte(certificate), corev1.TLSPrivateKeyKey: []byte(key)},
	})
	tr.Set(in.Services[0])

	says := func(c ingest.Changes, want string) {
		t.Helper()
		if len(c.PolicyStatuses) != 1 || len(c.GatewayStatuses) != 1 {
			t.Fatalf("%d policies and %d Gateways have another status, want 1 each", len(c.PolicyStatuses), len(c.GatewayStatuses))
		}
		for of, conditions := range map[string][]metav1.Condition{
			"policy": c.PolicyStatuses[0].Ancestors[0].Conditions, "listener": c.GatewayStatuses[0].Status.Listeners[1].Conditions,
		} {
			got := apimeta.FindStatusCondition(conditions, "ResolvedRefs").Reason
			if w := apimeta.FindStatusCondition(conditions, names.CACertificateWarning); w != nil {
				got += " " + w.Reason
			}
			if got != want {
				t.Errorf("the %s says %s, want %s", of, got, want)
			}
			if !apimeta.IsStatusConditionTrue(conditions, "Accepted") {
				t.Errorf("the %s is not accepted", of)
			}
		}
	}
	// The first is said to expire five days before it does, of its twenty.
	says(tr.Flush(), "CACertificateNotYetValid")
	for _, step := range []struct {
		at   time.Time
		want string
	}{
		{day(1), "ResolvedRefs CACertificateNotYetValid"},
		{day(9), "ResolvedRefs"},
		{day(16), "ResolvedRefs CACertificateExpiring"},
		{day(21), "ResolvedRefs CACertificateExpired"},
		// With the second about to end, the message is another.
		{day(24), "ResolvedRefs CACertificateExpired"},
		{day(29), "CACertificateExpired"},
	} {
		if got := tr.Lapses(); !got.Equal(step.at) {
			t.Errorf("what is said lapses at %v, want %v", got, step.at)
		}
		tr.SetTime(step.at.Add(-time.Second))
		if c := tr.Flush(); len(c.PolicyStatuses)+len(c.GatewayStatuses) > 0 {
			t.Errorf("before %v, something else is said: %+v", step.at, c)
		}
		tr.SetTime(step.at)
		c := tr.Flush()
		says(c, step.want)
		if len(c.Fleets)+len(c.RouteStatuses)+len(c.Gateways)+len(c.Certificates) > 0 {
			t.Errorf("at %v, more is said than what follows from the CA certificates: %+v", step.at, c)
		}
	}
}

// What whoever makes a CA certificate writes into it, or how many they put into
// a ConfigMap, does not make a status that cannot be written.
func TestAuthoritiesAreNamedBriefly(t *testing.T) {
	ended := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	one := authority(strings.Repeat("é\n", 20000), ended.Add(-time.Hour), ended)
	in := crowd(0)
	g := in.Gateways[0]
	g.Spec.Listeners = []gwv1.Listener{{Name: "https", Port: 443, Protocol: gwv1.HTTPSProtocolType, TLS: &gwv1.ListenerTLSConfig{CertificateRefs: []gwv1.SecretObjectReference{{Name: "c"}}}}}
	g.Spec.TLS = &gwv1.GatewayTLSConfig{Frontend: &gwv1.FrontendTLSConfig{Default: gwv1.TLSConfig{Validation: &gwv1.FrontendTLSValidation{
		CACertificateRefs: []gwv1.ObjectReference{{Kind: "ConfigMap", Name: "ca"}},
	}}}}
	certificate, key := pem()
	in.Now = ended
	in.Secrets = []*corev1.Secret{{
		ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, Name: "c"},
		Data:       map[string][]byte{corev1.TLSCertKey: []byte(certificate), corev1.TLSPrivateKeyKey: []byte(key)},
	}}
	in.ConfigMaps = []*corev1.ConfigMap{{ObjectMeta: metav1.ObjectMeta{Namespace: g.Namespace, Name: "ca"}, Data: map[string]string{ingest.AuthorityKey: strings.Repeat(one, 10)}}}
	for _, c := range ingest.Translate(in).GatewayStatuses[0].Status.Listeners[0].Conditions {
		if c.Type != names.CACertificateWarning {
			continue
		}
		if c.Reason != "CACertificateExpired" || len(c.Message) > 4000 || !strings.HasSuffix(c.Message, "; and 6 more. Valid now: 0 of 10.") || strings.ContainsRune(c.Message, '\n') {
			t.Errorf("said %s in %d bytes: %.200s", c.Reason, len(c.Message), c.Message)
		}
		return
	}
	t.Error("nothing is said of the CA certificates")
}
