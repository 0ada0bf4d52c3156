//go:build e2e

package allocation

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/porchlight-lb/porchlight/e2e/api"
	"github.com/porchlight-lb/porchlight/e2e/cluster"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The API server refuses and accepts the objects of the tables that package
// api checks in the process, in the same words.
func TestTablesOfAPI(t *testing.T) {
	c := cluster.ForTest(t)
	strict := client.WithFieldValidation(c.WithWatch, metav1.FieldValidationStrict)
	for _, table := range []string{"accepted", "refused"} {
		cases, err := api.ReadCases(filepath.Join(c.Lab.Source, "api/v1beta1/testdata", table+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range cases {
			name := table + " " + k.Object.GetKind() + " " + k.Object.GetName()
			k.Object.SetNamespace(cluster.System)
			err := strict.Create(t.Context(), k.Object, client.DryRunAll)
			switch {
			case len(k.Want) == 0 && err != nil:
				t.Errorf("%s: %v", name, err)
			case len(k.Want) > 0 && err == nil:
				t.Errorf("%s: it is accepted; want %q", name, k.Want)
			}
			for _, want := range k.Want {
				if err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("%s: refused with\n\t%v\nwant a message that says\n\t%s", name, err, want)
				}
			}
		}
	}
}
