package segment

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// Pods that come and go change the table of interfaces while it is read.
func TestDump(t *testing.T) {
	refused := errors.New("refused")
	for _, tt := range []struct {
		name     string
		failures []error
		reads    int
		want     error
	}{
		{"undisturbed", nil, 1, nil},
		{"changed twice meanwhile", []error{unix.EINTR, unix.EINTR}, 3, nil},
		{"never stands still", slices.Repeat([]error{unix.EINTR}, 2*dumps), dumps, unix.EINTR},
		{"refused", []error{refused}, 1, refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reads := 0
			table, err := dump(func() ([]int, error) {
				reads++
				if reads <= len(tt.failures) {
					return nil, tt.failures[reads-1]
				}
				return []int{reads}, nil
			})
			if !errors.Is(err, tt.want) || reads != tt.reads || err == nil && !slices.Equal(table, []int{reads}) {
				t.Errorf("%v, error %v, after %d reads; want error %v after %d", table, err, reads, tt.want, tt.reads)
			}
		})
	}
}
