// Package internal_test holds the rules of the tree that the compiler does
// not enforce.
package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/porchlight-lb/porchlight/"

// rule bans imports: no package under any of from, its tests aside, may
// depend on a package under any of ban, save those under any of except.
type rule struct {
	why    string
	from   []string
	ban    []string
	direct bool     // only what the package itself imports, not what that needs
	except []string // under ban, yet allowed
}

// cores are the packages that decide; everything around them does I/O.
var cores = []string{
	module + "controller/allocator",
	module + "controller/translate",
	module + "speaker/election",
	module + "speaker/layer2",
	module + "speaker/bfd",
	module + "speaker/bgp",
	module + "gateway/ir",
	module + "gateway/ingest",
	module + "gateway/xds",
	module + "cli/internal/manifest",
	module + "cli/internal/inventory",
	module + "cli/internal/advice",
	module + "cli/internal/check",
	module + "cli/internal/status",
	module + "cli/internal/explain",
	module + "cli/internal/plan",
	module + "cli/internal/translate",
	module + "cli/internal/migrate",
}

// nouns are the words that several programs share.
var nouns = []string{
	module + "internal/address",
	module + "internal/excerpt",
	module + "internal/names",
	module + "internal/reason",
	module + "internal/version",
}

var rules = []rule{
	{
		why:    "what runs stories is for tests",
		from:   []string{module + "api", module + "controller", module + "speaker", module + "gateway", module + "cli"},
		ban:    []string{module + "internal/script"},
		direct: true,
	},
	{
		why:    "a core takes values in and gives values out, so that it runs the same in a test, in a simulation and in the command line: no client, no socket, no metric, no log",
		from:   cores,
		ban:    []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime", "github.com/prometheus", "log", "log/slog", "github.com/go-logr", "github.com/vishvananda/netlink", "github.com/hashicorp/memberlist", "os", "os/exec", "net/http", module + "internal/program"},
		direct: true,
	},
	{
		why:  "the speaker is on every node, and a program of these holds ten megabytes of memory for kinds that it never sees",
		from: []string{module + "speaker", module + "internal/program"},
		ban:  []string{"sigs.k8s.io/controller-runtime", "k8s.io/client-go/kubernetes"},
	},
	{
		why:    "a core has one goroutine around it, which owns it: a lock in it would hide a second owner",
		from:   cores,
		ban:    []string{"sync"},
		direct: true,
	},
	{
		why:    "a core may use the types of an API where translating them is its work; the others speak in nouns of their own",
		from:   []string{module + "controller/allocator", module + "speaker/election", module + "speaker/bfd", module + "speaker/bgp", module + "gateway/ir"},
		ban:    []string{"k8s.io", "sigs.k8s.io", "github.com/envoyproxy"},
		except: []string{"k8s.io/apimachinery/pkg/types"}, // the name of an object is a noun, whoever defines it
		direct: true,
	},
	{
		why:  "what GoBGP is used for is its codec: its server keeps every route that a peer sends, whatever a policy says, and a peer may send a million",
		from: []string{module + "speaker"},
		ban:  []string{"github.com/osrg/gobgp/v3"},
		except: []string{
			"github.com/osrg/gobgp/v3/pkg/packet/bgp", "github.com/osrg/gobgp/v3/internal",
		},
	},
	{
		why:  "the nouns stand at the bottom: what they import, everything imports",
		from: nouns,
		ban:  []string{"k8s.io", "sigs.k8s.io", "github.com", module},
		except: []string{
			module + "internal/address", module + "internal/excerpt", module + "internal/names", module + "internal/reason", module + "internal/version",
		},
	},
	{
		why:  "the programs share the Kubernetes API and nothing else: one may be replaced without the others",
		from: []string{module + "controller"},
		ban:  []string{module + "speaker", module + "gateway", module + "cli"},
	},
	{
		why:  "the programs share the Kubernetes API and nothing else: one may be replaced without the others",
		from: []string{module + "speaker"},
		ban:  []string{module + "controller", module + "gateway", module + "cli"},
	},
	{
		why:  "the programs share the Kubernetes API and nothing else: one may be replaced without the others",
		from: []string{module + "gateway"},
		ban:  []string{module + "controller", module + "speaker", module + "cli"},
	},
	{
		why:    "what the API says is one thing, what each protocol makes of it another: who announces listens to watch, and watch knows none of them",
		from:   []string{module + "speaker/internal/watch"},
		ban:    []string{module + "speaker"},
		except: []string{module + "speaker/internal/watch", module + "speaker/internal/kube"},
	},
	{
		why:    "the sandbox enters namespaces and runs programs, for tests",
		from:   []string{module + "speaker"},
		ban:    []string{module + "speaker/internal/sandbox"},
		direct: true,
	},
	{
		why:    "the API types have no logic and so need none of ours",
		from:   []string{module + "api"},
		ban:    []string{module},
		direct: true,
	},
	{
		why:  "what the lab and the image builder need has no place in a program that runs in a cluster",
		from: []string{module + "controller", module + "speaker", module + "gateway", module + "cli"},
		ban:  []string{"github.com/google/go-containerregistry", module + "e2e", module + "deploy"},
	},
}

type pkg struct {
	Dir, ImportPath, Name, Doc string
	Imports, Deps              []string
	GoFiles                    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=Dir,ImportPath,Name,Doc,Imports,Deps,GoFiles", "../...").Output()
	if err != nil {
		t.Fatalf("listing the module's packages: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("reading the list of packages: %v", err)
		}
		// What a test itself looks at decides whether its last result still
		// holds; it does not see what go list looked at.
		for _, f := range p.GoFiles {
			if _, err := os.Stat(filepath.Join(p.Dir, f)); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, p)
	}
}

// under says whether path is one of roots or below one.
func under(path string, roots []string) bool {
	for _, r := range roots {
		if path == r || strings.HasPrefix(path, strings.TrimSuffix(r, "/")+"/") {
			return true
		}
	}
	return false
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		for _, r := range rules {
			if !under(p.ImportPath, r.from) {
				continue
			}
			imports := p.Deps
			if r.direct {
				imports = p.Imports
			}
			for _, i := range imports {
				if under(i, r.ban) && !under(i, r.except) && i != p.ImportPath {
					t.Errorf("%s imports %s: %s", strings.TrimPrefix(p.ImportPath, module), i, r.why)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("package %s has no documentation", p.ImportPath)
		}
	}
}
