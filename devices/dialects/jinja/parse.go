package jinja

import (
	"fmt"
	"slices"
	"strconv"
)

// Statements.
type (
	statement any
	text      string
	output    struct{ expr expr }
	choice    struct {
		tests  []expr // of if and each elif
		bodies [][]statement
		other  []statement
	}
	assignment struct {
		name string
		expr expr
	}
)

// Expressions.
type (
	expr     any
	constant struct{ value any }
	name     string
	list     []expr
	pairs    []struct{ key, value expr }
	unary    struct {
		op string
		x  expr
	}
	binary struct {
		op   string
		x, y expr
	}
	logic struct { // and, or: the second one counts if the first does not decide
		op   string
		x, y expr
	}
	comparison struct {
		x     expr
		steps []step
	}
	step struct {
		op string
		y  expr
	}
	conditional struct{ yes, test, no expr } // no may be nil
	member      struct {
		x    expr
		name string
	}
	subscript struct{ x, at expr }
	slice     struct{ x, from, to expr } // which may be nil
	call      struct {
		of    string // a function, a filter, or a method of x
		how   byte   // 'f', '|' or '.'
		x     expr   // nil of a function
		args  []expr
		named map[string]expr
	}
	test struct {
		x    expr
		name string
		not  bool
	}
)

// parser makes statements and expressions of tokens.
type parser struct {
	lexer
	tok    token
	peeked bool
	nodes  int
	depth  int
}

// peek gives the next token without taking it.
func (p *parser) peek() (token, error) {
	if p.peeked {
		return p.tok, nil
	}
	t, err := p.next()
	if err != nil {
		return t, err
	}
	p.tok, p.peeked = t, true
	return t, nil
}

// take takes the next token if it is this one.
func (p *parser) take(k kind, text string) bool {
	t, err := p.peek()
	if err != nil || t.kind != k || t.text != text {
		return false
	}
	p.peeked = false
	return true
}

// need takes the next token, which has to be of a kind.
func (p *parser) need(k kind) (string, error) {
	t, err := p.peek()
	if err != nil {
		return "", err
	}
	if t.kind != k {
		return "", fmt.Errorf("%q: %w", t.text, ErrBeyond)
	}
	p.peeked = false
	return t.text, nil
}

func (p *parser) needOperator(op string) error {
	if !p.take(tokenOperator, op) {
		return fmt.Errorf("no %s: %w", op, ErrBeyond)
	}
	return nil
}

// deeper is to be called where something can be within itself, and what it gives afterwards.
func (p *parser) deeper() (func(), error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("too deep: %w", ErrBeyond)
	}
	return func() { p.depth-- }, nil
}

// made counts a part of an expression.
func (p *parser) made(e expr) (expr, error) {
	if p.nodes++; p.nodes > maxNodes {
		return nil, fmt.Errorf("too long: %w", ErrBeyond)
	}
	return e, nil
}

func (p *parser) template() ([]statement, error) {
	body, end, err := p.statements()
	if err == nil && end != "" {
		err = fmt.Errorf("%s: %w", end, ErrBeyond)
	}
	return body, err
}

// statements reads until the end, or until a block that is part of one around it, whose word it gives.
func (p *parser) statements() (body []statement, end string, err error) {
	up, err := p.deeper()
	if err != nil {
		return nil, "", err
	}
	defer up()
	for {
		t, err := p.peek()
		if err != nil {
			return nil, "", err
		}
		p.peeked = false
		switch t.kind {
		case tokenEnd:
			return body, "", nil
		case tokenText:
			if t.text != "" {
				body = append(body, text(t.text))
			}
		case tokenOutput:
			e, err := p.expression()
			if err == nil {
				_, err = p.need(tokenClose)
			}
			if err != nil {
				return nil, "", err
			}
			body = append(body, output{e})
		default:
			word, err := p.need(tokenName)
			if err != nil {
				return nil, "", err
			}
			var s statement
			switch word {
			case "if":
				s, err = p.choice()
			case "set":
				s, err = p.assignment()
			case "elif", "else", "endif":
				return body, word, nil
			default:
				err = fmt.Errorf("%s: %w", word, ErrBeyond)
			}
			if err != nil {
				return nil, "", err
			}
			body = append(body, s)
		}
	}
}

func (p *parser) choice() (statement, error) {
	var c choice
	for word := "if"; ; {
		switch word {
		case "if", "elif":
			test, err := p.expression()
			if err != nil {
				return nil, err
			}
			c.tests = append(c.tests, test)
		}
		if _, err := p.need(tokenClose); err != nil {
			return nil, err
		}
		if word == "endif" {
			return c, nil
		}
		body, next, err := p.statements()
		if err != nil {
			return nil, err
		}
		switch {
		case next == "", word == "else" && next != "endif":
			return nil, fmt.Errorf("no endif: %w", ErrBeyond)
		case word == "else":
			c.other = body
		default:
			c.bodies = append(c.bodies, body)
		}
		word = next
	}
}

