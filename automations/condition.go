package automations

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/magpie-im/magpie/accounts"
)

// Bounds of a condition. What is allowed in one has neither loops nor names nor functions of its own, so what it costs is
// bounded by how long it is and how large the states are that it looks at.
const (
	maxCondition = 2 << 10 // bytes
	maxNodes     = 200
	maxMemory    = 100_000 // of the machine that runs it, in its own unit
	maxLooked    = 32      // devices that it looks at
)

// environment is what a condition sees. Its fields are what may be written in one.
type environment struct {
	State    map[string]any    `expr:"state"`    // of devices: what they say that they are
	Desired  map[string]any    `expr:"desired"`  // what they should be
	Presence map[string]string `expr:"presence"` // "online", "offline", "sleeping", "unknown", ""
	Now      moment            `expr:"now"`
	Sun      daylight          `expr:"sun"`
	Trigger  map[string]any    `expr:"trigger"` // what has set the automation off
}

// moment is a time, as it is in the home.
type moment struct {
	Hour    int    `expr:"hour"`
	Minute  int    `expr:"minute"`
	Time    string `expr:"time"` // "07:05"
	Date    string `expr:"date"` // "2026-11-26"
	Day     int    `expr:"day"`
	Month   int    `expr:"month"`
	Weekday string `expr:"weekday"` // "thu"
	TS      int64  `expr:"ts"`      // Unix milliseconds
}

// daylight is how the sun stands at the home.
type daylight struct {
	Known bool   `expr:"known"` // it is known where the home is
	Up    bool   `expr:"up"`
	Rise  string `expr:"rise"` // of this day: "07:05"; "": it does not
	Set   string `expr:"set"`
}

// condition is an expression that is true or false.
type condition struct {
	source  string
	program *vm.Program
	devices []accounts.Name // that it looks at
	parts   []part          // all of which have to be true; nil: there is one
}

// part is a piece of a condition, to say why it is false.
type part struct {
	source      string
	program     *vm.Program
	left, right *vm.Program // of a comparison; nil: it is none
	operator    string
}

// newCondition makes a condition. The error is for people.
func newCondition(source string) (*condition, error) {
	tree, devices, err := read(source)
	if err != nil {
		return nil, err
	}
	program, err := compiled(source, expr.AsBool())
	if err != nil {
		return nil, err
	}
	c := &condition{source: source, program: program, devices: devices}
	for _, node := range conjuncts(tree) {
		p := part{source: node.String()}
		if p.program, err = compiled(p.source, expr.AsBool()); err != nil {
			continue // what is shown is the whole, then
		}
		if b, is := node.(*ast.BinaryNode); is && comparisons[b.Operator] {
			left, errLeft := compiled(b.Left.String())
			right, errRight := compiled(b.Right.String())
			if errLeft == nil && errRight == nil {
				p.left, p.right, p.operator = left, right, b.Operator
			}
		}
		c.parts = append(c.parts, p)
	}
	return c, nil
}

// read parses an expression and checks that there is nothing in it that may not be.
func read(source string) (ast.Node, []accounts.Name, error) {
	if len(source) > maxCondition {
		return nil, nil, fmt.Errorf("it has more than %d bytes", maxCondition)
	}
	tree, err := parser.Parse(source)
	if err != nil {
		return nil, nil, plainly(err)
	}
	s := scope{}
	if err := s.check(tree.Node); err != nil {
		return nil, nil, err
	}
	return tree.Node, s.devices, nil
}

func compiled(source string, options ...expr.Option) (*vm.Program, error) {
	options = append(options, expr.Env(environment{}), expr.MaxNodes(maxNodes), expr.DisableAllBuiltins())
	for name := range builtins {
		options = append(options, expr.EnableBuiltin(name))
	}
	program, err := expr.Compile(source, options...)
	if err != nil {
		return nil, plainly(err)
	}
	return program, nil
}

// plainly is the first line of an error: what follows is a picture of the source.
func plainly(err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}

// The functions and operators that may be in a condition: none repeats anything, and none reads or changes anything else.
var builtins = setOf("len abs ceil floor round min max int float string lower upper trim hasPrefix hasSuffix")

var operators = setOf("== != < > <= >= and && or || + - * / % ** ^ in matches contains startsWith endsWith ??")

var comparisons = setOf("== != < > <= >= in matches contains startsWith endsWith")

func setOf(words string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		set[word] = true
	}
	return set
}

// scope is what an expression may speak of, and what it does.
type scope struct {
	nodes   int
	devices []accounts.Name
}

// check checks a node and all below.
func (s *scope) check(n ast.Node) error {
	if s.nodes++; s.nodes > maxNodes {
		return fmt.Errorf("it has more than %d parts", maxNodes)
	}
	switch n := n.(type) {
	case *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode:
		return nil
	case *ast.IdentifierNode:
		if ofDevices[n.Value] {
			return fmt.Errorf("after %q there has to be the name of a device", n.Value)
		}
		return nil // the compiler knows the others
	case *ast.UnaryNode:
		return s.check(n.Node)
	case *ast.BinaryNode:
		if !operators[n.Operator] {
			return fmt.Errorf("%q is not known here", n.Operator)
		}
		if n.Operator == "matches" {
			if err := checkPattern(n.Right); err != nil {
				return err
			}
		}
		return s.all(n.Left, n.Right)
	case *ast.ChainNode:
		return s.check(n.Node)
	case *ast.MemberNode:
		return s.member(n)
	case *ast.ConditionalNode:
		return s.all(n.Cond, n.Exp1, n.Exp2)
	case *ast.ArrayNode:
		return s.all(n.Nodes...)
	case *ast.BuiltinNode:
		if !builtins[n.Name] {
			return fmt.Errorf("%q is not known here", n.Name)
		}
		return s.all(n.Arguments...)
	}
	return fmt.Errorf("%.80q is not known here", n.String())
}

