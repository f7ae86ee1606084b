package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "magpie.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheDefaultsAreValid(t *testing.T) {
	cfg, err := configFlags{}.load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := broker.Default(); !reflect.DeepEqual(cfg, want) {
		t.Errorf("got %+v, want %+v", cfg, want)
	}
}

func TestTheLaterSourceWins(t *testing.T) {
	file := writeConfig(t, `
		data = "from-file"
		mqtt = ":1"
		http = ":1"
		[limits]
		window = 1
		inbound = 1
	`)
	data := "from-flag"
	cfg, err := configFlags{Config: file, Data: &data}.load([]string{
		"HOME=/root", "MAGPIE_DATA=from-environment", "MAGPIE_MQTT=:2", "MAGPIE_LIMITS_WINDOW=2", "MAGPIE_CONFIG=x", "MAGPIE_TEST_ALL=1",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{cfg.Data, cfg.MQTT, cfg.HTTP, cfg.Limits.Window, cfg.Limits.Inbound, cfg.Limits.PublishRate}
	want := []any{"from-flag", ":2", ":1", 2, 1, 100}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEveryKeyCanBeSetInTheEnvironment(t *testing.T) {
	defaults, got := broker.Default(), broker.Config{}
	var variables []string
	names := map[string]bool{}
	for _, s := range settings(&defaults) {
		if names[s.env()] {
			t.Errorf("two keys are %s", s.env())
		}
		names[s.env()] = true
		variables = append(variables, s.env()+"="+value(t, s))
	}
	if err := loadEnviron(&got, variables); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, defaults) {
		t.Errorf("%q give %+v, want %+v", variables, got, defaults)
	}
}

// value is what somebody would write for the value that s has.
func value(t *testing.T, s setting) string {
	t.Helper()
	_, text, ok := strings.Cut(strings.TrimSpace(line(t, "x", s.value.Interface())), " = ")
	if !ok {
		t.Fatalf("%s: no value", s.key)
	}
	return strings.Trim(text, `"[]`)
}

func TestBadConfigurationsNameTheKey(t *testing.T) {
	tests := map[string]struct {
		file    string
		environ []string
		want    string
	}{
		"unknown key":        {file: "[limits]\npublsh_rate = 3", want: "limits.publsh_rate: unknown key; did you mean limits.publish_rate?"},
		"unknown section":    {file: "[frobnicate]\nx = 3", want: "frobnicate.x: unknown key"},
		"section as a value": {file: "tls = true", want: "tls: unknown key"},
		"value as a section": {file: "[data]\nx = 3", want: "data.x: unknown key"},
		"unknown variable":   {environ: []string{"MAGPIE_LIMITS_WINDOWS=3"}, want: "MAGPIE_LIMITS_WINDOWS: unknown key; did you mean MAGPIE_LIMITS_WINDOW?"},
		"no TOML":            {file: "data = ", want: "magpie.toml:1:"},
		"text for a number":  {file: "[limits]\nwindow = 'many'", want: `limits.window: "many" is no whole number`},
		"fraction":           {file: "[limits]\nwindow = 1.5", want: "limits.window: 1.5 is no whole number"},
		"number for a text":  {file: "data = 3", want: "data: the value has the wrong type"},
		"no list":            {file: "[web]\norigins = [1]", want: "web.origins: the value has the wrong type"},
		"no time":            {file: "[sessions]\nexpiry = 30", want: `sessions.expiry: "30" is no time like 10s, 1h30m or 30d`},
		"no size":            {environ: []string{"MAGPIE_STORE_CACHE=64MB"}, want: `MAGPIE_STORE_CACHE: "64MB" is no size`},
		"huge size":          {environ: []string{"MAGPIE_STORE_CACHE=9000000000GiB"}, want: "is no size"},
		"no address":         {file: "mqtt = '1883'", want: `mqtt: "1883" is no address`},
		"window":             {file: "[limits]\nwindow = 0", want: "limits.window: 0 is not between 1 and 1024"},
		"negative":           {file: "[limits]\npublish_rate = -1", want: "limits.publish_rate: -1 is less than 0"},
		"rate without burst": {file: "[limits]\npublish_burst = 0", want: "limits.publish_burst: has to be 1 or more"},
		"body over packet":   {file: "[limits]\nbody_size = '2MiB'", want: "limits.body_size: 2MiB is more than packet_size, 1MiB"},
		"registration":       {file: "[accounts]\nregistration = 'no'", want: `accounts.registration: "no" is none of ["closed" "invite" "open"]`},
		"half of TLS":        {file: "[tls]\ncert = 'x'", want: "tls: cert and key belong together"},
		"TLS without cert":   {file: "[tls]\nmqtt = ':8883'", want: "tls: an address without cert and key"},
		"origin":             {file: "[web]\norigins = ['a.example']", want: `web.origins: "a.example" is not like`},
		"queue policy":       {file: "[sessions]\nqueue_full = 'wait'", want: `sessions.queue_full: "wait" is none of ["drop" "refuse"]`},
		"queue under packet": {file: "[sessions]\nqueue_bytes = '64KiB'", want: "sessions.queue_bytes: 64KiB is less than limits.packet_size, 1MiB"},
		"no volatile queue":  {file: "[sessions]\nvolatile_count = 0", want: "sessions.volatile_count: 0 is less than 1"},
		"no ceiling":         {file: "[limits]\nmemory = '101%'", want: `limits.memory: "101%" is not between 1% and 100%`},
		"low ceiling":        {file: "[limits]\nmemory = '1MiB'", want: "limits.memory: 1MiB is less than 64MiB"},
		"busy $SYS":          {file: "[metrics]\nsys_interval = '10ms'", want: "metrics.sys_interval: 10ms is less than a second"},
		"acl as a section":   {file: "[acl]\ntopic = 'x'", want: "acl: is a list; each entry begins with [[acl]]"},
		"acl as a value":     {file: "acl = 3", want: "acl: is a list; each entry begins with [[acl]]"},
		"acl in environment": {environ: []string{"MAGPIE_ACL=x"}, want: "MAGPIE_ACL: unknown key"},
		"acl with a misspelt key": {file: anACL + "[[acl]]\ntopc = 'x'",
			want: "acl[1].topc: unknown key; did you mean acl[1].topic?"},
		"acl with a wrong type":     {file: "[[acl]]\ntopic = 3", want: "acl[0].topic: the value has the wrong type"},
		"acl with a table":          {file: anACL + "x = [{y = 1}]", want: "acl[0].x[0].y: unknown key"},
		"acl without allow":         {file: "[[acl]]\ntopic = 'x'\nwho = 'all'", want: "acl[0].allow: is empty"},
		"acl for nobody":            {file: "[[acl]]\ntopic = 'x'\nallow = ['pub']", want: `acl[0].who: "" is no account`},
		"acl for what":              {file: anACL + "[[acl]]\ntopic = 'x'\nwho = 'all'\nallow = ['publish']", want: `acl[1].allow: "publish" is none of`},
		"acl no filter":             {file: "[[acl]]\ntopic = 'x/#/y'", want: `acl[0].topic: "x/#/y" is no topic filter`},
		"acl with a part of a name": {file: "[[acl]]\ntopic = 'x/u-%u'", want: `acl[0].topic: "x/u-%u": %u has to be a level of its own`},
		"acl for chat":              {file: "[[acl]]\ntopic = 'im/c/+/send'", want: `acl[0].topic: "im/c/+/send": topics under im/`},
		"acl for system topics":     {file: "[[acl]]\ntopic = '$share/g/x'", want: `acl[0].topic: "$share/g/x": of topics that begin with $`},
		"acl for writing $SYS":      {file: "[[acl]]\ntopic = '$SYS/#'\nwho = 'all'\nallow = ['pub']", want: `acl[0].allow: only the server publishes to "$SYS/#"`},
		"mount on a filter":         {file: "[[mount]]\nwho = 'b'\nat = 'm/+'", want: `mount[0].at: "m/+" is no place like m/home1`},
		"mount with a slash":        {file: "[[mount]]\nwho = 'b'\nat = 'm/'", want: `mount[0].at: "m/" is no place like m/home1`},
		"mount on chat":             {file: "[[mount]]\nwho = 'b'\nat = 'im/x'", want: `mount[0].at: "im/x": nothing can be mounted under im/`},
		"two mounts":                {file: "[[mount]]\nwho = 'b'\nat = 'x'\n[[mount]]\nwho = 'b'\nat = 'y'", want: `mount[1].who: "b" has a mount already`},
		"missing secret":            {file: "[metrics]\ntoken = 'file:/nowhere'", want: "metrics.token: read secret: open /nowhere"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := configFlags{Config: writeConfig(t, tt.file)}.load(tt.environ)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, errConfig) {
				t.Errorf("got %v, want a configuration error with %q", err, tt.want)
			}
		})
	}
}

