//go:build e2e

package detector

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/speaker/bfd"
)

// insideEnv says that the process is already the node of the tests.
const insideEnv = "PORCHLIGHT_TEST_NODE"

// TestMain runs the tests in a network, mount and process namespace of their
// own, which is the node; routers are further namespaces below it. All of it,
// processes too, ends with the test process, however that ends. It needs root.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		if err := becomeNode(); err != nil {
			fmt.Fprintln(os.Stderr, "making the node of the tests:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "running the tests in namespaces, which needs root:", err)
		os.Exit(1)
	}
}

func becomeNode() error {
	for _, mount := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"none", "/", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{"proc", "/proc", "proc", 0},
		{"tmpfs", "/run", "tmpfs", 0},
	} {
		if err := syscall.Mount(mount.source, mount.target, mount.kind, mount.flags, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", mount.target, err)
		}
	}
	for _, name := range []string{"all", "default"} {
		// No duplicate address detection: addresses are there at once.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/accept_dad", []byte("0"), 0); err != nil {
			return err
		}
	}
	return exec.Command("ip", "link", "set", "lo", "up").Run()
}

// command runs a program, in a namespace where one is named, and returns what
// it prints.
func command(t *testing.T, namespace string, words ...string) string {
	t.Helper()
	out, err := try(namespace, words...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func try(namespace string, words ...string) (string, error) {
	if namespace != "" {
		words = append([]string{"ip", "netns", "exec", namespace}, words...)
	}
	var stderr bytes.Buffer
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s%s", strings.Join(words, " "), err, out, stderr.Bytes())
	}
	return string(out), nil
}

// lines runs the lines of a script of "ip" and "sysctl" commands, each in the
// namespace that it begins with, or in the node where that is "-".
func lines(t *testing.T, script string) {
	t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(script), "\n") {
		words := strings.Fields(line)
		namespace := words[0]
		if namespace == "-" {
			namespace = ""
		}
		if words[1] == "set" { // of /proc/sys/net
			words = []string{"", "sh", "-c", fmt.Sprintf("echo %s > /proc/sys/net/%s", words[3], words[2])}
		}
		command(t, namespace, words[1:]...)
	}
}

// router makes the namespace "router", on a link to the node that is named
// "eth0" on both ends: 10.0.0.1 and fd00::1 are the node's, .2 and ::2 the
// router's.
func router(t *testing.T) {
	t.Helper()
	lines(t, `
		- ip netns add router
		- ip link add eth0 type veth peer name eth0 netns router
		- ip link set eth0 addrgenmode none
		router ip link set eth0 addrgenmode none
		- ip addr add 10.0.0.1/24 dev eth0
		- ip addr add fd00::1/64 dev eth0
		- ip addr add fe80::1/64 dev eth0
		- ip link set eth0 up
		router ip link set lo up
		router set ipv6/conf/all/accept_dad 0
		router set ipv6/conf/default/accept_dad 0
		router ip addr add 10.0.0.2/24 dev eth0
		router ip addr add fd00::2/64 dev eth0
		router ip addr add fe80::2/64 dev eth0
		router ip link set eth0 up
		router set ipv4/ip_forward 1
		router set ipv6/conf/all/forwarding 1
	`)
	t.Cleanup(func() {
		if _, err := try("", "ip", "link", "del", "eth0"); err != nil && !t.Failed() {
			t.Error(err)
		}
		command(t, "", "ip", "netns", "del", "router")
	})
}

// daemon runs a program in a namespace until the test ends, or stop is called.
func daemon(t *testing.T, namespace string, words ...string) (stop func()) {
	t.Helper()
	var out lockedBuffer
	cmd := exec.Command("ip", append([]string{"netns", "exec", namespace}, words...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("%s says: %s", words[0], out.String())
		}
	})
	return stop
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// patience is for what takes a second or so on a machine at rest.
const patience = 30 * time.Second

// await asks until the answer is empty, which otherwise says what is not so.
func await(t *testing.T, what string, ask func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		not := ask()
		if not == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s", what, not)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// running is a Detector at work, and what it told.
type running struct {
	*Detector
	t *testing.T

	mu      sync.Mutex
	changes []bfd.Change
	when    []time.Time
}

func run(t *testing.T) *running {
	t.Helper()
	d, err := New(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Detector: d, t: t}
	d.Changed = func(c bfd.Change) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.changes, r.when = append(r.changes, c), append(r.when, time.Now())
	}
	ended := make(chan error)
	ctx := t.Context()
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *running) set(path bfd.Path, cfg bfd.Config) {
	r.t.Helper()
	if err := r.Set(path, cfg); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) status(path bfd.Path) Status {
	for _, s := range r.Statuses() {
		if s.Path == path {
			return s
		}
	}
	return Status{}
}

// awaits waits until the session is as ok says.
func (r *running) awaits(path bfd.Path, what string, ok func(Status) bool) Status {
	r.t.Helper()
	var s Status
	await(r.t, what, func() string {
		if s = r.status(path); ok(s) {
			return ""
		}
		return fmt.Sprintf("the session is %+v, packets dropped %v", s, r.Dropped())
	})
	return s
}

func (r *running) awaitUp(path bfd.Path) Status {
	r.t.Helper()
	return r.awaits(path, "session Up", func(s Status) bool { return s.State == bfd.Up })
}

// left is when the session left Up, and how; zero where it did not.
func (r *running) left() (time.Time, bfd.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range r.changes {
		if c.From == bfd.Up {
			return r.when[i], c
		}
	}
	return time.Time{}, bfd.Change{}
}

// patient is the multiplier of both sides: a machine that does other things at
// the same time does not make the sessions of the tests flap.
const patient = 20

func config(change func(*bfd.Config)) bfd.Config {
	c := bfd.DefaultConfig()
	c.TransmitInterval, c.ReceiveInterval, c.DetectMultiplier = 50*time.Millisecond, 50*time.Millisecond, patient
	if change != nil {
		change(&c)
	}
	return c
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
