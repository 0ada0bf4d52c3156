package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/porchlight-lb/porchlight/e2e/lab/host"
)

// FaultKind is a way to break the lab, or to undo one.
type FaultKind string

// The faults. Their hosts are one host, unless said otherwise.
const (
	// LinkDown takes the carrier from the host's links; LinkUp gives it back.
	LinkDown FaultKind = "link-down"
	LinkUp   FaultKind = "link-up"
	// Unplug removes the host's interfaces, Plug makes them anew: of the same
	// names and addresses, with another index.
	Unplug FaultKind = "unplug"
	Plug   FaultKind = "plug"
	// PowerOff kills everything on the host at once, its links with it;
	// PowerOn starts it again with the disk it had.
	PowerOff FaultKind = "power-off"
	PowerOn  FaultKind = "power-on"
	// Freeze stops the host's speaker, Thaw lets it go on, KillSpeaker ends
	// it with SIGKILL.
	Freeze      FaultKind = "freeze"
	Thaw        FaultKind = "thaw"
	KillSpeaker FaultKind = "kill-speaker"
	// CutGossip drops the speakers' gossip to and from the host.
	CutGossip FaultKind = "cut-gossip"
	// CutAPIServer keeps the host from the API; for the control plane's
	// host, everybody.
	CutAPIServer FaultKind = "cut-apiserver"
	// Partition separates the hosts, one or several, from the rest of the
	// LAN.
	Partition FaultKind = "partition"
	// Heal undoes every fault. It has no host.
	Heal FaultKind = "heal"
)

// FaultKinds lists all of them.
var FaultKinds = []FaultKind{LinkDown, LinkUp, Unplug, Plug, PowerOff, PowerOn, Freeze, Thaw, KillSpeaker, CutGossip, CutAPIServer, Partition, Heal}

// GossipPort is where speakers meet, TCP and UDP.
const GossipPort = 7947

// Fault is a fault that is in force.
type Fault struct {
	Kind  FaultKind
	Hosts []string
}

func (f Fault) String() string { return string(f.Kind) + " " + strings.Join(f.Hosts, ",") }

// undoes tells what a fault takes back.
var undoes = map[FaultKind]FaultKind{LinkUp: LinkDown, Plug: Unplug, PowerOn: PowerOff, Thaw: Freeze}

// ErrNoSpeaker says that no speaker runs on the host.
var ErrNoSpeaker = errors.New("no speaker runs there")

