//go:build e2e

package teardown

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/porchlight-lb/porchlight/e2e/lab"
)

// TestMain runs the tests in a process namespace of their own, so that the
// census counts what they start and nothing else. Its first process is a shell:
// that one collects orphans, which a test binary would not.
func TestMain(m *testing.M) {
	const inside = "PORCHLIGHT_TEARDOWN_INSIDE"
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "finding the test's own program:", err)
		os.Exit(1)
	}
	cmd := exec.Command("unshare", append([]string{
		"--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", `"$@"; exit $?`, "sh", self,
	}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "the tests in a process namespace of their own:", err)
		os.Exit(1)
	}
}

// labCommand builds the program under test once and returns its path.
func labCommand(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lab")
	if b, err := exec.Command("go", "build", "-o", path, "../../cmd/lab").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, b)
	}
	return path
}

// open returns a lab in a state directory of its own, and that directory. The
// lab goes down at the end whatever happens.
func open(t *testing.T, name string) (*lab.Lab, string) {
	t.Helper()
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	l, err := lab.Open(fmt.Sprintf("%s-%d", name, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	// What is built once, and the kernel's parts, are no part of the census.
	if err := l.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l, state
}

func options() lab.Options {
	o := lab.DefaultOptions()
	o.Nodes, o.Install = 2, false
	return o
}

func TestUpAndDownLeaveNothing(t *testing.T) {
	l, state := open(t, "down")
	before := takeCensus(t, l.Name, state)
	if err := l.Down(t.Context()); err != nil {
		t.Fatalf("down of a lab that is not there: %v", err)
	}
	if err := l.Up(t.Context(), options()); err != nil {
		t.Fatal(err)
	}
	during := takeCensus(t, l.Name, state)
	for kind, n := range map[string]int{
		"processes":  len(during.processes) - len(before.processes),
		"namespaces": len(during.namespaces) - len(before.namespaces),
		"cgroups":    len(during.cgroups) - len(before.cgroups),
	} {
		if n < 10 {
			t.Errorf("the census sees %d more %s while the lab is up: it sees too little", n, kind)
		}
	}
	if during.mounts = nil; len(difference(during, before)) == 0 {
		t.Error("the census sees nothing")
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectNothingNew(t, before, l.Name, state)
	if err := l.Down(t.Context()); err != nil {
		t.Errorf("a second down: %v", err)
	}
}

func TestKilledUpLeavesNothingAfterDown(t *testing.T) {
	command := labCommand(t)
	l, state := open(t, "kill")
	before := takeCensus(t, l.Name, state)
	for _, after := range []time.Duration{
		0, 20 * time.Millisecond, 60 * time.Millisecond, 100 * time.Millisecond, 150 * time.Millisecond, 250 * time.Millisecond,
		500 * time.Millisecond, time.Second, 2 * time.Second, 3500 * time.Millisecond, 5 * time.Second,
	} {
		t.Run(after.String(), func(t *testing.T) {
			kill(t, command, l.Name, after)
			if err := l.Down(t.Context()); err != nil {
				t.Fatal(err)
			}
			expectNothingNew(t, before, l.Name, state)
		})
	}
}

// kill starts lab up and kills it when it has run for so long.
func kill(t *testing.T, command, name string, after time.Duration) {
	t.Helper()
	cmd := exec.Command(command, "up", "--name", name, "--nodes=2", "--install=false")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after) // the moment is the test's input, not an event to wait for
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

func TestUpRepairs(t *testing.T) {
	command := labCommand(t)
	l, state := open(t, "repair")
	before := takeCensus(t, l.Name, state)
	kill(t, command, l.Name, 1500*time.Millisecond)
	if err := l.Up(t.Context(), options()); err != nil {
		t.Fatalf("up after a killed one: %v", err)
	}
	// A program that ended is started again, one that runs is let alone.
	if _, err := run(t, l, "node1", "pkill", "-KILL", "kube-proxy"); err != nil {
		t.Fatal(err)
	}
	kubelet, err := run(t, l, "node1", "pgrep", "-x", "kubelet")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Up(t.Context(), options()); err != nil {
		t.Fatalf("up of a lab that runs: %v", err)
	}
	if _, err := run(t, l, "node1", "pgrep", "-x", "kube-proxy"); err != nil {
		t.Errorf("kube-proxy was not started again: %v", err)
	}
	if again, err := run(t, l, "node1", "pgrep", "-x", "kubelet"); err != nil || again != kubelet {
		t.Errorf("kubelet was process %s, is %s, %v", kubelet, again, err)
	}
	other := options()
	other.Nodes = 1
	if err := l.Up(t.Context(), other); err == nil {
		t.Error("up with other options did not complain")
	}
	if err := l.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectNothingNew(t, before, l.Name, state)
}

// TestExec checks what a script relies on: arguments, streams, exit status,
// signals.
func TestExec(t *testing.T) {
	command := labCommand(t)
	l, _ := open(t, "exec")
	o := options()
	o.Nodes = 1
	if err := l.Up(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	script := []string{"exec", "--name", l.Name, lab.HostClient, "--", "sh", "-c", `cat; echo "<$1>" "<$2>"; pwd; echo err >&2; exit 7`, "sh", "a b", ""}
	cmd := exec.Command(command, script...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PWD="+cmd.Dir)
	cmd.Stdin = strings.NewReader("in\n")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// The command finds its checkout by itself, not by the directory.
	cmd.Args = append([]string{command, "--source", source(t)}, script...)
	_ = cmd.Run()
	if want := "in\n<a b> <>\n" + cmd.Dir + "\n"; stdout.String() != want || stderr.String() != "err\n" || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("stdout %q, stderr %q, status %d; want %q, %q, 7", stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), want, "err\n")
	}

	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		sleeper := exec.Command(command, "exec", "--name", l.Name, "node1", "--", "sh", "-c", "echo ready; exec sleep 3600")
		out, err := sleeper.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := sleeper.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		if err := sleeper.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = sleeper.Wait()
		expectSoon(t, fmt.Sprintf("%v ends the command on the host", signal), func() bool {
			_, err := run(t, l, "node1", "pgrep", "-f", "sleep 3600")
			return err != nil
		})
	}
}

// TestFaults checks each fault by what a host can reach.
func TestFaults(t *testing.T) {
	l, _ := open(t, "fault")
	o := options()
	o.Nodes = 3
	if err := l.Up(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	const api = "172.30.0.10:6443"
	kubelet := func(node int) string { return fmt.Sprintf("172.30.0.%d:10250", 10+node) }
	gossip := fmt.Sprintf("172.30.0.12:%d", lab.GossipPort)
	listener, err := l.Exec(t.Context(), "node2", "socat", fmt.Sprintf("TCP-LISTEN:%d,fork,reuseaddr", lab.GossipPort), "EXEC:true")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Start(); err != nil {
		t.Fatal(err)
	}
	type path struct {
		from, to string
		open     bool
	}
	all := func(open bool) []path {
		return []path{
			{"node1", api, open}, {"node2", api, open}, {"node1", kubelet(2), open}, {"node2", kubelet(1), open},
			{"node1", kubelet(3), open}, {"node3", kubelet(1), open}, {"node1", gossip, open}, {"node3", gossip, open},
			{"client", kubelet(1), open}, {"far", kubelet(2), open},
		}
	}
	check := func(what string, paths ...path) {
		t.Helper()
		for _, p := range paths {
			expectSoon(t, fmt.Sprintf("%s: from %s to %s: reachable is %v", what, p.from, p.to, p.open), func() bool {
				return reaches(t, l, p.from, p.to) == p.open
			})
		}
	}
	check("at first", all(true)...)
	for _, test := range []struct {
		fault lab.FaultKind
		hosts []string
		paths []path
	}{
		{lab.LinkDown, []string{"node1"}, []path{{"node1", api, false}, {"client", kubelet(1), false}, {"node2", api, true}}},
		{lab.CutAPIServer, []string{"node1"}, []path{{"node1", api, false}, {"node2", api, true}, {"node1", kubelet(2), true}}},
		{lab.CutAPIServer, []string{"cp"}, []path{{"node1", api, false}, {"node2", api, false}, {"node1", kubelet(2), true}, {"cp", api, true}}},
		{lab.CutGossip, []string{"node2"}, []path{{"node1", gossip, false}, {"node3", gossip, false}, {"node1", kubelet(2), true}}},
		{lab.CutGossip, []string{"node1"}, []path{{"node1", gossip, false}, {"node3", gossip, true}}},
		{lab.Partition, []string{"node1", "node2"}, []path{{"node1", kubelet(2), true}, {"node1", kubelet(3), false}, {"node3", kubelet(1), false}, {"node2", api, false}, {"client", kubelet(1), false}, {"node3", api, true}}},
		{lab.PowerOff, []string{"node3"}, []path{{"node1", kubelet(3), false}, {"node1", kubelet(2), true}}},
	} {
		what := lab.Fault{Kind: test.fault, Hosts: test.hosts}.String()
		if err := l.Fault(t.Context(), test.fault, test.hosts...); err != nil {
			t.Fatal(err)
		}
		check(what, test.paths...)
		if err := l.Heal(t.Context()); err != nil {
			t.Fatal(err)
		}
		if test.fault == lab.PowerOff {
			// The node's containers and its network are as before.
			if err := l.Up(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
		check("heal after "+what, all(true)...)
	}
	if err := l.Fault(t.Context(), lab.Freeze, "node1"); err == nil {
		t.Error("freeze on a node without a speaker did not complain")
	}
}

func reaches(t *testing.T, l *lab.Lab, from, to string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	conn, err := l.Dialer(from)(ctx, "tcp", to)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

func expectSoon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not so after 20 s: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func run(t *testing.T, l *lab.Lab, host string, argv ...string) (string, error) {
	t.Helper()
	cmd, err := l.Exec(t.Context(), host, argv...)
	if err != nil {
		t.Fatal(err)
	}
	b, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(b)), err
}

func source(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
