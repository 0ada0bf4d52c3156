package plan

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/porchlight-lb/porchlight/cli/internal/paint"
	"github.com/porchlight-lb/porchlight/internal/reason"
)

// screen is how many rows of a table fit on one.
const screen = 50

// WriteText writes the plan for a person: the pools that the files have, the
// Services to which something happens and, if all is set, every other one.
func (r *Report) WriteText(w io.Writer, p paint.Paint, all bool) error {
	limit := screen
	if all {
		limit = math.MaxInt
	}
	pools := paint.Table{Title: "Pools", Head: []string{"NAME", "IPV4 BEFORE", "AFTER", "IPV6 BEFORE", "AFTER", "STATE"}}
	for _, pool := range r.Pools {
		state := paint.Cell{Text: "ok", Style: p.Good}
		switch {
		case pool.After == nil:
			state = paint.Cell{Text: "deleted", Style: p.Warn}
		case pool.Reason != reason.Ready:
			state = paint.Cell{Text: fmt.Sprintf("%s: %s", pool.Reason, pool.Message), Style: p.Bad}
		}
		row := paint.Plain(pool.Name, pool.Before.ipv4(), pool.After.ipv4(), pool.Before.ipv6(), pool.After.ipv6())
		pools.Rows = append(pools.Rows, append(row, state))
	}
	services := paint.Table{Title: "Services", Head: []string{"NAMESPACE", "NAME", "WHAT", "BEFORE", "AFTER", "WHY"}}
	for _, s := range r.Services {
		if s.Effect == Keeps && !all {
			continue
		}
		style := p.Good
		switch s.Effect {
		case Loses, Changes:
			style = p.Bad
		case Waits, Gone:
			style = p.Warn
		}
		why := s.Message
		if s.Reason != reason.Allocated && s.Reason != "" {
			why = fmt.Sprintf("%s: %s", s.Reason, s.Message)
		}
		row := []paint.Cell{{Text: s.Namespace}, {Text: s.Name}, {Text: string(s.Effect), Style: style}}
		services.Rows = append(services.Rows, append(row, paint.Plain(addresses(s.Before), addresses(s.After), why)...))
	}
	if err := pools.Write(w, p, math.MaxInt); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	if err := services.Write(w, p, limit); err != nil {
		return err
	}
	var counts []string
	for _, e := range effects {
		if n := r.Count(e); n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, e))
		}
	}
	if counts == nil {
		counts = []string{"no Service gets an address of it"}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", strings.Join(counts, ", "))
	return err
}

func (u *Usage) ipv4() string {
	if u == nil {
		return "-"
	}
	return use(u.AssignedIPv4, u.AvailableIPv4)
}

func (u *Usage) ipv6() string {
	if u == nil {
		return "-"
	}
	return use(u.AssignedIPv6, u.AvailableIPv6)
}

func use(assigned, available string) string {
	if assigned == "0" && available == "0" {
		return "-"
	}
	return assigned + ", free " + available
}

func addresses(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ",")
}
