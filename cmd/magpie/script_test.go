package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a script waits for something that has to happen.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"magpie": main})
}

// TestScripts runs the binary as a person would; the scripts say what they show.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "start": start, "end": end, "post": post, "get": get, "register": register, "recover": recoverAccount, "revoke": revoke, "hang": hang, "certificate": certificate, "trust": trust,
			"upload":  upload,
			"connect": connect, "leave": leave, "publish": publish, "poll": poll,
			"database": newDatabase(t), "schema": schema, "stranger": stranger,
		},
	})
}

// exits CODE COMMAND ARG... runs a command and checks its exit code; 124 means that it did not end by itself.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec("timeout", append([]string{"60"}, args[1:]...)...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("run %q: %v", args[1:], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%q exits with %d, want %d", args[1:], got, want)
	}
}

// server is the one that the last start started.
type server struct {
	process *os.Process
	state   chan *os.ProcessState // the end of it
}

// servers are those of the scripts that run now: $WORK to server.
var servers sync.Map

// start ARG... runs magpie serve in the background, on free ports unless they say otherwise, and waits until it is ready.
// Its output goes to server.out and server.err; $MQTT and $HTTP are its addresses.
func start(ts *testscript.TestScript, _ bool, args []string) {
	work := ts.Getenv("WORK")
	out, err := os.Create(filepath.Join(work, "server.out"))
	ts.Check(err)
	defer out.Close()
	log, err := os.Create(filepath.Join(work, "server.err"))
	ts.Check(err)
	defer log.Close()

	cmd := exec.Command("magpie", append([]string{"serve", "--mqtt=127.0.0.1:0", "--http=127.0.0.1:0"}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = work, out, log, []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + work}
	ts.Check(cmd.Start())
	s := server{cmd.Process, make(chan *os.ProcessState, 1)}
	go func() {
		_ = cmd.Wait() // the state says it all
		s.state <- cmd.ProcessState
	}()
	servers.Store(work, s)
	ts.Defer(func() { _ = s.process.Kill() })

	data := "data"
	for _, arg := range args {
		if dir, ok := strings.CutPrefix(arg, "--data="); ok {
			data = dir
		}
	}
	var a listening
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if text, err := os.ReadFile(filepath.Join(work, data, addressesFile)); err == nil {
			ts.Check(json.Unmarshal(text, &a))
			if a.PID == cmd.Process.Pid {
				break
			}
		}
		select {
		case state := <-s.state:
			ts.Fatalf("the server ended: %v\n%s", state, ts.ReadFile("server.err"))
		default:
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the server is not ready\n%s", ts.ReadFile("server.err"))
		}
	}
	ts.Setenv("MQTT", a.MQTT)
	ts.Setenv("HTTP", a.HTTP)
	ts.Setenv("MQTTS", a.MQTTS)
	ts.Setenv("HTTPS", a.HTTPS)
}

// end SIGNAL CODE sends the server a signal and checks how it ends; CODE is "killed" for a death by the signal. TERM+TERM
// is a second one when the server has noticed the first.
func end(ts *testscript.TestScript, _ bool, args []string) {
	first, second, twice := strings.Cut(args[0], "+")
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL}
	running, _ := servers.Load(ts.Getenv("WORK"))
	s, ok := running.(server)
	if !ok {
		ts.Fatalf("no server was started")
	}
	ts.Check(s.process.Signal(signals[first]))
	if twice {
		for deadline := time.Now().Add(patience); !strings.Contains(ts.ReadFile("server.err"), "msg=stopping"); {
			if time.Now().After(deadline) {
				ts.Fatalf("the server does not notice the first signal")
			}
			time.Sleep(time.Millisecond)
		}
		ts.Check(s.process.Signal(signals[second]))
	}
	select {
	case state := <-s.state:
		got := strconv.Itoa(state.ExitCode())
		if !state.Exited() {
			got = "killed"
		}
		if got != args[1] {
			ts.Fatalf("the server ends with %s, want %s\n%s", got, args[1], ts.ReadFile("server.err"))
		}
	case <-time.After(patience):
		ts.Fatalf("the server does not end\n%s", ts.ReadFile("server.err"))
	}
}