func (p *parser) assignment() (statement, error) {
	to, err := p.need(tokenName)
	if err == nil {
		err = p.needOperator("=")
	}
	if err != nil {
		return nil, err
	}
	e, err := p.expression()
	if err == nil {
		_, err = p.need(tokenClose)
	}
	return assignment{to, e}, err
}

// expression reads x, or x if test else y.
func (p *parser) expression() (expr, error) {
	up, err := p.deeper()
	if err != nil {
		return nil, err
	}
	defer up()
	e, err := p.either()
	for err == nil && p.take(tokenName, "if") {
		c := conditional{yes: e}
		if c.test, err = p.either(); err != nil {
			return nil, err
		}
		if p.take(tokenName, "else") {
			if c.no, err = p.expression(); err != nil {
				return nil, err
			}
		}
		e, err = p.made(c)
	}
	return e, err
}

func (p *parser) either() (expr, error) { return p.chain("or", p.both) }

func (p *parser) both() (expr, error) { return p.chain("and", p.negation) }

func (p *parser) chain(word string, of func() (expr, error)) (expr, error) {
	x, err := of()
	for err == nil && p.take(tokenName, word) {
		var y expr
		if y, err = of(); err == nil {
			x, err = p.made(logic{word, x, y})
		}
	}
	return x, err
}

func (p *parser) negation() (expr, error) {
	if !p.take(tokenName, "not") {
		return p.compared()
	}
	up, err := p.deeper()
	if err != nil {
		return nil, err
	}
	defer up()
	x, err := p.negation()
	if err != nil {
		return nil, err
	}
	return p.made(unary{"not", x})
}

func (p *parser) compared() (expr, error) {
	x, err := p.sum()
	if err != nil {
		return nil, err
	}
	c := comparison{x: x}
	for {
		op := ""
		for _, o := range []string{"==", "!=", "<=", ">=", "<", ">"} {
			if p.take(tokenOperator, o) {
				op = o
				break
			}
		}
		switch {
		case op != "":
		case p.take(tokenName, "in"):
			op = "in"
		case p.take(tokenName, "not"):
			if !p.take(tokenName, "in") {
				return nil, fmt.Errorf("not: %w", ErrBeyond)
			}
			op = "not in"
		case len(c.steps) == 0:
			return x, nil
		default:
			return c, nil
		}
		y, err := p.sum()
		if err == nil {
			_, err = p.made(y)
		}
		if err != nil {
			return nil, err
		}
		c.steps = append(c.steps, step{op, y})
	}
}

func (p *parser) sum() (expr, error) { return p.operated([]string{"+", "-"}, p.joined) }

func (p *parser) joined() (expr, error) { return p.operated([]string{"~"}, p.product) }

func (p *parser) product() (expr, error) { return p.operated([]string{"*", "//", "/", "%"}, p.signed) }

func (p *parser) operated(ops []string, of func() (expr, error)) (expr, error) {
	x, err := of()
	for err == nil {
		i := slices.IndexFunc(ops, func(op string) bool { return p.take(tokenOperator, op) })
		if i < 0 {
			break
		}
		var y expr
		if y, err = of(); err == nil {
			x, err = p.made(binary{ops[i], x, y})
		}
	}
	return x, err
}

func (p *parser) signed() (expr, error) {
	for _, op := range []string{"-", "+"} {
		if !p.take(tokenOperator, op) {
			continue
		}
		up, err := p.deeper()
		if err != nil {
			return nil, err
		}
		defer up()
		x, err := p.signed()
		if err != nil {
			return nil, err
		}
		return p.made(unary{op, x})
	}
	x, err := p.primary()
	if err != nil {
		return nil, err
	}
	return p.followed(x)
}

