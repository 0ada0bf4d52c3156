// Package lab runs a real Kubernetes cluster on one machine, without Docker
// and without a cloud: every host of it is a set of Linux namespaces, every
// program in it is the real one.
//
// A lab has a name and a directory; nothing of it is in the machine's own
// network namespace, and any number of labs run side by side. Its hosts are
// the nodes (kubelet, containerd, kube-proxy, real containers), cp (etcd and
// the control plane), client on the same LAN, far behind the routers, and the
// routers frr and bird; lan is the switch between them. Plan says who has
// which address.
//
// Up is idempotent: what runs is left alone, what is missing is started. Down
// removes everything, whatever became of the Up before it: package host says
// why that needs no record.
package lab