// anACL is an entry without faults.
const anACL = "[[acl]]\ntopic = 'x'\nwho = 'all'\nallow = ['pub']\n"

func TestTablesHaveAnyNumberOfEntries(t *testing.T) {
	cfg, err := configFlags{Config: writeConfig(t, `
		data = "x"
		acl = []
		[[mount]]
		who = "bridge1"
		at = "m/home1"
		[limits]
		window = 3
		[[mount]]
		at = "m/home2"
		who = "bridge2"
	`)}.load(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []broker.MountConfig{{Who: "bridge1", At: "m/home1"}, {Who: "bridge2", At: "m/home2"}}
	if !reflect.DeepEqual(cfg.Mounts, want) || len(cfg.ACL) != 0 || cfg.Limits.Window != 3 {
		t.Errorf("got %+v, want the mounts %+v, no ACL and window 3", cfg, want)
	}
}

func TestEveryErrorIsTold(t *testing.T) {
	_, err := configFlags{Config: writeConfig(t, "[limits]\nwindow = 0\ninbound = 0\ntopic_size = -1")}.load(nil)
	for _, key := range []string{"limits.window", "limits.inbound", "limits.topic_size"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("got %v, want it to name %s", err, key)
		}
	}
}

func TestUnitsReadWhatTheyWrite(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"10s": 10 * time.Second, "1h30m": 90 * time.Minute, "90d": 90 * 24 * time.Hour, "1h": time.Hour, "1m30s": 90 * time.Second,
		"0s": 0, "10m": 10 * time.Minute,
	} {
		var d broker.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want || d.String() != text {
			t.Errorf("%q gives %v, %v, written %q", text, time.Duration(d), err, d)
		}
	}
	for text, want := range map[string]int64{"0": 0, "100": 100, "64KiB": 64 << 10, "1MiB": 1 << 20, "3GiB": 3 << 30} {
		var b broker.Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || int64(b) != want || b.String() != text {
			t.Errorf("%q gives %d, %v, written %q", text, int64(b), err, b)
		}
	}
	for text, want := range map[string]broker.Ceiling{"0": {}, "2GiB": {Size: 2 << 30}, "75%": {Percent: 75}, "100%": {Percent: 100}} {
		var c broker.Ceiling
		if err := c.UnmarshalText([]byte(text)); err != nil || c != want || c.String() != text {
			t.Errorf("%q gives %+v, %v, written %q", text, c, err, c)
		}
	}
}

