package resource_test

import (
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

func cluster(name, altStat string) resource.Resource {
	return resource.New(resource.Cluster, name, &clusterv3.Cluster{Name: name, AltStatName: altStat})
}

func TestVersionFollowsContent(t *testing.T) {
	if a, b := cluster("c", "x"), cluster("c", "x"); a.Version != b.Version {
		t.Errorf("equal content has versions %s and %s", a.Version, b.Version)
	}
	if a, b := cluster("c", "x"), cluster("c", "y"); a.Version == b.Version {
		t.Errorf("different content has version %s twice", a.Version)
	}
}

func TestDiff(t *testing.T) {
	listener := resource.New(resource.Listener, "l", &listenerv3.Listener{Name: "l"})
	old, new := resource.Set{}, resource.Set{}
	for _, r := range []resource.Resource{cluster("same", ""), cluster("changed", "1"), cluster("gone", ""), listener} {
		old.Put(r)
	}
	for _, r := range []resource.Resource{cluster("same", ""), cluster("changed", "2"), cluster("added", "")} {
		new.Put(r)
	}
	changed, removed := resource.Diff(old, new)
	var names []string
	for _, r := range changed {
		names = append(names, r.Name)
	}
	if want := []string{"added", "changed"}; !slices.Equal(names, want) {
		t.Errorf("changed %v, want %v", names, want)
	}
	if want := []resource.Key{cluster("gone", "").Key, listener.Key}; !slices.Equal(removed, want) {
		t.Errorf("removed %v, want %v", removed, want)
	}
	if c, r := resource.Diff(new, new); c != nil || r != nil {
		t.Errorf("a set differs from itself by %v and %v", c, r)
	}
}

// What is named comes before what names it.
func TestAllIsInTheOrderOfTypes(t *testing.T) {
	s := resource.Set{}
	s.Put(resource.New(resource.Listener, "a", &listenerv3.Listener{}))
	s.Put(cluster("z", ""))
	s.Put(cluster("b", ""))
	var got []string
	for _, r := range s.All() {
		got = append(got, r.Name)
	}
	if want := []string{"b", "z", "a"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