// post PATH BODY STATUS sends JSON to the server and checks the status; the answer is in the file answer.
func post(ts *testscript.TestScript, _ bool, args []string) {
	resp, err := http.Post("http://"+ts.Getenv("HTTP")+args[0], "application/json", strings.NewReader(args[1]))
	ts.Check(err)
	answered(ts, resp, args[2])
}

// get PATH STATUS asks the server and checks the status; the answer is in the file answer.
func get(ts *testscript.TestScript, _ bool, args []string) {
	resp, err := http.Get("http://" + ts.Getenv("HTTP") + args[0])
	ts.Check(err)
	answered(ts, resp, args[1])
}

// register NAME STATUS registers with the invitation in the file code and checks the status.
func register(ts *testscript.TestScript, _ bool, args []string) {
	body, err := json.Marshal(map[string]string{
		"uid": args[0], "password": "correct horse", "invitation": strings.TrimSpace(ts.ReadFile("code")),
	})
	ts.Check(err)
	post(ts, false, []string{"/api/v1/register", string(body), args[1]})
}

// recover NAME STATUS sets a new password with the code in the file code and checks the status.
func recoverAccount(ts *testscript.TestScript, _ bool, args []string) {
	body, err := json.Marshal(map[string]string{
		"uid": args[0], "password": "a new password", "code": strings.TrimSpace(ts.ReadFile("code")),
	})
	ts.Check(err)
	post(ts, false, []string{"/api/v1/account.recover", string(body), args[1]})
}

// revoke LABEL takes the invitation with this label back, as the list in stdout has it.
func revoke(ts *testscript.TestScript, _ bool, args []string) {
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if strings.Contains(line, strconv.Quote(args[0])) {
			ts.Check(ts.Exec("magpie", "invite", "revoke", strings.Fields(line)[0]))
			return
		}
	}
	ts.Fatalf("no invitation is for %s", args[0])
}

// upload FILE stores a file for devices as alice, who has logged in and whose answer is in the file answer.
func upload(ts *testscript.TestScript, _ bool, args []string) {
	var login struct{ Token string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("answer")), &login))
	content := ts.ReadFile(args[0])
	for _, r := range []struct{ method, path, body string }{
		{http.MethodPost, "/api/v1/device.add", `{"did":"lamp"}`}, // who has none stores no files
		{http.MethodPut, fmt.Sprintf("/files/%x", sha256.Sum256([]byte(content))), content},
	} {
		req, err := http.NewRequest(r.method, "http://"+ts.Getenv("HTTP")+r.path, strings.NewReader(r.body))
		ts.Check(err)
		req.Header.Set("Authorization", "Bearer "+login.Token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		ts.Check(err)
		answered(ts, resp, strconv.Itoa(http.StatusOK))
	}
}

// certificate makes cert.pem and key.pem for 127.0.0.1.
func certificate(ts *testscript.TestScript, _ bool, _ []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: private},
	} {
		ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), name), pem.EncodeToMemory(block), 0o600))
	}
}

// trust ADDRESS makes a TLS connection to it that trusts cert.pem and nothing else.
func trust(ts *testscript.TestScript, _ bool, args []string) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ts.ReadFile("cert.pem")))
	conn, err := tls.Dial("tcp", args[0], &tls.Config{RootCAs: roots})
	ts.Check(err)
	ts.Check(conn.Close())
}

// hang begins a request and never ends it.
func hang(ts *testscript.TestScript, _ bool, _ []string) {
	conn, err := net.Dial("tcp", ts.Getenv("HTTP"))
	ts.Check(err)
	ts.Defer(func() { conn.Close() })
	_, err = conn.Write([]byte("POST /api/v1/login HTTP/1.1\r\nHost: magpie\r\nContent-Type: application/json\r\n" +
		"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n"))
	ts.Check(err)
	_, err = bufio.NewReader(conn).ReadString('\n') // the server asks for the body: it has begun with the request
	ts.Check(err)
}

func answered(ts *testscript.TestScript, resp *http.Response, status string) {
	defer resp.Body.Close()
	out, err := os.Create(filepath.Join(ts.Getenv("WORK"), "answer"))
	ts.Check(err)
	_, err = out.ReadFrom(resp.Body)
	ts.Check(errors.Join(err, out.Close()))
	if got := strconv.Itoa(resp.StatusCode); got != status {
		ts.Fatalf("%s answers %s, want %s: %s", resp.Request.URL, got, status, ts.ReadFile("answer"))
	}
}