// ofDevices are the names behind which the name of a device follows.
var ofDevices = setOf("state desired presence")

func (s *scope) all(nodes ...ast.Node) error {
	for _, n := range nodes {
		if err := s.check(n); err != nil {
			return err
		}
	}
	return nil
}

// member checks what follows a dot, or is in brackets: it is what it is, so that it is known which devices there are.
func (s *scope) member(n *ast.MemberNode) error {
	name, is := n.Property.(*ast.StringNode)
	if _, index := n.Property.(*ast.IntegerNode); n.Method || !is && !index {
		return errors.New("in brackets there has to be a text, or a number")
	}
	root, ofDevice := n.Node.(*ast.IdentifierNode)
	if !ofDevice || !ofDevices[root.Value] {
		return s.check(n.Node)
	}
	if !is || !validDevice(accounts.Name(name.Value)) {
		return fmt.Errorf("after %q there has to be the name of a device", root.Value)
	}
	if did := accounts.Name(name.Value); !slices.Contains(s.devices, did) {
		s.devices = append(s.devices, did)
	}
	if len(s.devices) > maxLooked {
		return fmt.Errorf("it looks at more than %d devices", maxLooked)
	}
	return nil
}

func checkPattern(n ast.Node) error {
	pattern, is := n.(*ast.StringNode)
	if !is || len(pattern.Value) > maxPattern {
		return fmt.Errorf("behind \"matches\" there has to be a text of at most %d bytes", maxPattern)
	}
	if _, err := regexp.Compile(pattern.Value); err != nil {
		return errors.New("behind \"matches\" there is no regular expression")
	}
	return nil
}

// conjuncts gives the parts of which all have to be true.
func conjuncts(n ast.Node) []ast.Node {
	b, is := n.(*ast.BinaryNode)
	if !is || b.Operator != "and" && b.Operator != "&&" {
		return []ast.Node{n}
	}
	return append(conjuncts(b.Left), conjuncts(b.Right)...)
}

// evaluate runs a program. Whatever is wrong with it is an error.
func evaluate(program *vm.Program, env *environment) (out any, err error) {
	machine := vm.VM{MemoryBudget: maxMemory}
	out, err = machine.Run(program, *env)
	if err != nil {
		return nil, plainly(err)
	}
	return out, nil
}

// holds says whether the condition is true, and if not, why: an error counts as false.
func (c *condition) holds(env *environment) (ok bool, why string) {
	out, err := evaluate(c.program, env)
	if ok, _ = out.(bool); ok && err == nil {
		return true, ""
	}
	for _, p := range c.parts {
		part, failed := evaluate(p.program, env)
		if true, _ := part.(bool); true && failed == nil {
			continue
		}
		return false, p.explain(env, failed)
	}
	if err != nil {
		return false, c.source + ": " + err.Error()
	}
	return false, c.source
}

// explain says what the part is, and what its sides are.
func (p *part) explain(env *environment, failed error) string {
	switch {
	case failed != nil:
		return p.source + ": " + failed.Error()
	case p.left == nil:
		return p.source + " is false"
	}
	left, errLeft := evaluate(p.left, env)
	right, errRight := evaluate(p.right, env)
	if errLeft != nil || errRight != nil {
		return p.source + " is false"
	}
	return fmt.Sprintf("%s: %s %s %s is false", p.source, shown(left), p.operator, shown(right))
}

// text is what a message says: pieces, every second of which is an expression in {{ }}.
type text struct {
	pieces   []string
	programs []*vm.Program
	looked   []accounts.Name
}

const maxExpressions = 10 // in a text

func newText(source string) (*text, error) {
	t := &text{}
	for {
		before, rest, found := strings.Cut(source, "{{")
		t.pieces = append(t.pieces, before)
		if !found {
			return t, nil
		}
		expression, after, closed := strings.Cut(rest, "}}")
		if !closed || len(t.programs) >= maxExpressions {
			return nil, fmt.Errorf("a \"{{\" has no end, or there are more than %d", maxExpressions)
		}
		_, devices, err := read(expression)
		if err != nil {
			return nil, err
		}
		program, err := compiled(expression)
		if err != nil {
			return nil, err
		}
		t.looked = append(t.looked, devices...)
		if len(t.looked) > maxLooked {
			return nil, fmt.Errorf("it looks at more than %d devices", maxLooked)
		}
		t.programs = append(t.programs, program)
		source = after
	}
}

func (t *text) devices() []accounts.Name { return t.looked }

// say is the text, with what its expressions come to; those that come to nothing are a question mark.
func (t *text) say(env *environment) string {
	var b strings.Builder
	for i, piece := range t.pieces {
		b.WriteString(piece)
		if i >= len(t.programs) {
			break
		}
		out, err := evaluate(t.programs[i], env)
		switch text, is := out.(string); {
		case err != nil || out == nil:
			b.WriteString("?")
		case is:
			b.WriteString(cut(text))
		default:
			b.WriteString(shown(out))
		}
	}
	return b.String()
}
