package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"

	"github.com/porchlight-lb/porchlight/e2e/lab/build"
)

// Proxy modes of a lab's kube-proxy.
const (
	ProxyNFTables = "nftables"
	ProxyIPTables = "iptables"
)

// Options is what a lab is made of. The zero value is not valid; start from
// DefaultOptions.
type Options struct {
	// Nodes is the number of nodes, 1 to MaxNodes.
	Nodes int
	// ProxyMode is ProxyNFTables or ProxyIPTables.
	ProxyMode string
	// Routers that run, of frr and bird.
	Routers []string
	// Install builds Porchlight from the checkout and installs it.
	Install bool `json:"-"`
}

// DefaultOptions has three nodes, both routers, and Porchlight installed.
func DefaultOptions() Options {
	return Options{Nodes: 3, ProxyMode: ProxyNFTables, Routers: []string{HostFRR, HostBIRD}, Install: true}
}

func (o Options) equal(p Options) bool {
	return o.Nodes == p.Nodes && o.ProxyMode == p.ProxyMode && slices.Equal(o.Routers, p.Routers)
}

// Lab is one lab, running or not.
type Lab struct {
	// Name tells it from other labs of the machine.
	Name string
	// Dir holds everything that the lab writes.
	Dir string
	// Source is the checkout that it is built from.
	Source string
	// Log gets a line for each step of what takes long.
	Log io.Writer

	seen sync.Map // process 1 of a host, by its name, when it was last looked for
}

// Open returns the lab of that name, which need not run. An empty name stands
// for the one that belongs to the checkout around the working directory or,
// where that is none, around the running program; one that begins with a dash
// is appended to that one's.
func Open(name string) (*Lab, error) { return OpenFrom("", name) }

// OpenFrom is Open for the checkout at source, unless that is empty.
func OpenFrom(source, name string) (*Lab, error) {
	var err error
	if source == "" {
		source, err = findSource()
	} else {
		source, err = build.FindSource(source)
	}
	if err != nil {
		return nil, err
	}
	if name == "" || name[0] == '-' {
		name = defaultName(source) + name
	}
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("lab name %q: want letters, digits, dots and dashes, 40 at most", name)
	}
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("state directory: %w", err)
		}
		state = filepath.Join(home, ".local/state")
	}
	return &Lab{Name: name, Dir: filepath.Join(state, "porchlight/lab", name), Source: source, Log: io.Discard}, nil
}

var validName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]{0,39}$`)

func findSource() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	source, err := build.FindSource(dir)
	if err == nil {
		return source, nil
	}
	if exe, exeErr := os.Executable(); exeErr == nil {
		if source, exeErr := build.FindSource(filepath.Dir(exe)); exeErr == nil {
			return source, nil
		}
	}
	return "", err
}

// defaultName differs for any two checkouts of a machine.
func defaultName(source string) string {
	sum := sha256.Sum256([]byte(source))
	base := regexp.MustCompile(`[^a-zA-Z0-9]+`).ReplaceAllString(filepath.Base(source), "")
	return base[:min(len(base), 20)] + "-" + hex.EncodeToString(sum[:3])
}

func (l *Lab) path(elements ...string) string {
	return filepath.Join(append([]string{l.Dir}, elements...)...)
}

// Kubeconfig returns the path of an administrator's kubeconfig. Its server
// address is one of the lab's LAN: it works on the lab's hosts.
func (l *Lab) Kubeconfig() string { return l.path("admin.kubeconfig") }

// cache is the one shared by the user's labs.
func (l *Lab) cache() (build.Cache, error) {
	dir, err := build.DefaultDir()
	return build.Cache{Dir: dir, Source: l.Source, Log: l.Log}, err
}

// Build fills the cache with what every lab needs: some minutes the first
// time, nothing afterwards.
func (l *Lab) Build(ctx context.Context) error {
	_, err := l.prepare(ctx)
	return err
}

// Envoy returns the path of the Envoy binary that the lab's image has.
func (l *Lab) Envoy(ctx context.Context) (string, error) {
	c, err := l.cache()
	if err != nil {
		return "", err
	}
	return c.Envoy(ctx)
}

// record is what the lab's directory says about the lab, written before
// anything of it is made.
type record struct {
	Options Options
	// Programs that the lab runs, so that a newer checkout can still work
	// with it.
	Programs programs
}

// programs are the paths of what the lab runs but does not contain.
type programs struct {
	Hostinit, Kubernetes, ContainerdRoot, Snapshotter, CNIPlugins string
}

// ErrNotUp says that the lab is not there.
var ErrNotUp = errors.New("the lab is not up")

func (l *Lab) read() (record, error) {
	var r record
	b, err := os.ReadFile(l.path("lab.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("lab %s: %w", l.Name, ErrNotUp)
	}
	if err != nil {
		return r, fmt.Errorf("lab %s: %w", l.Name, err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("lab %s: %s: %w", l.Name, l.path("lab.json"), err)
	}
	return r, nil
}

func (l *Lab) write(r record) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("lab %s: %w", l.Name, err)
	}
	return writeFile(l.path("lab.json"), b, 0o644)
}

// prepare builds or finds the programs that a new lab runs.
func (l *Lab) prepare(ctx context.Context) (programs, error) {
	var p programs
	c, err := l.cache()
	if err != nil {
		return p, err
	}
	if p.Hostinit, err = c.Hostinit(ctx); err != nil {
		return p, err
	}
	if p.Kubernetes, err = c.Kubernetes(ctx); err != nil {
		return p, err
	}
	if p.CNIPlugins, err = build.CNIPlugins(); err != nil {
		return p, err
	}
	if p.Snapshotter, err = build.Snapshotter(c.Dir, l.Dir); err != nil {
		return p, err
	}
	p.ContainerdRoot, err = c.ContainerdRoot(ctx, p.Snapshotter)
	return p, err
}

// lock makes Up, Down and faults of one lab wait for each other.
func (l *Lab) lock(ctx context.Context) (func(), error) {
	return build.Lock(ctx, l.Dir+".lock")
}
