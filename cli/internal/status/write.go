package status

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/porchlight-lb/porchlight/cli/internal/check"
	"github.com/porchlight-lb/porchlight/cli/internal/paint"
)

const (
	// screen is how many rows of one table fit on one.
	screen = 20
	// mostFindings are told of on the screen.
	mostFindings = 5
)

// Form is how a report is written for a person.
type Form struct {
	Paint paint.Paint
	// All shows every row, however many there are.
	All bool
	// Wide has more columns, and cuts no list.
	Wide bool
}

// WriteJSON writes all of the report.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteYAML writes all of the report.
func (r *Report) WriteYAML(w io.Writer) error {
	text, err := yaml.Marshal(r)
	if err != nil {
		return fmt.Errorf("writing the status: %w", err)
	}
	_, err = w.Write(text)
	return err
}

// WriteText writes the report for a person: a table for each kind, in which
// what is not as it should be comes first. A table that does not fit on a
// screen is cut, unless all is asked for.
func (r *Report) WriteText(w io.Writer, form Form) error {
	limit := screen
	if form.All {
		limit = math.MaxInt
	}
	tables := []paint.Table{r.programs(form), r.findings(form), r.pools(form), r.services(form)}
	if len(r.Sessions) > 0 {
		tables = append(tables, r.sessions(form))
	}
	tables = append(tables, r.gateways(form), r.fleets(form))
	for i := range tables {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		if err := tables[i].Write(w, form.Paint, limit); err != nil {
			return err
		}
	}
	return nil
}

