// Package host is one host of a lab: a process 1 that holds a network, a
// process and a mount namespace (and, for a node, a cgroup subtree), the way
// into them, and the way to end them.
//
// Everything that a host has hangs on its process 1: killing that process
// ends every process, mount, interface and namespace of the host at once, in
// the kernel, whatever state the lab's builder was in. Process 1 is found by
// its command line, which names the lab's directory and the host, so nothing
// has to be remembered for it to be found again. Only a node's cgroups
// outlive it; their paths follow from the lab's and the host's name.
//
// Most of the package runs in the program that owns the lab. Boot and Enter
// run in the small static program hostinit: Boot as process 1 inside, Enter
// as the process that steps inside and runs a command there.
package host
