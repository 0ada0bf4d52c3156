package kube

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

func TestOwners(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/api/v1/namespaces/ns/pods/speaker-x" {
			_, _ = w.Write([]byte(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"ownerReferences": [
				{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "speaker", "uid": "u", "controller": true, "blockOwnerDeletion": true}]}}`))
			return
		}
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}`))
	}))
	defer server.Close()
	api, err := New(&rest.Config{Host: server.URL, QPS: -1}, server.Client(), Scheme())
	if err != nil {
		t.Fatal(err)
	}
	for pod, want := range map[string][]metav1.OwnerReference{
		"speaker-x": {{APIVersion: "apps/v1", Kind: "DaemonSet", Name: "speaker", UID: "u"}},
		"elsewhere": nil, // a program outside of the cluster
		"":          nil,
	} {
		got, err := Owners(t.Context(), slog.New(slog.DiscardHandler), api.Core, "ns", pod)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("pod %q: %v, %v, want %v", pod, got, err, want)
		}
	}
}