// Faults lists the faults in force.
func (l *Lab) Faults() ([]Fault, error) {
	b, err := os.ReadFile(l.path("faults.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var faults []Fault
	if err == nil {
		err = json.Unmarshal(b, &faults)
	}
	if err != nil {
		return nil, fmt.Errorf("faults of lab %s: %w", l.Name, err)
	}
	return faults, nil
}

// Heal undoes every fault, and returns when the hosts that were off run.
func (l *Lab) Heal(ctx context.Context) error { return l.Fault(ctx, Heal) }

// Fault puts a fault into force. It is recorded before, so that Heal finds it
// whatever happens.
func (l *Lab) Fault(ctx context.Context, kind FaultKind, hosts ...string) error {
	if !slices.Contains(FaultKinds, kind) {
		return fmt.Errorf("fault %q: want one of %v", kind, FaultKinds)
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	u, err := l.running()
	if err != nil {
		return err
	}
	if err := u.checkFault(kind, hosts); err != nil {
		return err
	}
	before, err := l.Faults()
	if err != nil {
		return err
	}
	after := combine(before, kind, hosts)
	if kind != Heal && undoes[kind] == "" {
		if err := u.recordFaults(after); err != nil {
			return err
		}
	}
	if err := u.inject(ctx, before, after, kind, hosts); err != nil {
		if errors.Is(err, ErrNoSpeaker) { // nothing was done
			err = errors.Join(err, u.recordFaults(before))
		}
		return fmt.Errorf("fault %s: %w", Fault{kind, hosts}, err)
	}
	return u.recordFaults(after)
}

func (u *run) checkFault(kind FaultKind, hosts []string) error {
	switch {
	case kind == Heal && len(hosts) > 0:
		return errors.New("fault heal: it is for the whole lab, without a host")
	case kind == Heal:
		return nil
	case len(hosts) == 0, len(hosts) > 1 && kind != Partition:
		return fmt.Errorf("fault %s: want one host, not %d", kind, len(hosts))
	}
	for _, name := range hosts {
		h, err := u.host(name)
		if err != nil {
			return fmt.Errorf("fault %s: %w", kind, err)
		}
		if h.Role == Switch {
			return fmt.Errorf("fault %s: %s is the switch", kind, name)
		}
		speaker := kind == Freeze || kind == Thaw || kind == KillSpeaker
		if speaker && h.Role != Node {
			return fmt.Errorf("fault %s: %s is not a node", kind, name)
		}
	}
	return nil
}

func (u *run) recordFaults(faults []Fault) error {
	b, err := json.Marshal(faults)
	if err == nil {
		err = writeFile(u.path("faults.json"), b, 0o644)
	}
	if err != nil {
		return fmt.Errorf("record the faults: %w", err)
	}
	return nil
}

// combine returns the faults in force after one more command.
func combine(before []Fault, kind FaultKind, hosts []string) []Fault {
	if kind == Heal {
		return nil
	}
	f := Fault{kind, slices.Sorted(slices.Values(hosts))}
	without := func(k FaultKind) []Fault {
		return slices.DeleteFunc(slices.Clone(before), func(g Fault) bool {
			return g.Kind == k && slices.Equal(g.Hosts, f.Hosts)
		})
	}
	switch undone := undoes[kind]; {
	case undone != "":
		return without(undone)
	case kind == KillSpeaker: // the kubelet starts it again
		return before
	default:
		return append(without(kind), f)
	}
}

func (u *run) inject(ctx context.Context, before, after []Fault, kind FaultKind, hosts []string) error {
	var h Host
	if len(hosts) > 0 {
		var err error
		if h, err = u.host(hosts[0]); err != nil {
			return err
		}
	}
	switch kind {
	case LinkDown, LinkUp:
		return setCarrier(u.pids[HostSwitch], h, kind == LinkUp)
	case Unplug:
		return unplug(u.pids[HostSwitch], h)
	case Plug:
		return u.replug(h)
	case PowerOff:
		return u.powerOff(ctx, h)
	case PowerOn:
		return u.powerOn(ctx, []Host{h})
	case Freeze:
		return u.signalSpeaker(h, syscall.SIGSTOP)
	case Thaw:
		return u.signalSpeaker(h, syscall.SIGCONT)
	case KillSpeaker:
		return u.signalSpeaker(h, syscall.SIGKILL)
	case CutGossip, CutAPIServer, Partition:
		return u.filter(ctx, after)
	default:
		return u.heal(ctx, before)
	}
}

func (u *run) heal(ctx context.Context, faults []Fault) error {
	if err := u.filter(ctx, nil); err != nil {
		return err
	}
	var off []Host
	for _, f := range faults {
		h, err := u.host(f.Hosts[0])
		if err != nil {
			return err
		}
		switch f.Kind {
		case PowerOff:
			off = append(off, h)
		case LinkDown, Unplug:
			if err = u.replug(h); err == nil && u.pids[h.Name] != 0 {
				err = setCarrier(u.pids[HostSwitch], h, true)
			}
		case Freeze:
			// A speaker that is gone meanwhile is not frozen either.
			if err = u.signalSpeaker(h, syscall.SIGCONT); errors.Is(err, ErrNoSpeaker) {
				err = nil
			}
		}
		if err != nil {
			return fmt.Errorf("undo %s: %w", f, err)
		}
	}
	return u.powerOn(ctx, off)
}

// replug gives a host its links back, unless it is off: it has them when it
// starts.
func (u *run) replug(h Host) error {
	if u.pids[h.Name] == 0 {
		return nil
	}
	if ok, err := plugged(u.pids[HostSwitch], h); ok || err != nil {
		return err
	}
	return plug(u.pids[HostSwitch], u.pids[h.Name], h)
}

// powerOff cuts the host's cables before it kills, so that no dying program
// says good-bye.
func (u *run) powerOff(ctx context.Context, h Host) error {
	if u.pids[h.Name] == 0 {
		return nil
	}
	if err := unplug(u.pids[HostSwitch], h); err != nil {
		return err
	}
	if err := host.Kill(ctx, u.pids[h.Name]); err != nil {
		return err
	}
	if cgroup := u.spec(h).Cgroup; cgroup != "" {
		return host.RemoveCgroup(cgroup, cgroupLimit)
	}
	return nil
}

// powerOn starts the hosts and their programs; it does not wait until a node
// is ready.
func (u *run) powerOn(ctx context.Context, hosts []Host) error {
	if len(hosts) == 0 {
		return nil
	}
	if err := u.startHosts(ctx, hosts); err != nil {
		return err
	}
	for _, h := range hosts {
		var err error
		switch h.Role {
		case ControlPlane:
			err = u.startControlPlane(ctx, h)
		case Router:
			err = u.startRouter(ctx, h)
		case Node:
			if err = u.startRuntime(ctx, h); err == nil {
				err = u.startAll(ctx, h)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// speakers are the names of programs that freeze, thaw and kill-speaker mean.
var speakers = []string{"porchlight-speaker", "speaker"}

func (u *run) signalSpeaker(h Host, signal syscall.Signal) error {
	if u.pids[h.Name] == 0 {
		return ErrNoSpeaker
	}
	ps, err := host.Processes(u.pids[h.Name])
	if err != nil {
		return err
	}
	found := false
	for _, p := range ps {
		if !slices.Contains(speakers, filepath.Base(p.Args[0])) {
			continue
		}
		found = true
		if err := syscall.Kill(p.PID, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal the speaker, process %d: %w", p.PID, err)
		}
	}
	if !found {
		return ErrNoSpeaker
	}
	return nil
}

// filter puts the rules for the faults on the switch, in place of those there.
func (u *run) filter(ctx context.Context, faults []Fault) error {
	cmd := u.command(ctx, HostSwitch, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(filterRules(faults))
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nftables on the switch: %w: %s", err, b)
	}
	return nil
}

// filterRules is the whole of the switch's table, which replaces the one
// before in one step.
func filterRules(faults []Fault) string {
	var b strings.Builder
	b.WriteString("table bridge faults\ndelete table bridge faults\ntable bridge faults {\n")
	b.WriteString("  chain forward {\n    type filter hook forward priority 0; policy accept;\n")
	for _, f := range faults {
		for _, rule := range faultRules(f) {
			fmt.Fprintf(&b, "    %s drop\n", rule)
		}
	}
	b.WriteString("  }\n}\n")
	return b.String()
}

// faultRules matches the frames that a fault drops. A port of the switch has
// the name of its host.
func faultRules(f Fault) []string {
	set := `"` + strings.Join(f.Hosts, `", "`) + `"`
	switch f.Kind {
	case CutGossip:
		var rules []string
		for _, direction := range []string{"iifname", "oifname"} {
			for _, port := range []string{"sport", "dport"} {
				rules = append(rules, fmt.Sprintf("%s %s meta l4proto { tcp, udp } th %s %d", direction, set, port, GossipPort))
			}
		}
		return rules
	case CutAPIServer:
		toward := fmt.Sprintf("oifname %q tcp dport %d", HostControlPlane, APIServer.Port())
		back := fmt.Sprintf("iifname %q tcp sport %d", HostControlPlane, APIServer.Port())
		if f.Hosts[0] != HostControlPlane {
			toward, back = "iifname "+set+" "+toward, "oifname "+set+" "+back
		}
		return []string{toward, back}
	case Partition:
		return []string{
			fmt.Sprintf("iifname { %[1]s } oifname != { %[1]s }", set),
			fmt.Sprintf("iifname != { %[1]s } oifname { %[1]s }", set),
		}
	}
	return nil
}
