package jinja

import (
	"fmt"
	"strings"
)

func (r *run) compare(e comparison) (any, error) {
	x, err := r.eval(e.x)
	if err != nil {
		return nil, err
	}
	for _, s := range e.steps {
		y, err := r.eval(s.y)
		if err != nil {
			return nil, err
		}
		var yes bool
		switch s.op {
		case "==", "!=":
			if err := r.work(min(size(x), size(y))); err != nil {
				return nil, err
			}
			yes = same(x, y) == (s.op == "==")
		case "in", "not in":
			if yes, err = r.in(x, y); err != nil {
				return nil, err
			}
			yes = yes == (s.op == "in")
		default:
			if yes, err = r.less(s.op, x, y); err != nil {
				return nil, err
			}
		}
		if !yes {
			return false, nil
		}
		x = y
	}
	return true, nil
}

// size is about how much work it is to look at all of a value.
func size(v any) int {
	switch v := v.(type) {
	case string:
		return len(v)
	case []any:
		return len(v)
	case map[string]any:
		return len(v)
	case dict:
		return len(v)
	}
	return 1
}

// same says whether two values are equal. Lists and objects are equal to nothing.
func same(x, y any) bool {
	_, fx, _, okX := numeric(x)
	_, fy, _, okY := numeric(y)
	switch x := x.(type) {
	case string:
		t, is := y.(string)
		return is && t == x
	case nil:
		return y == nil
	}
	return okX && okY && fx == fy
}

func (r *run) less(op string, x, y any) (bool, error) {
	_, fx, _, okX := numeric(x)
	_, fy, _, okY := numeric(y)
	a, isText := x.(string)
	b, areTexts := y.(string)
	switch {
	case isText && areTexts:
		if err := r.work(min(len(a), len(b))); err != nil {
			return false, err
		}
		fx, fy = float64(strings.Compare(a, b)), 0
	case !okX || !okY:
		return false, fmt.Errorf("%s of what cannot be compared: %w", op, ErrValue)
	}
	switch op {
	case "<":
		return fx < fy, nil
	case "<=":
		return fx <= fy, nil
	case ">":
		return fx > fy, nil
	}
	return fx >= fy, nil
}

// in says whether x is part of y.
func (r *run) in(x, y any) (bool, error) {
	if err := r.work(size(y) + size(x)); err != nil {
		return false, err
	}
	switch y := y.(type) {
	case string:
		t, is := x.(string)
		if !is {
			return false, fmt.Errorf("in of no text: %w", ErrValue)
		}
		return strings.Contains(y, t), nil
	case []any:
		for _, v := range y {
			v = known(v)
			if err := r.work(min(size(x), size(v))); err != nil {
				return false, err
			}
			if same(x, v) {
				return true, nil
			}
		}
		return false, nil
	case map[string]any:
		t, is := x.(string)
		_, there := y[t]
		return is && there, nil
	case dict:
		_, there := y.get(x)
		return there, nil
	}
	return false, fmt.Errorf("in of what has no parts: %w", ErrValue)
}

func (d dict) get(key any) (any, bool) {
	for i := len(d) - 1; i >= 0; i-- {
		if same(d[i].key, key) {
			return d[i].value, true
		}
	}
	return nil, false
}
