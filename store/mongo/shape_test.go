package mongo

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// shape is what a query asks for, but for its values.
type shape struct {
	collection string
	equal      map[string]bool // fields that have one of some values
	within     map[string]bool // fields that lie between values
	there      map[string]bool // fields that are there
	other      map[string]bool // fields of which something else is said
	sort       []order
	limited    bool // only so many are wanted
}

// order is that documents come in the order of a field: 1 ascending, -1 descending.
type order struct {
	field     string
	direction int64
}

// shapes are the queries of a command. An $or has one for each branch: each has to be served.
func shapes(command bson.Raw) (all []shape, err error) {
	elements, err := command.Elements()
	if err != nil || len(elements) == 0 {
		return nil, err
	}
	name, collection := elements[0].Key(), elements[0].Value()
	switch name {
	case "find":
		return shapesOf(collection.StringValue(), command, "filter", "sort")
	case "findAndModify":
		return shapesOf(collection.StringValue(), command, "query", "sort")
	case "update":
		return shapesOfEach(collection.StringValue(), command, "updates")
	case "delete":
		return shapesOfEach(collection.StringValue(), command, "deletes")
	case "aggregate":
		first, err := command.LookupErr("pipeline", "0")
		if err != nil {
			return nil, err
		}
		return shapesOf(collection.StringValue(), first.Document(), "$match", "$sort")
	case "insert", "getMore", "killCursors", "endSessions", "ping", "buildInfo", "listIndexes", "listCollections", "createIndexes":
		return nil, nil
	}
	return nil, fmt.Errorf("command %s", name)
}

func shapesOfEach(collection string, command bson.Raw, field string) (all []shape, err error) {
	list, err := command.Lookup(field).Array().Values()
	if err != nil {
		return nil, err
	}
	for _, v := range list {
		some, err := shapesOf(collection, v.Document(), "q", "sort")
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

func shapesOf(collection string, from bson.Raw, filter, sort string) ([]shape, error) {
	var by []order
	if v, err := from.LookupErr(sort); err == nil {
		fields, err := v.Document().Elements()
		if err != nil {
			return nil, err
		}
		for _, f := range fields {
			by = append(by, order{f.Key(), f.Value().AsInt64()})
		}
	}
	of := bson.Raw(nil)
	if v, err := from.LookupErr(filter); err == nil {
		of = v.Document()
	}
	limit, err := from.LookupErr("limit")
	all := []shape{{
		collection: collection, equal: map[string]bool{}, within: map[string]bool{}, there: map[string]bool{},
		other: map[string]bool{}, sort: by, limited: err == nil && limit.AsInt64() != 0,
	}}
	return all, narrow(&all, of)
}

// narrow adds a filter to shapes, which become more if it has an $or.
func narrow(all *[]shape, filter bson.Raw) error {
	if filter == nil {
		return nil
	}
	elements, err := filter.Elements()
	if err != nil {
		return err
	}
	for _, e := range elements {
		switch e.Key() {
		case "$or", "$and":
			branches, err := e.Value().Array().Values()
			if err != nil {
				return err
			}
			var split []shape
			for _, b := range branches {
				some := *all
				if e.Key() == "$or" {
					some = clones(*all)
				}
				if err := narrow(&some, b.Document()); err != nil {
					return err
				}
				if e.Key() == "$and" {
					*all = some
				}
				split = append(split, some...)
			}
			if e.Key() == "$or" {
				*all = split
			}
		default:
			for i := range *all {
				(*all)[i].say(e.Key(), e.Value())
			}
		}
	}
	return nil
}

func clones(all []shape) (out []shape) {
	for _, s := range all {
		s.equal, s.within = maps.Clone(s.equal), maps.Clone(s.within)
		s.there, s.other = maps.Clone(s.there), maps.Clone(s.other)
		out = append(out, s)
	}
	return out
}

// say adds what is asked of a field.
func (s *shape) say(field string, v bson.RawValue) {
	doc, is := v.DocumentOK()
	elements, err := doc.Elements()
	if !is || err != nil || len(elements) == 0 || !strings.HasPrefix(elements[0].Key(), "$") {
		if v.Type == bson.TypeNull {
			s.other[field] = true
		} else {
			s.equal[field] = true
		}
		return
	}
	for _, e := range elements {
		switch e.Key() {
		case "$in", "$eq":
			s.equal[field] = true
		case "$gt", "$gte", "$lt", "$lte":
			s.within[field] = true
		case "$exists":
			if there, _ := e.Value().BooleanOK(); there {
				s.there[field] = true
			} else {
				s.other[field] = true
			}
		default:
			s.other[field] = true
		}
	}
}

func (s *shape) String() string {
	var parts []string
	for _, part := range []struct {
		fields map[string]bool
		mark   string
	}{{s.equal, "="}, {s.within, "<>"}, {s.there, "!"}, {s.other, "?"}} {
		for _, f := range slices.Sorted(maps.Keys(part.fields)) {
			parts = append(parts, f+part.mark)
		}
	}
	text := s.collection + " {" + strings.Join(parts, " ") + "}"
	for _, o := range s.sort {
		text += " " + map[int64]string{1: "+", -1: "-"}[o.direction] + o.field
	}
	if s.limited && !s.asks() {
		text += " limited"
	}
	return text
}

// asks says whether a query wants documents that are like something.
func (s *shape) asks() bool { return len(s.equal)+len(s.within)+len(s.there)+len(s.other) > 0 }

// served says which index serves a query best, which fields have to be looked at in the documents that it finds, and how well it does;
// less than 0: none does. Equal fields come first, then those of the order, then one that lies between values.
func (s *shape) served() (by index, left []string, well int) {
	well = -1
	for _, x := range append([]index{{collection: s.collection, name: "_id_", keys: fields("_id"), unique: true}}, allIndexes...) {
		if x.collection != s.collection {
			continue
		}
		if bound, rest, serves := s.by(x); serves && bound > well {
			well, by, left = bound, x, rest
		}
	}
	return by, left, well
}

// by says how well an index serves a query: by how many fields it is narrowed down, of which equal ones count twice.
func (s *shape) by(x index) (bound int, left []string, ok bool) {
	used := map[string]bool{}
	i := 0
	for i < len(x.keys) && s.equal[x.keys[i].Key] {
		used[x.keys[i].Key] = true
		i++
	}
	one := x.unique && i == len(x.keys) && !x.sparse // it finds one document
	bound = 2 * i
	direction := int64(0)
	at := i
	for _, o := range s.sort {
		if s.equal[o.field] || one {
			continue
		}
		if at == len(x.keys) || x.keys[at].Key != o.field || direction != 0 && direction != o.direction {
			return 0, nil, false
		}
		direction = o.direction
		at++
	}
	if i < len(x.keys) && s.within[x.keys[i].Key] {
		used[x.keys[i].Key] = true
		bound++
	}
	if x.sparse && i == 0 && s.there[x.keys[0].Key] {
		used[x.keys[0].Key] = true
		bound++
	}
	page := s.limited && !s.asks() // the first ones of all, in an order
	if x.sparse && !used[x.keys[0].Key] || bound == 0 && !page {
		return 0, nil, false
	}
	for _, said := range []map[string]bool{s.equal, s.within, s.there, s.other} {
		for f := range said {
			if !used[f] && !slices.Contains(left, f) && !one {
				left = append(left, f)
			}
		}
	}
	slices.Sort(left)
	return bound, left, true
}
