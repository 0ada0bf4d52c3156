package kube

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

func TestAPIService(t *testing.T) {
	for _, tt := range []struct {
		status int
		answer string
		want   netip.AddrPort
	}{
		{http.StatusOK, `{"kind": "Service", "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 443, "targetPort": 6443}]}}`, netip.MustParseAddrPort("10.96.0.1:443")},
		{http.StatusOK, `{"kind": "Service", "spec": {"clusterIP": "None", "ports": [{"port": 443}]}}`, netip.AddrPort{}},
		{http.StatusNotFound, `{"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}`, netip.AddrPort{}},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if r.URL.Path != "/api/v1/namespaces/default/services/kubernetes" {
				t.Errorf("it asks for %s", r.URL.Path)
			}
			w.WriteHeader(tt.status)
			_, _ = w.Write([]byte(strings.Replace(tt.answer, "{", `{"apiVersion": "v1", `, 1)))
		}))
		api, err := New(&rest.Config{Host: server.URL, QPS: -1}, server.Client(), Scheme())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := APIService(t.Context(), slog.New(slog.DiscardHandler), api.Core); err != nil || got != tt.want {
			t.Errorf("%s: %v, %v; want %v", tt.answer, got, err, tt.want)
		}
		server.Close()
	}
}