func TestCheckShowsWhatIsInForceWithoutSecrets(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, given := range map[string]string{"itself": "hunter2", "in a file": "file:" + secret} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			c := &console{ctx: context.Background(), out: &out, environ: []string{"MAGPIE_METRICS_TOKEN=" + given}}
			if err := (checkCommand{}).Run(c); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), "token = '***'") {
				t.Errorf("printed\n%s", out.String())
			}
			cfg, err := configFlags{}.load(c.environ)
			if err != nil || cfg.Metrics.Token.Reveal() != "hunter2" {
				t.Errorf("token is %q, %v, want hunter2", cfg.Metrics.Token.Reveal(), err)
			}
		})
	}
}

func TestWhatCheckPrintsIsAConfigurationFile(t *testing.T) {
	var out bytes.Buffer
	c := &console{ctx: context.Background(), out: &out, environ: []string{"MAGPIE_LIMITS_WINDOW=7", "MAGPIE_WEB_ORIGINS=https://a.example, https://b.example"}}
	flags := serveFlags{configFlags: configFlags{Config: writeConfig(t, anACL+"[[mount]]\nwho = 'b'\nat = 'm/x'")}}
	if err := (checkCommand{flags}).Run(c); err != nil {
		t.Fatal(err)
	}
	again, err := configFlags{Config: writeConfig(t, out.String())}.load(nil)
	if err != nil {
		t.Fatalf("load\n%s\n%v", out.String(), err)
	}
	if want := []string{"https://a.example", "https://b.example"}; again.Limits.Window != 7 || !reflect.DeepEqual(again.Web.Origins, want) {
		t.Errorf("read back as window %d, origins %q", again.Limits.Window, again.Web.Origins)
	}
	if !reflect.DeepEqual(again.ACL, []broker.ACLConfig{{Topic: "x", Who: "all", Allow: []string{"pub"}}}) ||
		!reflect.DeepEqual(again.Mounts, []broker.MountConfig{{Who: "b", At: "m/x"}}) {
		t.Errorf("read back as ACL %+v, mounts %+v", again.ACL, again.Mounts)
	}
}
