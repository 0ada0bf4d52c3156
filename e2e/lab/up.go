package lab

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/porchlight-lb/porchlight/e2e/lab/build"
	"github.com/porchlight-lb/porchlight/e2e/lab/host"
)

// Up brings the lab up, and waits until every node is ready and the cluster's
// resolver answers. What runs already is left alone, what is missing is
// started; a lab that runs with other options is an error.
func (l *Lab) Up(ctx context.Context, o Options) error {
	if os.Geteuid() != 0 {
		return errors.New("a lab needs root: namespaces and containers are made")
	}
	plan, err := Plan(o.Nodes, o.Routers)
	if err != nil {
		return err
	}
	if o.ProxyMode != ProxyNFTables && o.ProxyMode != ProxyIPTables {
		return fmt.Errorf("proxy mode %q: want %s or %s", o.ProxyMode, ProxyNFTables, ProxyIPTables)
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()

	r, err := l.read()
	switch {
	case errors.Is(err, ErrNotUp):
		l.Logf("preparing programs and images")
		r.Options = o
		if r.Programs, err = l.prepare(ctx); err != nil {
			return err
		}
		if err := os.MkdirAll(l.path("log"), 0o755); err != nil {
			return fmt.Errorf("lab %s: %w", l.Name, err)
		}
		if err := l.write(r); err != nil {
			return fmt.Errorf("lab %s: %w", l.Name, err)
		}
	case err != nil:
		return err
	case !r.Options.equal(o):
		return fmt.Errorf("lab %s runs with %d nodes, proxy mode %s, routers %v: take it down first",
			l.Name, r.Options.Nodes, r.Options.ProxyMode, r.Options.Routers)
	}
	loadModules(ctx)
	u := &run{Lab: l, record: r, plan: plan}
	if !o.Install {
		return u.up(ctx)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return u.up(gctx) })
	g.Go(func() error { return l.takeTree(gctx) })
	if err := g.Wait(); err != nil {
		return err
	}
	l.Logf("images into the nodes")
	if err := l.Load(ctx, l.archive()); err != nil {
		return err
	}
	return l.Install(ctx)
}

// loadModules asks for the kernel's parts that programs inside a namespace may
// not load themselves. Kernels that have them built in know none of the names.
func loadModules(ctx context.Context) {
	for _, m := range []string{"overlay", "bridge", "br_netfilter", "veth", "nf_conntrack", "nf_tables", "nft_chain_nat", "ip_tables", "ip6_tables", "macvlan"} {
		_ = exec.CommandContext(ctx, "modprobe", "--quiet", m).Run()
	}
}

// Logf says what the lab is doing.
func (l *Lab) Logf(format string, args ...any) {
	fmt.Fprintf(l.Log, format+"\n", args...)
}

// run is one pass over a lab whose options are settled.
type run struct {
	*Lab
	record record
	plan   []Host
	// pids of process 1 by host.
	pids map[string]int
}

// running returns a pass over a lab that is up.
func (l *Lab) running() (*run, error) {
	r, err := l.read()
	if err != nil {
		return nil, err
	}
	plan, err := Plan(r.Options.Nodes, r.Options.Routers)
	if err != nil {
		return nil, err
	}
	pids, err := host.Find(l.Dir)
	return &run{Lab: l, record: r, plan: plan, pids: pids}, err
}

func (u *run) host(name string) (Host, error) {
	i := slices.IndexFunc(u.plan, func(h Host) bool { return h.Name == name })
	if i < 0 {
		return Host{}, fmt.Errorf("lab %s has no host %q", u.Name, name)
	}
	return u.plan[i], nil
}

func (u *run) byRole(role Role) []Host {
	return slices.DeleteFunc(slices.Clone(u.plan), func(h Host) bool { return h.Role != role })
}

