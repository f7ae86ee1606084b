// Package peers runs other people's servers next to ours, to compare with and to try clients on: mosquitto, and NATS
// with its MQTT gateway. Each runs on free ports of the loopback interface with a directory of its own.
package peers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

// Peer is a running server.
type Peer struct {
	Addr      string // for MQTT
	WebSocket string // host:port for MQTT over WebSocket, if it has that
	PID       int

	cmd *exec.Cmd
	dir string
}

// Close ends the server and removes what it stored.
func (p *Peer) Close() error {
	_ = p.cmd.Process.Kill() // it may have ended already
	_ = p.cmd.Wait()         // says that it was killed
	return os.RemoveAll(p.dir)
}

// Mosquitto runs mosquitto 2, which keeps what it stores in a file or only in memory. Its limits are taken off, so that
// it loses nothing for lack of room.
func Mosquitto(persistent bool) (*Peer, error) {
	return run("mosquitto", func(dir string, ports []string) (string, []string) {
		config := []string{
			"listener " + ports[0] + " 127.0.0.1",
			"listener " + ports[1] + " 127.0.0.1", "protocol websockets",
			"allow_anonymous true", "log_type error",
			"max_inflight_messages 65535", "max_queued_messages 0", "max_queued_bytes 0",
		}
		if persistent {
			config = append(config, "persistence true", "persistence_location "+dir+"/", "autosave_interval 1")
		}
		return strings.Join(config, "\n"), []string{"-c"}
	})
}

// NATS runs nats-server with JetStream on the disk and its MQTT gateway.
func NATS() (*Peer, error) { return nats("nats-server", "") }

// NATSSyncing is NATS that syncs every message to the disk before it acknowledges it. The program is a nats-server of 2.10
// or later, which Debian does not have.
func NATSSyncing(program string) (*Peer, error) { return nats(program, "sync_interval: always") }

func nats(program, more string) (*Peer, error) {
	return run(program, func(dir string, ports []string) (string, []string) {
		return fmt.Sprintf(`
host: 127.0.0.1
port: %s
server_name: bench
max_payload: 1MB
max_pending: 256MB
jetstream { store_dir: %q, max_memory_store: 1GB, max_file_store: 8GB, %s }
mqtt { host: 127.0.0.1, port: %s, max_ack_pending: 65535, ack_wait: "60s" }
`, ports[1], dir, more, ports[0]), []string{"-c"}
	})
}

// run starts a program with a configuration file, and waits until it lets clients in on the first of two ports.
func run(name string, configure func(dir string, ports []string) (config string, args []string)) (*Peer, error) {
	dir, err := os.MkdirTemp("", "magpie-"+filepath.Base(name)+"-")
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", name, err)
	}
	p := &Peer{dir: dir}
	ports, err := FreePorts(2)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	config, args := configure(dir, ports)
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, []byte(config+"\n"), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if os.Getuid() == 0 { // mosquitto gives up being root, and has to write to its directory all the same
		err = errors.Join(os.Chmod(dir, 0o777), os.Chmod(file, 0o644))
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer func() { _ = log.Close() }() // the child has its own
	p.cmd = exec.Command(program(name), append(args, file)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("run %s: %w", name, err), os.RemoveAll(dir))
	}
	p.Addr, p.WebSocket, p.PID = "127.0.0.1:"+ports[0], "127.0.0.1:"+ports[1], p.cmd.Process.Pid
	if err := answers(p.Addr); err != nil {
		text, _ := os.ReadFile(log.Name()) // as much as there is
		return nil, errors.Join(fmt.Errorf("run %s: %w: %s", name, err, text), p.Close())
	}
	return p, nil
}

// Missing says whether a program is not installed. Debian keeps servers where the PATH of a user may not lead.
func Missing(name string) bool {
	_, err := exec.LookPath(program(name))
	return err != nil
}

func program(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return "/usr/sbin/" + name
}

// answers waits until a client gets in at an address.
func answers(addr string) error {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		c, _, err := wire.Open(addr, wire.V311, wire.Connect{ClientID: "probe", Clean: true})
		if err == nil {
			return errors.Join(c.Send(wire.Packet{Type: wire.DISCONNECT}), c.Close())
		}
		if time.Since(began) > 20*time.Second {
			return fmt.Errorf("not ready in time: %w", err)
		}
	}
}

// FreePorts gives ports that nobody used a moment ago, and that the kernel does not give to clients: tens of thousands
// of those may be around.
func FreePorts(n int) ([]string, error) {
	const lowest, highest, attempts = 10_000, 32_000, 1000
	var ports []string
	for range attempts {
		port := strconv.Itoa(lowest + rand.IntN(highest-lowest))
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }() // all of them at the end, so that they differ
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports")
}
