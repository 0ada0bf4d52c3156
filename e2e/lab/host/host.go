package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Arguments of hostinit.
const (
	ArgBoot  = "boot"
	ArgEnter = "enter"
)

// Start starts process 1 of a host with the program init (hostinit) and waits
// until the host is prepared. The process outlives the caller.
func Start(ctx context.Context, init string, s Spec) (pid int, err error) {
	if err := s.write(); err != nil {
		return 0, err
	}
	if s.Cgroup != "" {
		if err := makeCgroup(s.Cgroup); err != nil {
			return 0, fmt.Errorf("host %s: %w", s.Name, err)
		}
	}
	report, w, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("host %s: %w", s.Name, err)
	}
	defer report.Close()
	cmd := exec.Command(init, ArgBoot, s.State, s.Name)
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS,
	}
	var tether *os.File // our end, which this program holds while the host lives
	if s.Tethered {
		end, t, err := os.Pipe()
		if err != nil {
			return 0, fmt.Errorf("host %s: %w", s.Name, err)
		}
		defer end.Close()
		tether = t
		cmd.ExtraFiles = append(cmd.ExtraFiles, end)
	}
	err = cmd.Start()
	w.Close()
	if err != nil {
		tether.Close()
		return 0, fmt.Errorf("host %s: start process 1: %w", s.Name, err)
	}
	go func() {
		_ = cmd.Wait() // until the host is ended
		tether.Close()
	}()
	stop := context.AfterFunc(ctx, func() { report.SetReadDeadline(time.Now()) })
	defer stop()
	msg, err := io.ReadAll(report)
	if err == nil && len(msg) > 0 {
		err = errors.New(string(msg))
	}
	if err != nil {
		cmd.Process.Kill()
		return 0, fmt.Errorf("host %s: %w", s.Name, err)
	}
	return cmd.Process.Pid, nil
}

// Find returns the process ids of process 1 of the hosts of the lab at state,
// by name of host.
func Find(state string) (map[string]int, error) {
	pids, err := processIDs()
	if err != nil {
		return nil, err
	}
	hosts := map[string]int{}
	for _, pid := range pids {
		if argv := cmdline(pid); len(argv) == 4 && argv[1] == ArgBoot && argv[2] == state {
			hosts[argv[3]] = pid
		}
	}
	return hosts, nil
}

// Is reports whether pid is process 1 of the host name of the lab at state.
func Is(pid int, state, name string) bool {
	argv := cmdline(pid)
	return len(argv) == 4 && argv[1] == ArgBoot && argv[2] == state && argv[3] == name
}

// Kill ends the host whose process 1 is pid, and with it everything inside,
// and waits until it is gone.
func Kill(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
		if n == 1 {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("process %d does not end: %w", pid, ctx.Err())
		}
	}
}

// A Process runs inside a host.
type Process struct {
	// PID is its number on the machine, InnerPID the one inside the host.
	PID, InnerPID int
	// Contained processes are in a container of the host.
	Contained bool
	Args      []string
}

// Processes lists what runs inside the host whose process 1 is pid, without
// process 1 itself, containers included.
func Processes(pid int) ([]Process, error) {
	want, err := os.Readlink(nsFile(pid, "pid"))
	if err != nil {
		return nil, fmt.Errorf("processes of host: %w", err)
	}
	pids, err := processIDs()
	if err != nil {
		return nil, err
	}
	var ps []Process
	for _, p := range pids {
		if p == pid {
			continue
		}
		inner, contained, ok := innerPID(p, pid, want)
		if !ok {
			continue
		}
		if argv := cmdline(p); len(argv) > 0 {
			ps = append(ps, Process{PID: p, InnerPID: inner, Contained: contained, Args: argv})
		}
	}
	return ps, nil
}

// innerPID returns the number of process p in the process namespace of the
// host, also when p is contained in a namespace nested in that.
func innerPID(p, init int, ns string) (id int, contained, ok bool) {
	ids, depth := nsPIDs(p), len(nsPIDs(init))
	if depth == 0 || len(ids) < depth {
		return 0, false, false
	}
	// The namespace of a contained process is that of an ancestor.
	for a := p; a > 1; a = parent(a) {
		if got, err := os.Readlink(nsFile(a, "pid")); err == nil && got == ns {
			return ids[depth-1], len(ids) > depth, true
		}
		if len(ids) == depth {
			break
		}
	}
	return 0, false, false
}

func nsPIDs(pid int) []int { return statusInts(pid, "NSpid:") }

func parent(pid int) int {
	if p := statusInts(pid, "PPid:"); len(p) == 1 {
		return p[0]
	}
	return 0
}

func statusInts(pid int, field string) []int {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return nil
	}
	for _, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, field); ok {
			var ids []int
			for _, w := range strings.Fields(rest) {
				n, err := strconv.Atoi(w)
				if err != nil {
					return nil
				}
				ids = append(ids, n)
			}
			return ids
		}
	}
	return nil
}

func processIDs() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, n)
		}
	}
	return pids, nil
}

func cmdline(pid int) []string {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00")
}

func nsFile(pid int, kind string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), "ns", kind)
}

// OpenNetwork opens the network namespace of the host whose process 1 is pid.
func OpenNetwork(pid int) (*os.File, error) { return os.Open(nsFile(pid, "net")) }

// InNetwork runs f on a thread that is in the network namespace of the host
// whose process 1 is pid. Sockets that f makes stay there for good.
func InNetwork(pid int, f func() error) error {
	there, err := OpenNetwork(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("host is off: %w", err)
	}
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer there.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		here, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("network namespace: %w", err)
			return
		}
		defer here.Close()
		err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET)
		if err != nil {
			err = fmt.Errorf("enter network namespace: %w", err)
		} else {
			err = f()
		}
		// A thread that cannot come back stays locked, and ends with the
		// goroutine: no other one meets it in the wrong namespace.
		if unix.Setns(int(here.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// Dial connects from the host whose process 1 is pid. The address must be an
// IP address and port: names are not looked up.
func Dial(ctx context.Context, pid int, network, address string) (net.Conn, error) {
	h, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	if net.ParseIP(h) == nil {
		return nil, fmt.Errorf("dial %s: not an IP address", address)
	}
	var conn net.Conn
	err = InNetwork(pid, func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