func (u *run) up(ctx context.Context) error {
	if err := u.certificates(); err != nil {
		return err
	}
	u.Logf("hosts and links")
	if err := u.startHosts(ctx, u.plan); err != nil {
		return err
	}
	u.Logf("control plane, container runtimes, routers")
	cp, nodes := u.byRole(ControlPlane)[0], u.byRole(Node)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return u.startControlPlane(gctx, cp) })
	for _, n := range nodes {
		g.Go(func() error { return u.startRuntime(gctx, n) })
	}
	for _, r := range u.byRole(Router) {
		g.Go(func() error { return u.startRouter(gctx, r) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	u.Logf("nodes")
	if err := u.registerNodes(ctx, nodes); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := u.startAll(ctx, n); err != nil {
			return err
		}
	}
	if err := u.applyAddons(ctx); err != nil {
		return err
	}
	if err := u.waitNodes(ctx, nodes); err != nil {
		return err
	}
	u.Logf("cluster DNS")
	return u.waitAddons(ctx, nodes)
}

// certificates makes what the cluster's programs identify themselves with.
func (u *run) certificates() error {
	pki := u.path("pki")
	a, err := newAuthority(pki)
	if err != nil {
		return err
	}
	type certificate struct {
		name, user string
		groups     []string
		dns        []string
		ips        []netip.Addr
	}
	certs := []certificate{
		{"admin", "admin", []string{"system:masters"}, nil, nil},
		{"controller-manager", "system:kube-controller-manager", nil, nil, nil},
		{"scheduler", "system:kube-scheduler", nil, nil, nil},
		{"kube-proxy", "system:kube-proxy", nil, nil, nil},
		{"front-proxy", "front-proxy", nil, nil, nil},
		{"kube-apiserver", "kube-apiserver", nil,
			[]string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"},
			append(u.byRole(ControlPlane)[0].Addresses(), ServiceCIDRs[0].Addr().Next(), netip.MustParseAddr("127.0.0.1"))},
	}
	for _, n := range u.byRole(Node) {
		certs = append(certs, certificate{n.Name, "system:node:" + n.Name, []string{"system:nodes"}, []string{n.Name}, n.Addresses()})
	}
	for _, c := range certs {
		if err := a.issue(c.name, pkix.Name{CommonName: c.user, Organization: c.groups}, c.dns, c.ips); err != nil {
			return err
		}
		if err := writeFile(u.path(c.name+".kubeconfig"), []byte(kubeconfig(pki, c.name)), 0o600); err != nil {
			return fmt.Errorf("kubeconfig of %s: %w", c.name, err)
		}
	}
	return a.signingKey("service-account.key")
}

// startHosts starts those of the hosts that are off, and plugs them in.
func (u *run) startHosts(ctx context.Context, hosts []Host) error {
	pids, err := host.Find(u.Dir)
	if err != nil {
		return err
	}
	u.pids = pids
	if u.pids[HostSwitch] == 0 {
		// Without the switch no link is left: everything starts over.
		for _, pid := range u.pids {
			if err := host.Kill(ctx, pid); err != nil {
				return err
			}
		}
		sw, err := u.host(HostSwitch)
		if err != nil {
			return err
		}
		pid, err := host.Start(ctx, u.record.Programs.Hostinit, u.spec(sw))
		if err != nil {
			return err
		}
		u.pids = map[string]int{HostSwitch: pid}
	}
	if err := makeBridges(u.pids[HostSwitch]); err != nil {
		return fmt.Errorf("%s: %w", HostSwitch, err)
	}
	started := make([]int, len(hosts))
	g, gctx := errgroup.WithContext(ctx)
	for i, h := range hosts {
		started[i] = u.pids[h.Name]
		if h.Role == Switch {
			continue
		}
		g.Go(func() (err error) {
			if started[i] == 0 {
				if started[i], err = u.bootHost(gctx, h); err != nil {
					return err
				}
			}
			if ok, err := plugged(u.pids[HostSwitch], h); ok || err != nil {
				return err
			}
			if err := plug(u.pids[HostSwitch], started[i], h); err != nil {
				return fmt.Errorf("%s: plug in: %w", h.Name, err)
			}
			return nil
		})
	}
	err = g.Wait()
	for i, h := range hosts {
		u.pids[h.Name] = started[i]
	}
	return err
}

func (u *run) bootHost(ctx context.Context, h Host) (int, error) {
	if h.Role == Node {
		if err := u.writeNodeFiles(h); err != nil {
			return 0, fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	// The kernel may still be taking the old links down.
	if err := unplug(u.pids[HostSwitch], h); err != nil {
		return 0, fmt.Errorf("%s: %w", h.Name, err)
	}
	return host.Start(ctx, u.record.Programs.Hostinit, u.spec(h))
}

// spec is what process 1 of h prepares.
func (u *run) spec(h Host) host.Spec {
	s := host.Spec{State: u.Dir, Name: h.Name, Sysctls: sysctls(h)}
	if h.Role != Node {
		return s
	}
	dir := u.nodeDir(h.Name)
	s.Cgroup = u.cgroup() + "/" + h.Name
	s.Overlays = []string{"/var/lib", "/var/log"}
	s.Tunables = kubeletTunables
	s.Mounts = []host.Mount{
		{Source: dir + "/kubelet", Target: "/var/lib/kubelet", Shared: true},
		{Source: dir + "/cni", Target: build.CNIConfigDir},
		{Source: dir + "/cni-cache", Target: "/var/lib/cni"},
		{Source: dir + "/pods", Target: "/var/log/pods"},
	}
	return s
}

// cgroup is the name of the group that holds those of the lab's nodes.
func (l *Lab) cgroup() string { return "porchlight-" + l.Name }

func (u *run) writeNodeFiles(h Host) error {
	dir := u.nodeDir(h.Name)
	for _, d := range []string{"kubelet", "cni", "cni-cache", "pods"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	cni, err := cniConfig(h)
	if err != nil {
		return err
	}
	resolv := filepath.Join(dir, "resolv.conf")
	files := map[string]string{
		filepath.Join(dir, "cni/10-pods.conflist"): cni,
		filepath.Join(dir, "containerd.toml"):      build.ContainerdConfig(filepath.Join(dir, "containerd"), u.record.Programs.Snapshotter, u.record.Programs.CNIPlugins),
		filepath.Join(dir, "kubelet.yaml"):         kubeletConfig(h, u.path("pki"), resolv),
		// No resolver outside: the lab's traffic stays in the lab.
		resolv: "nameserver " + APIServer.Addr().String() + "\n",
	}
	for path, content := range files {
		if err := writeFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (u *run) startRuntime(ctx context.Context, h Host) error {
	root := filepath.Join(u.nodeDir(h.Name), "containerd")
	if _, err := os.Stat(root); err != nil {
		if err := build.CloneRoot(ctx, u.record.Programs.ContainerdRoot, root); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	containerd := u.processes(h, u.record)[0]
	if err := u.start(ctx, h, containerd); err != nil {
		return err
	}
	return u.wait(ctx, h, containerd.name, 60*time.Second, func(ctx context.Context) error {
		return u.command(ctx, h.Name, "ctr", "--address", build.ContainerdSocket, "version").Run()
	})
}

func (u *run) startRouter(ctx context.Context, h Host) error {
	if h.Name == HostFRR {
		if err := u.writeFRRFiles(ctx, h); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	} else {
		if err := writeFile(u.path("bird.conf"), []byte(birdConfig(h)), 0o644); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		if b, err := u.command(ctx, h.Name, "mkdir", "-p", "/run/bird").CombinedOutput(); err != nil {
			return fmt.Errorf("%s: make /run/bird: %w: %s", h.Name, err, b)
		}
	}
	if err := u.startAll(ctx, h); err != nil {
		return err
	}
	probe := map[string][]string{HostFRR: {"vtysh", "-c", "show bgp summary"}, HostBIRD: {"birdc", "show", "status"}}[h.Name]
	ps := u.processes(h, u.record)
	return u.wait(ctx, h, ps[len(ps)-1].name, 30*time.Second, func(ctx context.Context) error {
		b, err := u.command(ctx, h.Name, probe...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, b)
		}
		return nil
	})
}

// writeFRRFiles puts FRR's configuration where its unprivileged user may read
// it, and keeps what a person changed there.
func (u *run) writeFRRFiles(ctx context.Context, h Host) error {
	var script string
	for daemon, content := range frrConfig(h) {
		file := u.path("frr-" + daemon + ".conf")
		if err := writeFile(file, []byte(content), 0o644); err != nil {
			return err
		}
		script += fmt.Sprintf("[ -e /run/frr/%[1]s.conf ] || install -o frr -g frr -m 640 '%[2]s' /run/frr/%[1]s.conf\n", daemon, file)
	}
	script = "set -e\ninstall -d -o frr -g frr -m 755 /run/frr\n" + script
	if b, err := u.command(ctx, h.Name, "sh", "-c", script).CombinedOutput(); err != nil {
		return fmt.Errorf("prepare FRR: %w: %s", err, b)
	}
	return nil
}

// startAll starts those programs of h that do not run.
func (u *run) startAll(ctx context.Context, h Host) error {
	for _, p := range u.processes(h, u.record) {
		if err := u.start(ctx, h, p); err != nil {
			return err
		}
	}
	return nil
}

// start starts p on h unless it runs.
func (u *run) start(ctx context.Context, h Host, p process) error {
	running, err := host.Processes(u.pids[h.Name])
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	if p.in(running) {
		return nil
	}
	log, err := os.OpenFile(u.logFile(h.Name, p.name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("%s: start %s: %w", h.Name, p.name, err)
	}
	defer log.Close()
	args := []string{host.ArgEnter, "-detach", "-cgroup", u.spec(h).Cgroup, strconv.Itoa(u.pids[h.Name])}
	cmd := exec.CommandContext(ctx, u.record.Programs.Hostinit, append(args, p.args...)...)
	cmd.Dir = "/"
	// A tenth of an API server's time is collecting garbage; memory is what a lab
	// has enough of.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "LANG=C.UTF-8", "GOGC=400"}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return u.failed(h.Name, "start "+p.name, p.name, err)
	}
	return nil
}

// wait asks check again and again until it succeeds. When that takes longer
// than limit, or the program does not run any more, the error carries the end
// of its log.
func (u *run) wait(ctx context.Context, h Host, program string, limit time.Duration, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last, ended error
	lookAgain := time.Now().Add(time.Second)
	err := poll(ctx, 100*time.Millisecond, func(ctx context.Context) bool {
		if last = check(ctx); last == nil {
			return true
		}
		if time.Now().After(lookAgain) {
			lookAgain = time.Now().Add(time.Second)
			ended = u.ended(h, program)
		}
		return ended != nil
	})
	if err == nil {
		err = ended
	}
	if err != nil {
		return u.failed(h.Name, "wait for "+program, program, errors.Join(last, err))
	}
	return nil
}

// ended returns an error when the program of h does not run.
func (u *run) ended(h Host, program string) error {
	running, err := host.Processes(u.pids[h.Name])
	if err != nil {
		return err
	}
	for _, p := range u.processes(h, u.record) {
		if p.name == program && !p.in(running) {
			return fmt.Errorf("%s does not run any more", program)
		}
	}
	return nil
}

// poll calls done every interval until it says so or ctx ends.
func poll(ctx context.Context, interval time.Duration, done func(context.Context) bool) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for !done(ctx) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// failed is the error of a step on a host, with the end of a program's log.
func (l *Lab) failed(hostName, step, process string, err error) error {
	log := l.logFile(hostName, process)
	b, readErr := os.ReadFile(log)
	if readErr != nil {
		return fmt.Errorf("%s: %s: %w", hostName, step, err)
	}
	return fmt.Errorf("%s: %s: %w\n--- %s, last lines:\n%s", hostName, step, err, log, tail(string(b), 20))
}