func (r *Report) programs(form Form) paint.Table {
	t := paint.Table{Title: "Programs in " + r.Namespace, Head: []string{"NAME", "READY"}}
	if form.Wide {
		t.Head = append(t.Head, "IMAGE")
	}
	for _, p := range r.Programs {
		style := form.Paint.Good
		if p.Ready < p.Wanted || p.Wanted == 0 {
			style = form.Paint.Bad
		}
		row := []paint.Cell{{Text: p.Name}, {Text: fmt.Sprintf("%d/%d", p.Ready, p.Wanted), Style: style}}
		if form.Wide {
			row = append(row, paint.Cell{Text: p.Image})
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// findings are the first that check finds; what to do about them is said there.
func (r *Report) findings(form Form) paint.Table {
	t := paint.Table{Title: "Warnings", Head: []string{"OBJECT", "REASON", "MESSAGE"}}
	n := mostFindings
	if form.All || form.Wide {
		n = math.MaxInt
	}
	worst := troubledFirst(r.Findings, func(f check.Finding) bool { return f.Severity != check.Error })
	for _, f := range worst[:min(n, len(worst))] {
		style := form.Paint.Warn
		if f.Severity == check.Error {
			style = form.Paint.Bad
		}
		t.Rows = append(t.Rows, []paint.Cell{{Text: f.Object}, {Text: string(f.Reason), Style: style}, {Text: form.text(f.Message)}})
	}
	if len(t.Rows) > 0 {
		t.Title = fmt.Sprintf("Warnings (%d of %d; porchlight check says what to do)", len(t.Rows), len(r.Findings))
	}
	return t
}

func (r *Report) pools(form Form) paint.Table {
	t := paint.Table{Title: "Pools", Head: []string{"NAME", "IPV4", "USED", "IPV6", "USED", "ADDRESSES", "STATE"}}
	for _, p := range r.Pools {
		row := []paint.Cell{{Text: p.Name}}
		row = append(row, use(form.Paint, p.AssignedIPv4, p.AvailableIPv4)...)
		row = append(row, use(form.Paint, p.AssignedIPv6, p.AvailableIPv6)...)
		t.Rows = append(t.Rows, append(row, paint.Cell{Text: form.few(p.Addresses)}, say(form.Paint, p.Ready)))
	}
	return t
}

func (r *Report) services(form Form) paint.Table {
	t := paint.Table{Title: "Services", Head: []string{"NAMESPACE", "NAME", "ADDRESSES", "POOL", "PROTOCOL", "OWNER"}}
	if form.Wide {
		t.Head = append(t.Head, "TO")
	}
	t.Head = append(t.Head, "STATE")
	for _, s := range troubledFirst(r.Services, Service.ok) {
		var protocols, nodes, to []string
		for _, a := range s.Announcements {
			if !slices.Contains(protocols, a.Protocol) {
				protocols = append(protocols, a.Protocol)
			}
			if !slices.Contains(nodes, a.Node) {
				nodes = append(nodes, a.Node)
			}
			for _, each := range a.To {
				if !slices.Contains(to, each) {
					to = append(to, each)
				}
			}
		}
		row := paint.Plain(s.Namespace, s.Name, form.few(s.Addresses), form.few(s.Pools), form.few(protocols), form.few(nodes))
		if form.Wide {
			row = append(row, paint.Cell{Text: form.few(to)})
		}
		t.Rows = append(t.Rows, append(row, say(form.Paint, s.Allocated, s.Announced)))
	}
	return t
}

func (r *Report) sessions(form Form) paint.Table {
	t := paint.Table{Title: "BGP sessions", Head: []string{"PEER", "NODE", "STATE", "BFD", "PREFIXES"}}
	if form.Wide {
		t.Head = append(t.Head, "SINCE")
	}
	t.Head = append(t.Head, "LAST ERROR")
	for _, s := range troubledFirst(r.Sessions, Session.ok) {
		style := form.Paint.Bad
		if s.ok() {
			style = form.Paint.Good
		}
		row := append(paint.Plain(s.Peer, s.Node), paint.Cell{Text: s.State, Style: style})
		row = append(row, paint.Plain(s.BFD, fmt.Sprint(s.Prefixes))...)
		if form.Wide {
			since := "-"
			if s.Since != nil {
				since = s.Since.UTC().Format("2006-01-02T15:04:05Z")
			}
			row = append(row, paint.Cell{Text: since})
		}
		last := s.LastError
		if last == "" {
			last = "-"
		}
		t.Rows = append(t.Rows, append(row, paint.Cell{Text: last}))
	}
	return t
}

func (r *Report) gateways(form Form) paint.Table {
	t := paint.Table{Title: "Gateways", Head: []string{"NAMESPACE", "NAME", "CLASS", "ADDRESSES", "LISTENERS", "ROUTES", "STATE"}}
	for _, g := range troubledFirst(r.Gateways, Gateway.ok) {
		row := paint.Plain(g.Namespace, g.Name, g.Class, form.few(g.Addresses), fmt.Sprint(g.Listeners), fmt.Sprint(g.AttachedRoutes))
		t.Rows = append(t.Rows, append(row, say(form.Paint, g.Accepted, g.Programmed)))
	}
	return t
}

func (r *Report) fleets(form Form) paint.Table {
	t := paint.Table{Title: "Fleets", Head: []string{"NAME", "READY", "STATE"}}
	for _, f := range r.Fleets {
		t.Rows = append(t.Rows, append(paint.Plain(f.Name, fmt.Sprintf("%d/%d", f.Ready, f.Wanted)), say(form.Paint, f.State)))
	}
	return t
}

// barWidth is how many characters a full bar has.
const barWidth = 10

// Shares of a pool, in percent, from which its bar says that it fills up: those
// at which the alerts do.
const (
	fillsUp    = 75
	nearlyFull = 95
)

// use writes how full a pool is: a bar, and the assigned of all addresses.
func use(p paint.Paint, assigned, available string) []paint.Cell {
	used, ok := new(big.Int).SetString(assigned, 10)
	free, ok2 := new(big.Int).SetString(available, 10)
	if !ok || !ok2 {
		return paint.Plain("-", "-") // the controller has not counted yet
	}
	total := new(big.Int).Add(used, free)
	if total.Sign() == 0 {
		return paint.Plain("-", "-")
	}
	of := func(n int64) int {
		scaled := new(big.Int).Mul(used, big.NewInt(n))
		return int(scaled.Div(scaled, total).Int64())
	}
	percent, length := of(100), of(barWidth)
	if length == 0 && used.Sign() > 0 {
		length = 1
	}
	style := p.Good
	switch {
	case percent >= nearlyFull:
		style = p.Bad
	case percent >= fillsUp:
		style = p.Warn
	}
	bar := "[" + strings.Repeat("#", length) + strings.Repeat(".", barWidth-length) + "]"
	return []paint.Cell{{Text: bar, Style: style}, {Text: count(used.String()) + "/" + count(total.String())}}
}

// say tells the first of the states that is not well, with its reason and
// message, or ok. The states are in the order in which one follows from the
// other.
func say(p paint.Paint, states ...State) paint.Cell {
	for _, s := range states {
		switch {
		case s.ok():
		case s.Reason == "":
			return paint.Cell{Text: "waiting", Style: p.Warn}
		case s.Message == "":
			return paint.Cell{Text: s.Reason, Style: p.Bad}
		default:
			return paint.Cell{Text: s.Reason + ": " + s.Message, Style: p.Bad}
		}
	}
	return paint.Cell{Text: "ok", Style: p.Good}
}

// count writes a decimal number that a person is to read: of a great one, how
// great it is.
func count(decimal string) string {
	const digits = 9
	if len(decimal) <= digits {
		return decimal
	}
	return fmt.Sprintf("%s.%se%d", decimal[:1], decimal[1:2], len(decimal)-1)
}

// few writes a list in one cell.
func (form Form) few(list []string) string {
	const n = 3
	switch {
	case len(list) == 0:
		return "-"
	case len(list) > n && !form.Wide:
		return fmt.Sprintf("%s +%d", strings.Join(list[:n], ","), len(list)-n)
	default:
		return strings.Join(list, ",")
	}
}

// text writes a message in one cell.
func (form Form) text(s string) string {
	const most = 100
	if r := []rune(s); len(r) > most && !form.Wide {
		return string(r[:most-1]) + "…"
	}
	return s
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
