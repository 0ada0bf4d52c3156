// Program hostinit is process 1 of every host of a lab, and the way into one:
//
//	hostinit boot STATE HOST
//	hostinit enter [-detach] [-cgroup PATH] PID COMMAND [ARGS…]
//
// The lab starts it; nobody types it. Package host says what it does.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"

	"github.com/porchlight-lb/porchlight/e2e/lab/host"
)

// notStarted is the exit status when the command could not be run at all, as
// a shell has it.
const notStarted = 127

func main() {
	if len(os.Args) == 4 && os.Args[1] == host.ArgBoot {
		host.Boot(os.Args[2], os.Args[3])
		return
	}
	if len(os.Args) < 2 || os.Args[1] != host.ArgEnter {
		fail(fmt.Errorf("usage: hostinit boot STATE HOST | hostinit enter PID COMMAND"))
	}
	var e host.Entry
	flags := flag.NewFlagSet("enter", flag.ExitOnError)
	flags.BoolVar(&e.Detach, "detach", false, "leave the command behind as a child of process 1")
	flags.StringVar(&e.Cgroup, "cgroup", "", "the cgroup that the command joins")
	if err := flags.Parse(os.Args[2:]); err != nil {
		fail(err)
	}
	pid, err := strconv.Atoi(flags.Arg(0))
	if err != nil || flags.NArg() < 2 {
		fail(fmt.Errorf("usage: hostinit enter PID COMMAND"))
	}
	e.PID = pid
	status, err := host.Enter(e, flags.Args()[1:])
	if err != nil {
		fail(err)
	}
	os.Exit(status)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(notStarted)
}
