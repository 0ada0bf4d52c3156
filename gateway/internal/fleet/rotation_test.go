package fleet

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/porchlight-lb/porchlight/gateway/internal/certs"
	"github.com/porchlight-lb/porchlight/gateway/internal/envoybin"
	"github.com/porchlight-lb/porchlight/gateway/internal/server"
	"github.com/porchlight-lb/porchlight/gateway/xds/ads"
	"github.com/porchlight-lb/porchlight/gateway/xds/resource"
)

// messages passes on what a server's log says about streams.
type messages struct {
	slog.Handler
	to chan<- string
}

func (m messages) Handle(_ context.Context, r slog.Record) error {
	m.to <- r.Message
	return nil
}
func (m messages) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (m messages) WithAttrs([]slog.Attr) slog.Handler           { return m }

type nobody struct{}

func (nobody) Serves(types.NamespacedName, string, []string)     {}
func (nobody) Refused(types.NamespacedName, string, ads.Refusal) {}

// rotation is a real Envoy of a fleet, and the server that it is connected to.
type rotation struct {
	t       *testing.T
	keeper  *certs.Keeper
	now     time.Time
	dir     string // as the kubelet fills it: links into a folder that is swapped
	address string
	swaps   int
	said    chan string
	serving *certs.Serving
	stop    func()
}

func (r *rotation) keep() {
	r.t.Helper()
	// What the first writes is handed on by the second.
	for range 2 {
		if err := r.keeper.Keep(context.Background(), []certs.Holder{{Fleet: "edge"}}); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rotation) secret(name string) *corev1.Secret {
	r.t.Helper()
	s := &corev1.Secret{}
	if err := r.keeper.Client.Get(context.Background(), client.ObjectKey{Namespace: ns, Name: name}, s); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// must fails the test on the first error.
func (r *rotation) must(errs ...error) {
	r.t.Helper()
	if err := errors.Join(errs...); err != nil {
		r.t.Fatal(err)
	}
}

// mount brings the fleet's Secret to the Envoy.
func (r *rotation) mount() {
	r.t.Helper()
	r.swaps++
	data := filepath.Join(r.dir, ".."+strconv.Itoa(r.swaps))
	r.must(os.Mkdir(data, 0o700))
	for name, content := range r.secret(certs.FleetSecret("edge")).Data {
		r.must(os.WriteFile(filepath.Join(data, name), content, 0o600))
		if r.swaps == 1 {
			r.must(os.Symlink(filepath.Join("..data", name), filepath.Join(r.dir, name)))
		}
	}
	r.must(os.Symlink(filepath.Base(data), filepath.Join(r.dir, "..tmp")), os.Rename(filepath.Join(r.dir, "..tmp"), filepath.Join(r.dir, "..data")))
}

// load has the server use its Secret.
func (r *rotation) load() {
	r.t.Helper()
	r.must(r.serving.Load(r.secret(certs.ServerSecret)))
}

// serve starts the server.
func (r *rotation) serve() {
	r.t.Helper()
	hub := server.NewHub()
	hub.Publish(map[types.NamespacedName]resource.Set{{Namespace: ns, Name: "edge"}: {}})
	ctx, cancel := context.WithCancel(context.Background())
	s := server.New(r.address, r.serving, hub, nobody{}, slog.New(messages{slog.DiscardHandler, r.said}))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		r.t.Fatal(err)
	}
	r.stop = func() {
		cancel()
		r.must(<-done)
	}
}

// await waits until the server says something.
func (r *rotation) await(what string) {
	r.t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case said := <-r.said:
			if said == what {
				return
			}
		case <-timeout:
			r.t.Fatalf("the server does not say %q", what)
		}
	}
}

// TestEnvoyFollowsTheRotation: through every step of a change of authority,
// whichever of both ends learns of it first, a real Envoy keeps its stream and
// finds back to a server that was started again.
func TestEnvoyFollowsTheRotation(t *testing.T) {
	envoy := envoybin.Path(t)
	// Not 127.0.0.1, from which connections begin: one might have the port while
	// the server is away.
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	r := &rotation{t: t, now: time.Now(), dir: t.TempDir(), address: l.Addr().String(), said: make(chan string, 1000), serving: certs.NewServing()}
	api := fake.NewClientBuilder().Build()
	r.keeper = &certs.Keeper{Client: api, Uncached: api, Namespace: ns, Overlap: time.Minute, Now: func() time.Time { return r.now }, Log: slog.New(slog.DiscardHandler)}
	r.keep()
	r.load()
	r.mount()
	r.serve()
	defer func() { r.stop() }()

	config := t.TempDir()
	files, err := Files(Place{Server: "127.0.0.2", Port: port, ServerName: certs.ServerName(ns), ConfigDir: config, CertsDir: r.dir})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		r.must(os.WriteFile(filepath.Join(config, name), []byte(text), 0o600))
	}
	cmd := exec.Command(envoy, "-c", filepath.Join(config, "envoy.yaml"), "--service-node", "n", "--service-cluster", "edge",
		"--disable-hot-restart", "--log-level", "off", "--concurrency", "1")
	r.must(cmd.Start())
	defer func() {
		_ = cmd.Process.Kill() // its end is what is waited for
		_ = cmd.Wait()
	}()
	r.await("envoy connected")

	again := func() {
		t.Helper()
		r.stop()
		r.await("envoy gone")
		r.serve()
		r.await("envoy connected")
	}
	r.must(r.keeper.Client.Delete(context.Background(), r.secret(certs.AuthoritySecret)))
	first := r.secret(certs.FleetSecret("edge")).Data[corev1.TLSCertKey]
	for step, learn := range [][]func(){
		{r.load, r.mount}, // both authorities are believed
		{r.mount, r.load}, // the leaves are of the new one
		{r.load, r.mount}, // the one before is believed no more
	} {
		r.keep()
		for _, f := range learn {
			f()
			select {
			case said := <-r.said:
				t.Fatalf("step %d: the server says %q: the change touched a stream", step, said)
			default:
			}
			again()
		}
		r.now = r.now.Add(2 * time.Minute)
	}
	if last := r.secret(certs.FleetSecret("edge")).Data[corev1.TLSCertKey]; string(last) == string(first) {
		t.Error("the fleet's certificate has not changed")
	}
}
