package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/magpie-im/magpie/broker"
)

var update = flag.Bool("update", false, "write the files that are generated")

//go:generate go test -run TestTheExampleIsMadeFromTheComments -update .

func TestTheExampleIsMadeFromTheComments(t *testing.T) {
	path := filepath.Join("..", "..", "deploy", "magpie.toml")
	want := example(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what broker/config.go says; make it anew with go generate ./cmd/magpie", path)
	}
}

func TestTheExampleUncommentedIsTheDefault(t *testing.T) {
	commented := regexp.MustCompile(`(?m)^#([a-z_]+ = |\[\[)`)
	path := filepath.Join(t.TempDir(), "magpie.toml")
	if err := os.WriteFile(path, []byte(commented.ReplaceAllString(example(t), "$1")), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := broker.Config{}
	if err := loadFile(&cfg, path); err != nil {
		t.Fatal(err)
	}
	if want := exampleConfig(); !reflect.DeepEqual(cfg, want) {
		t.Errorf("the example sets\n%+v, want the default and the entries\n%+v", cfg, want)
	}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

// exampleConfig is the default, with an entry in each table to show what one looks like.
func exampleConfig() broker.Config {
	cfg := broker.Default()
	cfg.ACL = []broker.ACLConfig{{Topic: "bench/#", Who: "users", Allow: []string{"pub", "sub"}}}
	cfg.Mounts = []broker.MountConfig{{Who: "bridge1", At: "m/home1"}}
	return cfg
}

// example is a configuration file with every key, its comment and its default.
func example(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("# Magpie runs without this file. Every key is here with its default; each can also be set in the environment\n" +
		"# (limits.window is MAGPIE_LIMITS_WINDOW) and the first ones by flags. magpie check says what is in force. What begins\n" +
		"# with two brackets, at the end, can only be set here, may be there any number of times, and by default is not.\n")
	writeSection(t, &b, structs(t), reflect.ValueOf(exampleConfig()), "")
	return b.String()
}

func writeSection(t *testing.T, b *strings.Builder, docs map[string]*ast.TypeSpec, section reflect.Value, header string) {
	t.Helper()
	spec := docs[section.Type().Name()]
	if header != "" {
		doc := strings.TrimPrefix(strings.TrimPrefix(spec.Doc.Text(), spec.Name.Name+" "), "is ")
		b.WriteString("\n" + comment(doc) + header + "\n")
	}
	for i, field := range spec.Type.(*ast.StructType).Fields.List {
		key := section.Type().Field(i).Tag.Get("toml")
		switch value := section.Field(i); {
		case docs[value.Type().Name()] != nil:
			writeSection(t, b, docs, value, "["+key+"]")
		case isTable(value):
			for j := range value.Len() {
				writeSection(t, b, docs, value.Index(j), "#[["+key+"]]")
			}
		default:
			fmt.Fprintf(b, "\n%s#%s", comment(field.Doc.Text()), line(t, key, value.Interface()))
		}
	}
}

func line(t *testing.T, key string, value any) string {
	t.Helper()
	text, err := toml.Marshal(map[string]any{key: value})
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "'", `"`)
}

func comment(text string) string {
	text = strings.TrimSpace(text)
	text = strings.ToUpper(text[:1]) + text[1:]
	return "# " + strings.ReplaceAll(text, "\n", "\n# ") + "\n"
}

// structs are the documented types of broker/config.go.
func structs(t *testing.T) map[string]*ast.TypeSpec {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "broker", "config.go"), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*ast.TypeSpec{}
	for _, decl := range file.Decls {
		if types, ok := decl.(*ast.GenDecl); ok && types.Tok == token.TYPE {
			spec := types.Specs[0].(*ast.TypeSpec)
			if _, ok := spec.Type.(*ast.StructType); ok {
				spec.Doc = types.Doc
				found[spec.Name.Name] = spec
			}
		}
	}
	return found
}
