package lab

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/porchlight-lb/porchlight/e2e/lab/host"
)

// command is a command on a host, to be run.
func (u *run) command(ctx context.Context, hostName string, argv ...string) *exec.Cmd {
	args := append([]string{host.ArgEnter, strconv.Itoa(u.pids[hostName])}, argv...)
	cmd := exec.CommandContext(ctx, u.record.Programs.Hostinit, args...)
	// The whole family ends with ctx; a caller that is killed takes it along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Exec returns a command that runs on a host when started: in its network,
// among its processes, with the machine's files. It ends when ctx ends.
func (l *Lab) Exec(ctx context.Context, hostName string, argv ...string) (*exec.Cmd, error) {
	u, err := l.at(hostName)
	if err != nil {
		return nil, err
	}
	return u.command(ctx, hostName, argv...), nil
}

// Argv returns the command line that runs argv on a host, for a program that
// becomes that command.
func (l *Lab) Argv(hostName string, argv ...string) ([]string, error) {
	u, err := l.at(hostName)
	if err != nil {
		return nil, err
	}
	return u.command(context.Background(), hostName, argv...).Args, nil
}

// at returns a pass over the lab, of which the host runs.
func (l *Lab) at(hostName string) (*run, error) {
	u, err := l.running()
	if err != nil {
		return nil, err
	}
	if _, err := u.host(hostName); err != nil {
		return nil, err
	}
	if u.pids[hostName] == 0 {
		return nil, fmt.Errorf("lab %s: host %s is off", l.Name, hostName)
	}
	return u, nil
}

// Kubectl returns the path of the cluster's own kubectl.
func (l *Lab) Kubectl() (string, error) {
	r, err := l.read()
	return filepath.Join(r.Programs.Kubernetes, "kubectl"), err
}

// Dialer returns a function that connects from a host, to IP addresses only.
// It follows the host through a power cycle.
func (l *Lab) Dialer(hostName string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		p, _ := l.seen.Load(hostName)
		pid, _ := p.(int)
		if !host.Is(pid, l.Dir, hostName) {
			pids, err := host.Find(l.Dir)
			if err != nil {
				return nil, err
			}
			if pid = pids[hostName]; pid == 0 {
				return nil, fmt.Errorf("lab %s: host %s is off", l.Name, hostName)
			}
			l.seen.Store(hostName, pid)
		}
		return host.Dial(ctx, pid, network, address)
	}
}

// InNetwork runs f in the network of a host. Sockets that f makes stay there
// for good.
func (l *Lab) InNetwork(hostName string, f func() error) error {
	u, err := l.at(hostName)
	if err != nil {
		return err
	}
	return host.InNetwork(u.pids[hostName], f)
}

// HardwareAddress is that of a host's first interface, the same at every start
// of the host.
func (l *Lab) HardwareAddress(hostName string) (net.HardwareAddr, error) {
	u, err := l.running()
	if err != nil {
		return nil, err
	}
	h, err := u.host(hostName)
	if err != nil {
		return nil, err
	}
	if len(h.Ports) == 0 {
		return nil, fmt.Errorf("lab %s: host %s has no interface", l.Name, hostName)
	}
	return hardwareAddress(h, 0), nil
}

// RESTConfig is an administrator's access to the cluster's API from any
// program of the machine: it connects from the control plane's host.
func (l *Lab) RESTConfig() (*rest.Config, error) {
	if _, err := l.read(); err != nil {
		return nil, err
	}
	c, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", l.Name, err)
	}
	c.Dial = l.Dialer(HostControlPlane)
	c.QPS = -1
	return c, nil
}
