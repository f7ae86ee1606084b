package jinja

import "fmt"

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
