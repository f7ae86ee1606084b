package main

import (
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/magpie-im/magpie/broker"
)

// Environment variables that are no settings.
const (
	envPrefix = "MAGPIE_"
	envConfig = "MAGPIE_CONFIG" // the file, as with --config
	envTest   = "MAGPIE_TEST_"  // for the tests
)

// The store has a section of its own, and can also be named in one line: store = "mongodb://...", MAGPIE_STORE.
const (
	storeKey    = "store"
	storeURIKey = "store.uri"
)

// configFlags say where the configuration comes from: the defaults, then a file, then the environment, then flags, the
// later one winning.
type configFlags struct {
	Config string  `help:"Configuration file (TOML)." placeholder:"FILE" env:"MAGPIE_CONFIG"`
	Data   *string `help:"Directory of everything that is stored (default: data)." placeholder:"DIR"`
}

// load puts the configuration together. Its errors name the key and where it was set, and are errConfig.
func (f configFlags) load(environ []string, more ...func(*broker.Config)) (broker.Config, error) {
	cfg := broker.Default()
	err := loadFile(&cfg, f.Config)
	if err == nil {
		err = loadEnviron(&cfg, environ)
	}
	if err == nil {
		override(&cfg.Data, f.Data)
		for _, change := range more {
			change(&cfg)
		}
		err = cfg.Validate()
	}
	if err != nil {
		return broker.Config{}, fmt.Errorf("%w: %w", errConfig, err)
	}
	return cfg, nil
}

// override sets to the value of a flag that was given.
func override(to, flag *string) {
	if flag != nil {
		*to = *flag
	}
}

// setting is one value of the configuration.
type setting struct {
	key   string // limits.publish_rate, acl[0].topic
	value reflect.Value
}

func (s setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// settings gives every value of cfg that there is once, in the order in which they are declared.
func settings(cfg *broker.Config) []setting {
	return collect(nil, "", reflect.ValueOf(cfg).Elem())
}

func collect(to []setting, prefix string, section reflect.Value) []setting {
	for i := range section.NumField() {
		value, key := section.Field(i), prefix+section.Type().Field(i).Tag.Get("toml")
		_, isText := value.Addr().Interface().(encoding.TextUnmarshaler)
		switch {
		case value.Kind() == reflect.Struct && !isText:
			to = collect(to, key+".", value)
		case !isTable(value):
			to = append(to, setting{key, value})
		}
	}
	return to
}

// isTable says whether value is what TOML calls an array of tables: [[acl]].
func isTable(value reflect.Value) bool {
	return value.Kind() == reflect.Slice && value.Type().Elem().Kind() == reflect.Struct
}

// makeTables gives every table of cfg as many entries as the file has, and their values; out of the file it takes those
// that have none.
func makeTables(cfg *broker.Config, file map[string]any) ([]setting, error) {
	var entries []setting
	config := reflect.ValueOf(cfg).Elem()
	for i := range config.NumField() {
		table, key := config.Field(i), config.Type().Field(i).Tag.Get("toml")
		raw, ok := file[key]
		if !isTable(table) || !ok {
			continue
		}
		items, ok := tables(raw)
		if !ok {
			return nil, fmt.Errorf("%s: is a list; each entry begins with [[%s]]", key, key)
		}
		if len(items) == 0 {
			delete(file, key)
		}
		table.Set(reflect.MakeSlice(table.Type(), len(items), len(items)))
		for j := range items {
			entries = collect(entries, entry(key, j), table.Index(j))
		}
	}
	return entries, nil
}

// entry begins the keys of one entry of a table, counted from 0.
func entry(key string, i int) string { return fmt.Sprintf("%s[%d].", key, i) }

// tables takes a list of tables.
func tables(raw any) ([]map[string]any, bool) {
	items, ok := raw.([]any)
	list := make([]map[string]any, len(items))
	for i, item := range items {
		table, isTable := item.(map[string]any)
		list[i], ok = table, ok && isTable
	}
	return list, ok
}

// set takes a value as TOML has it, or as text.
func (s setting) set(raw any) error {
	text, isText := raw.(string)
	number, isNumber := raw.(int64)
	if u, ok := s.value.Addr().Interface().(encoding.TextUnmarshaler); ok && (isText || isNumber) {
		return u.UnmarshalText(fmt.Append(nil, raw))
	}
	switch s.value.Kind() {
	case reflect.String:
		if isText {
			s.value.SetString(text)
			return nil
		}
	case reflect.Int:
		if isText {
			var err error
			number, err = strconv.ParseInt(text, 10, 0)
			isNumber = err == nil
		}
		if !isNumber || s.value.OverflowInt(number) {
			return fmt.Errorf("%#v is no whole number", raw)
		}
		s.value.SetInt(number)
		return nil
	case reflect.Slice:
		if list, ok := texts(raw); ok {
			s.value.Set(reflect.ValueOf(list))
			return nil
		}
	}
	return errors.New("the value has the wrong type")
}

// texts takes a list of strings, or one string with commas.
func texts(raw any) ([]string, bool) {
	list := []string{}
	if text, ok := raw.(string); ok {
		for _, item := range strings.Split(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				list = append(list, item)
			}
		}
		return list, true
	}
	items, ok := raw.([]any)
	for _, item := range items {
		text, isText := item.(string)
		list, ok = append(list, text), ok && isText
	}
	return list, ok
}

