package allocator

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/porchlight-lb/porchlight/internal/address"
)

// ParseRequest reads the addresses a Service asks for: the comma-separated
// list of its annotation, and spec.loadBalancerIP. Either may be empty. Where
// both are set they must name the same addresses. The result keeps the order
// of the annotation.
func ParseRequest(annotation, field string) ([]netip.Addr, error) {
	listed, err := parseAddresses(annotation)
	if err != nil {
		return nil, fmt.Errorf("annotation loadBalancerIPs: %w", err)
	}
	single, err := parseAddresses(field)
	if err != nil {
		return nil, fmt.Errorf("spec.loadBalancerIP: %w", err)
	}
	switch {
	case len(single) > 1:
		return nil, errors.New("spec.loadBalancerIP: more than one address")
	case len(listed) == 0:
		return single, nil
	case len(single) > 0 && !slices.Equal(listed, single):
		return nil, fmt.Errorf("annotation loadBalancerIPs asks for %s, spec.loadBalancerIP for %s", annotation, field)
	}
	return listed, nil
}

func parseAddresses(list string) ([]netip.Addr, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	var addrs []netip.Addr
	for _, text := range strings.Split(list, ",") {
		a, err := address.Parse(text)
		if err != nil {
			return nil, err
		}
		if slices.Contains(addrs, a) {
			return nil, fmt.Errorf("%s is named twice", a)
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}
