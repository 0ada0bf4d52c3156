package status

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/porchlight-lb/porchlight/speaker/internal/kube"
)

// An object is made with its owner, and one that is there gets it.
func TestReportHasItsOwner(t *testing.T) {
	for _, c := range []struct {
		name  string
		there bool
		want  []string
	}{
		{"new", false, []string{"POST "}},
		{"of an installation before", true, []string{"POST ", "PATCH application/apply-patch+yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var asked []string
			var last metav1.PartialObjectMetadata
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				kind := ""
				if r.Method == http.MethodPatch {
					kind = r.Header.Get("Content-Type")
				}
				asked = append(asked, r.Method+" "+kind)
				body, err := io.ReadAll(r.Body)
				if err == nil {
					err = json.Unmarshal(body, &last)
				}
				if err != nil {
					t.Error(err)
				}
				w.Header().Set("Content-Type", "application/json")
				if c.there && r.Method == http.MethodPost {
					w.WriteHeader(http.StatusConflict)
					_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"AlreadyExists","code":409}`))
					return
				}
				_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Success"}`))
			}))
			defer server.Close()
			api, err := kube.New(&rest.Config{Host: server.URL}, server.Client(), kube.Scheme())
			if err != nil {
				t.Fatal(err)
			}
			meta := metav1.ObjectMeta{Namespace: "sys", Name: "r", OwnerReferences: []metav1.OwnerReference{{Kind: "DaemonSet", Name: "speaker", UID: "u"}}}
			if err := makeReport(t.Context(), api.Porchlight, "servicel2statuses", "ServiceL2Status", meta); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(asked, c.want) {
				t.Errorf("asked %q, want %q", asked, c.want)
			}
			if last.Kind != "ServiceL2Status" || len(last.OwnerReferences) != 1 || last.OwnerReferences[0].UID != "u" {
				t.Errorf("said %+v", last)
			}
		})
	}
}