// followed reads what stands behind a value: members, calls, filters and tests.
func (p *parser) followed(x expr) (expr, error) {
	for {
		var err error
		switch {
		case p.take(tokenOperator, "."):
			x, err = p.member(x)
		case p.take(tokenOperator, "["):
			x, err = p.subscript(x)
		case p.take(tokenOperator, "|"):
			x, err = p.filter(x)
		case p.take(tokenName, "is"):
			x, err = p.test(x)
		default:
			return x, nil
		}
		if err == nil {
			x, err = p.made(x)
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) member(x expr) (expr, error) {
	word, err := p.need(tokenName)
	if err != nil {
		return nil, err
	}
	if p.take(tokenOperator, "(") {
		if methods[word] == nil {
			return nil, fmt.Errorf(".%s(): %w", word, ErrBeyond)
		}
		return p.arguments(call{of: word, how: '.', x: x})
	}
	return member{x, word}, nil
}

func (p *parser) subscript(x expr) (e expr, err error) {
	var from, to expr
	if !p.take(tokenOperator, ":") {
		if from, err = p.expression(); err != nil {
			return nil, err
		}
		if p.take(tokenOperator, "]") {
			return subscript{x, from}, nil
		}
		if err = p.needOperator(":"); err != nil {
			return nil, err
		}
	}
	if p.take(tokenOperator, "]") {
		return slice{x, from, nil}, nil
	}
	if to, err = p.expression(); err != nil {
		return nil, err
	}
	return slice{x, from, to}, p.needOperator("]")
}

func (p *parser) filter(x expr) (expr, error) {
	word, err := p.need(tokenName)
	if err != nil {
		return nil, err
	}
	if filters[word] == nil {
		return nil, fmt.Errorf("|%s: %w", word, ErrBeyond)
	}
	c := call{of: word, how: '|', x: x}
	if p.take(tokenOperator, "(") {
		return p.arguments(c)
	}
	return c, nil
}

func (p *parser) test(x expr) (expr, error) {
	t := test{x: x, not: p.take(tokenName, "not")}
	var err error
	if t.name, err = p.need(tokenName); err != nil {
		return nil, err
	}
	if tests[t.name] == nil {
		return nil, fmt.Errorf("is %s: %w", t.name, ErrBeyond)
	}
	return t, nil
}

// arguments reads those of a call, whose parenthesis is open.
func (p *parser) arguments(c call) (expr, error) {
	for first := true; !p.take(tokenOperator, ")"); first = false {
		if !first {
			if err := p.needOperator(","); err != nil {
				return nil, err
			}
			if p.take(tokenOperator, ")") {
				break
			}
		}
		e, err := p.expression()
		if err != nil {
			return nil, err
		}
		word, is := e.(name)
		if !is || !p.take(tokenOperator, "=") {
			c.args = append(c.args, e)
			continue
		}
		if e, err = p.expression(); err != nil {
			return nil, err
		}
		if c.named == nil {
			c.named = map[string]expr{}
		}
		c.named[string(word)] = e
	}
	return c, nil
}

// words are names that mean the same everywhere.
var words = map[string]any{
	"true": true, "True": true, "false": false, "False": false, "none": nil, "None": nil,
}

func (p *parser) primary() (expr, error) {
	t, err := p.peek()
	if err != nil {
		return nil, err
	}
	p.peeked = false
	switch {
	case t.kind == tokenString:
		return p.made(constant{t.text})
	case t.kind == tokenNumber:
		v, ok := number(t.text)
		if !ok {
			return nil, fmt.Errorf("%s: %w", t.text, ErrBeyond)
		}
		return p.made(constant{v})
	case t.kind == tokenName:
		if v, is := words[t.text]; is {
			return p.made(constant{v})
		}
		if !p.take(tokenOperator, "(") {
			return p.made(name(t.text))
		}
		if functions[t.text] == nil {
			return nil, fmt.Errorf("%s(): %w", t.text, ErrBeyond)
		}
		e, err := p.arguments(call{of: t.text, how: 'f'})
		if err != nil {
			return nil, err
		}
		return p.made(e)
	case t == token{tokenOperator, "("}:
		return p.group()
	case t == token{tokenOperator, "["}:
		all, err := p.list("]", nil)
		if err != nil {
			return nil, err
		}
		return p.made(all)
	case t == token{tokenOperator, "{"}:
		return p.dict()
	}
	return nil, fmt.Errorf("%q: %w", t.text, ErrBeyond)
}

// group reads (x), or a list in parentheses.
func (p *parser) group() (expr, error) {
	first, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.take(tokenOperator, ")") {
		return first, nil
	}
	if err := p.needOperator(","); err != nil {
		return nil, err
	}
	all, err := p.list(")", list{first})
	if err != nil {
		return nil, err
	}
	return p.made(all)
}

func (p *parser) list(end string, all list) (list, error) {
	for !p.take(tokenOperator, end) {
		e, err := p.expression()
		if err != nil {
			return nil, err
		}
		all = append(all, e)
		if p.take(tokenOperator, end) {
			break
		}
		if err := p.needOperator(","); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (p *parser) dict() (expr, error) {
	all := pairs{}
	for !p.take(tokenOperator, "}") {
		key, err := p.expression()
		if err == nil {
			err = p.needOperator(":")
		}
		if err != nil {
			return nil, err
		}
		value, err := p.expression()
		if err != nil {
			return nil, err
		}
		all = append(all, struct{ key, value expr }{key, value})
		if p.take(tokenOperator, "}") {
			break
		}
		if err := p.needOperator(","); err != nil {
			return nil, err
		}
	}
	return p.made(all)
}

// number reads a number as it stands in JSON or a template: whole ones as int64, others, and those that are too large, as float64.
func number(s string) (v any, ok bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}
