package status

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// screen is how many Services, and how many Gateways, fit on one.
const screen = 20

// WriteJSON writes all of the report.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteText writes the report for a person: a table for each kind, in which
// what is not as it should be comes first. Unless all is set, a table that does
// not fit on a screen is cut, and says so.
func (r *Report) WriteText(w io.Writer, all bool) error {
	limit := screen
	if all {
		limit = math.MaxInt
	}
	tables := []table{
		{"Programs in " + r.Namespace, []string{"NAME", "READY"}, rows(r.Programs, func(p Program) []string {
			return []string{p.Name, fmt.Sprintf("%d/%d", p.Ready, p.Wanted)}
		})},
		{"Pools", []string{"NAME", "IPV4 USED", "FREE", "IPV6 USED", "FREE", "ADDRESSES", "STATE"}, rows(r.Pools, func(p Pool) []string {
			return []string{p.Name, count(p.AssignedIPv4), count(p.AvailableIPv4), count(p.AssignedIPv6), count(p.AvailableIPv6), few(p.Addresses), say(p.Ready)}
		})},
		{"Services", []string{"NAMESPACE", "NAME", "ADDRESSES", "POOL", "NODE", "STATE"}, rows(troubledFirst(r.Services, Service.ok), func(s Service) []string {
			return []string{s.Namespace, s.Name, few(s.Addresses), few(s.Pools), few(s.Nodes), say(s.Allocated, s.Announced)}
		})},
		{"Gateways", []string{"NAMESPACE", "NAME", "CLASS", "ADDRESSES", "LISTENERS", "ROUTES", "STATE"}, rows(troubledFirst(r.Gateways, Gateway.ok), func(g Gateway) []string {
			return []string{g.Namespace, g.Name, g.Class, few(g.Addresses), fmt.Sprint(g.Listeners), fmt.Sprint(g.AttachedRoutes), say(g.Accepted, g.Programmed)}
		})},
		{"Fleets", []string{"NAME", "READY", "STATE"}, rows(r.Fleets, func(f Fleet) []string {
			return []string{f.Name, fmt.Sprintf("%d/%d", f.Ready, f.Wanted), say(f.State)}
		})},
	}
	for i, t := range tables {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		if err := t.write(w, limit); err != nil {
			return err
		}
	}
	return nil
}

// table is a title over rows of cells.
type table struct {
	title string
	head  []string
	rows  [][]string
}

func rows[T any](list []T, cells func(T) []string) [][]string {
	r := make([][]string, len(list))
	for i, item := range list {
		r[i] = cells(item)
	}
	return r
}

// write writes at most limit rows.
func (t table) write(w io.Writer, limit int) error {
	if len(t.rows) == 0 {
		_, err := fmt.Fprintf(w, "%s: none\n", t.title)
		return err
	}
	if _, err := fmt.Fprintln(w, t.title); err != nil {
		return err
	}
	tabs := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tabs, "  "+strings.Join(t.head, "\t"))
	for _, row := range t.rows[:min(limit, len(t.rows))] {
		fmt.Fprintln(tabs, "  "+strings.Join(row, "\t"))
	}
	if err := tabs.Flush(); err != nil {
		return err
	}
	if more := len(t.rows) - limit; more > 0 {
		_, err := fmt.Fprintf(w, "  and %d more (--all shows them)\n", more)
		return err
	}
	return nil
}

// say tells the first of the states that is not well, with its reason and
// message, or ok. The states are in the order in which one follows from the
// other.
func say(states ...State) string {
	for _, s := range states {
		switch {
		case s.ok():
		case s.Reason == "":
			return "waiting"
		case s.Message == "":
			return s.Reason
		default:
			return s.Reason + ": " + s.Message
		}
	}
	return "ok"
}

// count writes a decimal number that a person is to read: of a great one, how
// great it is.
func count(decimal string) string {
	const digits = 9
	switch {
	case decimal == "":
		return "-" // the controller has not counted yet
	case len(decimal) <= digits:
		return decimal
	}
	return fmt.Sprintf("%s.%se%d", decimal[:1], decimal[1:2], len(decimal)-1)
}

// few writes a list in one cell.
func few(list []string) string {
	const n = 3
	switch {
	case len(list) == 0:
		return "-"
	case len(list) > n:
		return fmt.Sprintf("%s +%d", strings.Join(list[:n], ","), len(list)-n)
	default:
		return strings.Join(list, ",")
	}
}

// troubledFirst puts those that are not well before the others and leaves the
// order among each as it is.
func troubledFirst[T any](list []T, ok func(T) bool) []T {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b T) int {
		switch {
		case ok(a) == ok(b):
			return 0
		case ok(b):
			return -1
		default:
			return 1
		}
	})
	return sorted
}
