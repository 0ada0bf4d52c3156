package status

import (
	"encoding/json"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What is said of a node goes when the node has, and not before.
func TestReportsGoWithTheirNode(t *testing.T) {
	f := newFixture(t)
	f.objects.Put(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	f.objects.Put(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}})
	f.server.missing = "/api/v1/nodes/n3"
	queued := f.queue.Len()
	for _, resource := range []string{bgpsessionstates, configurationstates} {
		path := "/apis/porchlight.dev/v1beta1/namespaces/sys/" + resource
		var list metav1.PartialObjectMetadataList
		for _, node := range []string{"n1", "n2", "n3", "new"} {
			list.Items = append(list.Items, metav1.PartialObjectMetadata{
				ObjectMeta: metav1.ObjectMeta{Name: "of-" + node, Labels: map[string]string{nodeLabel: node}},
			})
		}
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		f.server.objects = map[string]string{path: string(text)}
		if err := f.sweepOnce(t.Context(), resource, f.gone); err != nil {
			t.Fatal(err)
		}
		if got, want := f.server.take(), []string{"DELETE " + path + "/of-n3"}; !slices.Equal(got, want) {
			t.Errorf("%s: wrote %q, want %q", resource, got, want)
		}
	}
	if n := f.queue.Len() - queued; n != 0 {
		t.Errorf("%d Services are looked at again for what is said of nodes", n)
	}
}
