package resource_test

import (
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

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

// A resource that is put together from parts is the one that is made whole,
// and has another version as soon as any part has other content.
func TestCompose(t *testing.T) {
	hosts := []*routev3.VirtualHost{{Name: "a", Domains: []string{"a"}}, {Name: "b", Domains: []string{"b"}}}
	compose := func() resource.Resource {
		var parts []*resource.Part
		for _, h := range hosts {
			parts = append(parts, resource.NewPart(h.Name, h))
		}
		return resource.Compose(resource.Route, "r", &routev3.RouteConfiguration{Name: "r", IgnorePortInHostMatching: true}, 2, parts)
	}
	first := compose()
	var got routev3.RouteConfiguration
	if err := first.Body().UnmarshalTo(&got); err != nil {
		t.Fatal(err)
	}
	want := &routev3.RouteConfiguration{Name: "r", IgnorePortInHostMatching: true, VirtualHosts: hosts}
	if !proto.Equal(&got, want) {
		t.Errorf("got %v, want %v", &got, want)
	}
	if got, want := first.Size(), len(first.Body().Value); got != want {
		t.Errorf("size %d of %d bytes", got, want)
	}
	if again := compose(); again.Version != first.Version {
		t.Errorf("equal content has versions %s and %s", first.Version, again.Version)
	}
	hosts[1].Domains[0] = "c"
	if other := compose(); other.Version == first.Version {
		t.Error("other content has the same version")
	}
}
