package lab

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/porchlight-lb/porchlight/e2e/lab/host"
)

// process is a long-running program of a host.
type process struct {
	name string
	args []string
}

// in reports whether the program is among the host's processes. Those in
// containers are not meant, and neither is a change of its arguments.
func (p process) in(running []host.Process) bool {
	return slices.ContainsFunc(running, func(r host.Process) bool {
		return !r.Contained && filepath.Base(r.Args[0]) == filepath.Base(p.args[0])
	})
}

// processes returns what runs on h, in the order of start.
func (l *Lab) processes(h Host, r record) []process {
	program := func(name string) string { return filepath.Join(r.Programs.Kubernetes, name) }
	pki := l.path("pki")
	switch {
	case h.Role == ControlPlane:
		return controlPlaneProcesses(program, l.Dir, pki)
	case h.Role == Node:
		return nodeProcesses(program, h, r.Options.ProxyMode, l.Dir, l.nodeDir(h.Name))
	case h.Name == HostFRR:
		var ps []process
		for _, d := range frrDaemons {
			ps = append(ps, process{d, []string{"/usr/lib/frr/" + d, "-f", "/run/frr/" + d + ".conf", "--log", "stdout"}})
		}
		return ps
	case h.Name == HostBIRD:
		return []process{{"bird", []string{"/usr/sbin/bird", "-f", "-c", l.path("bird.conf")}}}
	}
	return nil
}

func controlPlaneProcesses(program func(string) string, dir, pki string) []process {
	const client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	address := APIServer.Addr().String()
	return []process{
		{"etcd", []string{program("etcd"),
			"--data-dir=" + dir + "/etcd", "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
		}},
		{"kube-apiserver", []string{program("kube-apiserver"),
			"--etcd-servers=" + client,
			"--bind-address=" + address, "--advertise-address=" + address, "--secure-port=" + fmt.Sprint(APIServer.Port()),
			"--client-ca-file=" + pki + "/ca.crt",
			"--tls-cert-file=" + pki + "/kube-apiserver.crt", "--tls-private-key-file=" + pki + "/kube-apiserver.key",
			"--kubelet-certificate-authority=" + pki + "/ca.crt",
			"--kubelet-client-certificate=" + pki + "/admin.crt", "--kubelet-client-key=" + pki + "/admin.key",
			"--kubelet-preferred-address-types=InternalIP",
			"--requestheader-client-ca-file=" + pki + "/ca.crt", "--requestheader-allowed-names=front-proxy",
			"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-",
			"--proxy-client-cert-file=" + pki + "/front-proxy.crt", "--proxy-client-key-file=" + pki + "/front-proxy.key",
			"--enable-aggregator-routing",
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + pki + "/service-account.key",
			"--service-account-signing-key-file=" + pki + "/service-account.key",
			"--service-cluster-ip-range=" + joined(ServiceCIDRs),
			"--authorization-mode=Node,RBAC", "--allow-privileged",
			"--delete-collection-workers=16", // one takes a minute for 1,000 Services
		}},
		{"kube-controller-manager", []string{program("kube-controller-manager"),
			"--kubeconfig=" + dir + "/controller-manager.kubeconfig",
			"--cluster-cidr=" + joined(PodCIDRs), "--service-cluster-ip-range=" + joined(ServiceCIDRs),
			"--allocate-node-cidrs=false", // the plan gives them
			"--service-account-private-key-file=" + pki + "/service-account.key",
			"--root-ca-file=" + pki + "/ca.crt",
			"--use-service-account-credentials", "--leader-elect=false",
			"--kube-api-qps=200", "--kube-api-burst=400",
		}},
		{"kube-scheduler", []string{program("kube-scheduler"),
			"--kubeconfig=" + dir + "/scheduler.kubeconfig", "--leader-elect=false",
			"--kube-api-qps=200", "--kube-api-burst=400",
		}},
	}
}

func nodeProcesses(program func(string) string, h Host, proxyMode, dir, nodeDir string) []process {
	return []process{
		{"containerd", []string{"/usr/bin/containerd", "--config", nodeDir + "/containerd.toml"}},
		{"kubelet", []string{program("kubelet"),
			"--config=" + nodeDir + "/kubelet.yaml", "--kubeconfig=" + dir + "/" + h.Name + ".kubeconfig",
			"--hostname-override=" + h.Name, "--node-ip=" + joined(h.Addresses()),
			"--root-dir=/var/lib/kubelet",
		}},
		{"kube-proxy", []string{program("kube-proxy"),
			"--kubeconfig=" + dir + "/kube-proxy.kubeconfig", "--hostname-override=" + h.Name,
			"--proxy-mode=" + proxyMode, "--cluster-cidr=" + joined(PodCIDRs),
			"--nodeport-addresses=primary",
			// A namespace may not write these: leave them as they are.
			"--conntrack-max-per-core=0", "--conntrack-min=0",
			"--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
		}},
	}
}

func (l *Lab) nodeDir(node string) string { return l.path("nodes", node) }

// logFile is where a process writes.
func (l *Lab) logFile(host, process string) string {
	return l.path("log", host+"-"+process+".log")
}

// tail returns the last lines of text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
