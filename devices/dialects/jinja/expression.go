package jinja

import (
	"fmt"
	"slices"
	"strconv"
)

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

func (p *parser) signed() (expr, error) { return p.sign(true) }

// sign reads a value with the signs in front of it. Filters and tests are of all that: -x | abs is of -x.
func (p *parser) sign(filtered bool) (expr, error) {
	for _, op := range []string{"-", "+"} {
		if !p.take(tokenOperator, op) {
			continue
		}
		up, err := p.deeper()
		if err != nil {
			return nil, err
		}
		defer up()
		x, err := p.sign(false)
		if err == nil {
			x, err = p.made(unary{op, x})
		}
		if err != nil {
			return nil, err
		}
		return p.followed(x, filtered)
	}
	x, err := p.primary()
	if err != nil {
		return nil, err
	}
	return p.followed(x, filtered)
}

// followed reads what stands behind a value: members, calls, and filters and tests if they are of it.
func (p *parser) followed(x expr, filtered bool) (expr, error) {
	for {
		var err error
		switch {
		case p.take(tokenOperator, "."):
			x, err = p.member(x)
		case p.take(tokenOperator, "["):
			x, err = p.subscript(x)
		case filtered && p.take(tokenOperator, "|"):
			x, err = p.filter(x)
		case filtered && p.take(tokenName, "is"):
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

// number reads a number as it stands in JSON or a template: whole ones as int64, others, and those that are too large, as
// float64.
func number(s string) (v any, ok bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}
