package kube

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/rest"

	"github.com/porchlight-lb/porchlight/api/v1beta1"
)

// Each client asks its group, in protobuf where the server speaks it, and
// decodes what comes.
func TestClients(t *testing.T) {
	scheme := Scheme()
	encode := protobuf.NewSerializer(scheme, scheme)
	asked := map[string]string{} // path → Accept
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path] = r.Header.Get("Accept")
		if strings.HasPrefix(r.URL.Path, "/api/v1/") {
			w.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
			node := &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
			if err := encode.Encode(node, w); err != nil {
				t.Error(err)
			}
			return
		}
		w.Header().Set("Content-Type", runtime.ContentTypeJSON)
		_, _ = w.Write([]byte(`{"apiVersion": "porchlight.dev/v1beta1", "kind": "L2Advertisement", "metadata": {"name": "a"}}`))
	}))
	defer server.Close()
	api, err := New(&rest.Config{Host: server.URL, QPS: -1}, server.Client(), scheme)
	if err != nil {
		t.Fatal(err)
	}
	var node corev1.Node
	if err := api.Core.Get().Resource("nodes").Name("n1").Do(t.Context()).Into(&node); err != nil || node.Name != "n1" {
		t.Errorf("node %q: %v", node.Name, err)
	}
	var adv v1beta1.L2Advertisement
	if err := api.Porchlight.Get().Namespace("ns").Resource("l2advertisements").Name("a").Do(t.Context()).Into(&adv); err != nil || adv.Name != "a" {
		t.Errorf("advertisement %q: %v", adv.Name, err)
	}
	_ = api.Discovery.Get().Namespace("ns").Resource("endpointslices").Name("e").Do(t.Context()).Error()
	for path, accept := range map[string]string{
		"/api/v1/nodes/n1": runtime.ContentTypeProtobuf,
		"/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices/e":      runtime.ContentTypeProtobuf,
		"/apis/porchlight.dev/v1beta1/namespaces/ns/l2advertisements/a": runtime.ContentTypeJSON,
	} {
		if got, was := asked[path]; !was || !strings.HasPrefix(got, accept) {
			t.Errorf("%s: asked for %q, want %s; all: %v", path, got, accept, asked)
		}
	}
}