func loadFile(cfg *broker.Config, path string) error {
	if path == "" {
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	var file map[string]any
	if err := toml.Unmarshal(content, &file); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			row, column := at.Position()
			return fmt.Errorf("%s:%d:%d: %w", path, row, column, err)
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	entries, err := makeTables(cfg, file)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	known := map[string]setting{}
	for _, s := range append(settings(cfg), entries...) {
		known[s.key] = s
	}
	known[storeKey] = known[storeURIKey]
	return apply(known, flatten(nil, "", file), func(name string, err error) error {
		return fmt.Errorf("%s: %s: %w", path, name, err)
	})
}

// given is a value that somebody set under a name.
type given struct {
	name string
	raw  any
}

// flatten gives the values of a TOML table with their full keys.
func flatten(to []given, prefix string, table map[string]any) []given {
	for key, raw := range table {
		if inner, ok := raw.(map[string]any); ok {
			to = flatten(to, prefix+key+".", inner)
		} else if items, ok := tables(raw); ok && len(items) > 0 {
			for i, item := range items {
				to = flatten(to, prefix+entry(key, i), item)
			}
		} else {
			to = append(to, given{prefix + key, raw})
		}
	}
	return to
}

func loadEnviron(cfg *broker.Config, environ []string) error {
	known := map[string]setting{}
	for _, s := range settings(cfg) {
		known[s.env()] = s
		if s.key == storeURIKey {
			known[setting{key: storeKey}.env()] = s
		}
	}
	var values []given
	for _, variable := range environ {
		name, text, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, envPrefix) && !strings.HasPrefix(name, envTest) && name != envConfig {
			values = append(values, given{name, text})
		}
	}
	return apply(known, values, func(name string, err error) error {
		return fmt.Errorf("environment: %s: %w", name, err)
	})
}

// apply sets every value, or says of each that it cannot.
func apply(known map[string]setting, values []given, wrap func(name string, err error) error) error {
	slices.SortFunc(values, func(a, b given) int { return strings.Compare(a.name, b.name) })
	var errs []error
	for _, v := range values {
		s, ok := known[v.name]
		if !ok {
			errs = append(errs, wrap(v.name, unknown(v.name, known)))
		} else if err := s.set(v.raw); err != nil {
			errs = append(errs, wrap(v.name, err))
		}
	}
	return errors.Join(errs...)
}

// unknown says that there is no such name, and which one may have been meant.
func unknown(name string, known map[string]setting) error {
	nearest, least := "", 1+len(name)/3
	for candidate := range known {
		d := distance(name, candidate)
		if d < least || d == least && nearest != "" && candidate < nearest {
			nearest, least = candidate, d
		}
	}
	if nearest == "" {
		return errors.New("unknown key")
	}
	return fmt.Errorf("unknown key; did you mean %s?", nearest)
}

// distance is how many letters have to be changed, added or removed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
