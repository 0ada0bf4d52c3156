package ads

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

var rewrite = flag.Bool("update", false, "rewrite testdata to what is printed now")

var types = map[string]resource.Type{
	"cluster":  resource.Cluster,
	"endpoint": resource.Endpoint,
	"secret":   resource.Secret,
	"listener": resource.Listener,
	"scope":    resource.Scope,
	"route":    resource.Route,
}

func short(t resource.Type) string {
	for name, u := range types {
		if u == t {
			return name
		}
	}
	return string(t)
}

// made is a resource whose body names others as the wire format would.
func made(t resource.Type, name, version string, refs ...string) resource.Resource {
	body := []byte{0x0a}
	for _, r := range append([]string{name, version}, refs...) {
		body = binary.AppendUvarint(body, uint64(len(r)))
		body = append(body, r...)
	}
	return resource.Marshalled(resource.Key{Type: t, Name: name}, version, &anypb.Any{TypeUrl: string(t), Value: body})
}

// TestScripts runs each file of testdata: a line that starts with a command is
// an input, the lines after it that start with two blanks are what it must
// bring about.
//
//	stream                                a new stream
//	publish TYPE/NAME@VERSION[=REF,REF]…  a snapshot
//	request TYPE [+NAME] [-NAME] [NAME@VERSION]…
//	                                      subscriptions, and what the client has
//	ack TYPE                              the last response of the type
//	nack TYPE DETAIL
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			r := &runner{session: New(), last: map[string]string{}}
			for line := range strings.Lines(string(want)) {
				if strings.HasPrefix(line, "  ") {
					continue
				}
				got.WriteString(line)
				if f := strings.Fields(line); len(f) > 0 && f[0] != "#" {
					got.WriteString(r.run(t, f))
				}
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != string(want) {
				t.Errorf("%s: got\n%s", file, got.String())
			}
		})
	}
}

type runner struct {
	session *Session
	last    map[string]string // nonce by type
	live    []string
}

func (r *runner) run(t *testing.T, f []string) string {
	t.Helper()
	var out Output
	var err error
	switch f[0] {
	case "stream":
		*r = runner{session: New(), last: map[string]string{}}
	case "publish":
		set := resource.Set{}
		for _, w := range f[1:] {
			set.Put(parse(t, w))
		}
		out = r.session.Publish(set)
	case "request":
		req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(types[f[1]]), InitialResourceVersions: map[string]string{}}
		for _, w := range f[2:] {
			switch w[0] {
			case '+':
				req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, w[1:])
			case '-':
				req.ResourceNamesUnsubscribe = append(req.ResourceNamesUnsubscribe, w[1:])
			default:
				name, version, _ := strings.Cut(w, "@")
				req.InitialResourceVersions[name] = version
			}
		}
		out, err = r.session.Request(req)
	case "ack":
		out, err = r.session.Request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(types[f[1]]), ResponseNonce: r.last[f[1]]})
	case "nack":
		out, err = r.session.Request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(types[f[1]]), ResponseNonce: r.last[f[1]],
			ErrorDetail: &statuspb.Status{Message: strings.Join(f[2:], " ")}})
	default:
		t.Fatalf("unknown command %q", f[0])
	}
	var b strings.Builder
	if err != nil {
		fmt.Fprintf(&b, "  error: %v\n", err)
	}
	for _, resp := range out.Responses {
		typ := short(resource.Type(resp.TypeUrl))
		r.last[typ] = resp.Nonce
		fmt.Fprintf(&b, "  %s:", typ)
		for _, x := range resp.Resources {
			fmt.Fprintf(&b, " %s@%s", x.Name, x.Version)
		}
		for _, name := range resp.RemovedResources {
			fmt.Fprintf(&b, " -%s", name)
		}
		b.WriteString("\n")
	}
	for _, x := range out.Refusals {
		fmt.Fprintf(&b, "  refused %s/%s@%s: %s\n", short(x.Type), x.Name, x.Version, x.Detail)
	}
	if live := r.session.Live(); !slices.Equal(live, r.live) {
		r.live = slices.Clone(live)
		fmt.Fprintf(&b, "  live: %s\n", strings.Join(live, " "))
	}
	return b.String()
}

func parse(t *testing.T, w string) resource.Resource {
	t.Helper()
	head, refs, _ := strings.Cut(w, "=")
	typ, rest, ok := strings.Cut(head, "/")
	name, version, ok2 := strings.Cut(rest, "@")
	if !ok || !ok2 || types[typ] == "" {
		t.Fatalf("%q is not TYPE/NAME@VERSION[=REF,REF]", w)
	}
	return made(types[typ], name, version, strings.FieldsFunc(refs, func(c rune) bool { return c == ',' })...)
}
