package ingest_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/porchlight-lb/porchlight/gateway/ingest"
	"github.com/porchlight-lb/porchlight/internal/names"
)

// A grant counts from when it is given until it is revoked, for a backend and
// for a certificate.
func TestGrantsGivenAndRevoked(t *testing.T) {
	for _, name := range []string{"backend-grant", "certificate-grants"} {
		t.Run(name, func(t *testing.T) {
			a, err := txtar.ParseFile(filepath.Join("testdata", name+".txtar"))
			if err != nil {
				t.Fatal(err)
			}
			o := readCase(t, a)
			tr := ingest.NewTranslator(o.Namespace, names.GatewayController)
			feed(tr.Set, o.Fleets)
			feed(tr.Set, o.GatewayClasses)
			feed(tr.Set, o.Gateways)
			feed(tr.Set, o.HTTPRoutes)
			feed(tr.Set, o.Namespaces)
			feed(tr.Set, o.Services)
			feed(tr.Set, o.Secrets)
			for n, f := range o.Facts {
				tr.SetFacts(n, f)
			}
			says := func() string {
				tr.Flush()
				return renderStatus(t, o, tr.All())
			}
			before := says()
			feed(tr.Set, o.ReferenceGrants)
			given := says()
			feed(tr.Delete, o.ReferenceGrants)
			revoked := says()
			if refused := strings.Count(before, "RefNotPermitted") - strings.Count(given, "RefNotPermitted"); refused < 1 {
				t.Errorf("without a grant it is\n%s\nand with one\n%s", before, given)
			}
			if diff := cmp.Diff(string(a.Files[1].Data), given); diff != "" {
				t.Errorf("given (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, revoked); diff != "" {
				t.Errorf("revoked, it is not as before (-before +revoked):\n%s", diff)
			}
		})
	}
}

func feed[T metav1.Object](f func(metav1.Object), objects []T) {
	for _, o := range objects {
		f(o)
	}
}
