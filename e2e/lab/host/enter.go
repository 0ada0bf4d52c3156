package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Entry says how Enter runs a command inside a host.
type Entry struct {
	// PID is the host's process 1.
	PID int
	// Cgroup is the host's cgroup, which the command joins, or empty.
	Cgroup string
	// Detach leaves the command behind as a child of process 1.
	Detach bool
}

// systemPath is searched after the caller's PATH, which may lack the
// administrator's programs.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Enter steps into every namespace of a host and runs argv there, with the
// caller's streams, working directory, signals and exit status. It returns
// the status; an error means that the command did not start. The command dies
// with the caller, unless it is detached.
func Enter(e Entry, argv []string) (int, error) {
	runtime.LockOSThread()
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	if e.Cgroup != "" {
		if err := joinCgroup(e.Cgroup, true); err != nil {
			return 0, err
		}
	}
	if err := enterNamespaces(e.PID); err != nil {
		return 0, err
	}
	if err := unix.Chdir(dir); err != nil {
		_ = unix.Chdir("/")
	}
	if e.Detach {
		// A second fork, inside, makes process 1 the parent.
		argv = append([]string{"setsid", "--fork", "--"}, argv...)
	} else {
		// Not SysProcAttr.Pdeathsig: it looks for its parent's number, which
		// a parent outside the process namespace does not have.
		argv = append([]string{"setpriv", "--pdeathsig", "KILL", "--"}, argv...)
	}
	if err := os.Setenv("PATH", os.Getenv("PATH")+":"+systemPath); err != nil {
		return 0, fmt.Errorf("enter host: %w", err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("run %s: %w", argv[0], err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// enterNamespaces moves the calling thread, which must be locked, into the
// namespaces of pid. Children are born in its process namespace too.
func enterNamespaces(pid int) error {
	kinds := []struct {
		file string
		flag int
	}{
		{"cgroup", unix.CLONE_NEWCGROUP}, {"uts", unix.CLONE_NEWUTS}, {"net", unix.CLONE_NEWNET},
		{"pid", unix.CLONE_NEWPID}, {"mnt", unix.CLONE_NEWNS},
	}
	// All are opened first: the mount namespace takes this /proc away.
	fds := make([]*os.File, len(kinds))
	for i, k := range kinds {
		f, err := os.Open(filepath.Join("/proc", fmt.Sprint(pid), "ns", k.file))
		if err != nil {
			return fmt.Errorf("enter host: %w", err)
		}
		defer f.Close()
		fds[i] = f
	}
	// Threads share their root and working directory, a mount namespace
	// needs its own.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("enter host: unshare: %w", err)
	}
	for i, k := range kinds {
		if err := unix.Setns(int(fds[i].Fd()), k.flag); err != nil {
			return fmt.Errorf("enter host: %s namespace: %w", k.file, err)
		}
	}
	return nil
}
