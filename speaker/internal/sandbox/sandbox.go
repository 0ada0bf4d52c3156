// Package sandbox runs the tests of a package in a network namespace of their
// own, so that they may do with its interfaces what they like, and disturb
// nobody. It needs no root where users may make namespaces.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const inside = "PORCHLIGHT_SANDBOX"

// Main runs the tests in a new namespace, with the loopback interface up. It is
// for TestMain.
func Main(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(again())
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "setting the loopback interface up:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// again runs this program in a new namespace, and returns its exit status.
func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err := cmd.Run()
	var failed *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &failed):
		return failed.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "making a network namespace for the tests:", err)
	return 1
}

// Host is another network namespace.
type Host struct {
	t   *testing.T
	pid int
}

// NewHost makes a host that is there until the test ends.
func NewHost(t *testing.T) *Host {
	t.Helper()
	// It ends with its input, whatever becomes of this process.
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	end, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	t.Cleanup(func() {
		_ = end.Close()
		_ = cmd.Wait()
	})
	return &Host{t, cmd.Process.Pid}
}

// Link makes a veth pair, one end here, the other on the host, and sets both
// up.
func (h *Host) Link(here, there string) {
	h.t.Helper()
	Run(h.t, "ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", strconv.Itoa(h.pid))
	Run(h.t, "ip", "link", "set", here, "up")
	h.Run("ip", "link", "set", there, "up")
}

// Command prepares a command on the host.
func (h *Host) Command(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(h.pid), "-n"}, args...)...)
}

// Run runs a command on the host, which must succeed, and returns what it
// printed.
func (h *Host) Run(args ...string) string {
	h.t.Helper()
	return run(h.t, h.Command(args...))
}

// Run runs a command here, which must succeed, and returns what it printed.
func Run(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, exec.Command(args[0], args[1:]...))
}

func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return string(out)
}

// Do runs f on the host; what it opens stays there. It must not wait for other
// goroutines to do so.
func (h *Host) Do(f func()) {
	h.t.Helper()
	// A thread that could not be brought back is not used again: it ends with
	// its goroutine, which keeps it locked.
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- h.do(f)
	}()
	if err := <-done; err != nil {
		h.t.Fatal(err)
	}
}

func (h *Host) do(f func()) error {
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", h.pid))
	if err != nil {
		return err
	}
	defer func() { _ = there.Close() }()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering a network namespace: %w", err)
	}
	f()
	return nil
}
