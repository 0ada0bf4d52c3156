package host

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Spec says what process 1 of a host prepares before it reports ready.
type Spec struct {
	// State is the lab's directory; Name is the host's name in the lab.
	State, Name string
	// Cgroup is the name of the host's own cgroup below the lab's, or
	// empty where the host stays in the caller's.
	Cgroup string
	// Overlays are directories of which the host gets its own writable
	// view, kept in memory: changes stay on the host.
	Overlays []string
	// Mounts are made after the overlays, in order.
	Mounts []Mount
	// Sysctls are written in order of the list, in the host's network
	// namespace.
	Sysctls []Sysctl
	// Tunables are files of /proc/sys that belong to the whole machine.
	// Programs of the host read the value given here and cannot change
	// the machine's.
	Tunables []Sysctl
	// Tethered hosts end with the program that started them.
	Tethered bool
}

// Mount is a directory bound from outside onto a path of the host.
type Mount struct {
	Source, Target string
	// Shared makes mounts below Target visible in mounts made of it, as a
	// kubelet's root directory needs.
	Shared bool
}

// Sysctl is a path below /proc/sys and its value. A path that the kernel does
// not have is skipped when Optional.
type Sysctl struct {
	Path, Value string
	Optional    bool
}

func (s Spec) file() string { return filepath.Join(s.State, "hosts", s.Name+".json") }

func (s Spec) write() error {
	if err := os.MkdirAll(filepath.Dir(s.file()), 0o755); err != nil {
		return fmt.Errorf("host %s: %w", s.Name, err)
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("host %s: encode: %w", s.Name, err)
	}
	return os.WriteFile(s.file(), b, 0o644)
}

func readSpec(state, name string) (Spec, error) {
	s := Spec{State: state, Name: name}
	b, err := os.ReadFile(s.file())
	if err != nil {
		return s, fmt.Errorf("host %s: %w", name, err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("host %s: %s: %w", name, s.file(), err)
	}
	return s, nil
}
