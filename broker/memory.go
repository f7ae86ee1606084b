package broker

import (
	"bufio"
	"bytes"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// leastCeiling is taken where a part of the machine's memory would be less: nothing could be done with it.
const leastCeiling = 64 * mebibyte

// MemoryCeiling is limits.memory in bytes, on the machine that this process runs on; 0: there is none.
func (c Config) MemoryCeiling() uint64 { return c.Limits.Memory.of(machineMemory("/")) }

// of gives the ceiling where the machine has so much; 0: nobody knows.
func (c Ceiling) of(machine uint64) uint64 {
	if c.Percent == 0 {
		return uint64(c.Size)
	}
	if machine == 0 {
		return 0
	}
	return max(machine/100*uint64(c.Percent), uint64(leastCeiling))
}

// machineMemory is what the machine has, or the control groups of this process allow it if that is less; 0 if that cannot be
// told, which on systems other than Linux is always so. root is "/", but for tests.
func machineMemory(root string) uint64 {
	least := uint64(0)
	for _, size := range append(groupMemory(root), totalMemory(root)) {
		if size > 0 && (least == 0 || size < least) {
			least = size
		}
	}
	return least
}

// totalMemory reads proc_meminfo(5).
func totalMemory(root string) uint64 {
	content, err := os.ReadFile(filepath.Join(root, "proc", "meminfo"))
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "MemTotal:" && fields[2] == "kB" {
			kilobytes, _ := strconv.ParseUint(fields[1], 10, 54) // 0 if it is no number
			return kilobytes << 10
		}
	}
	return 0
}

// groupMemory reads cgroups(7): the limits of the group of this process, and of those around it. In a container its path
// may be one that only the host knows; then the root of what can be seen is the group.
func groupMemory(root string) []uint64 {
	content, err := os.ReadFile(filepath.Join(root, "proc", "self", "cgroup"))
	if err != nil {
		return nil
	}
	var limits []uint64
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		// hierarchy:controllers:path
		_, rest, _ := strings.Cut(lines.Text(), ":")
		controllers, group, ok := strings.Cut(rest, ":")
		mount, file := "sys/fs/cgroup", "memory.max"
		if controllers != "" { // version 1
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		if !ok || controllers != "" && controllers != "memory" {
			continue
		}
		for group = path.Clean("/" + group); ; group = path.Dir(group) {
			limits = append(limits, readLimit(filepath.Join(root, mount, group, file)))
			if group == "/" {
				break
			}
		}
	}
	return limits
}

// readLimit gives a limit; 0: there is none, which the file may say as "max", or as a number near the largest one.
func readLimit(file string) uint64 {
	content, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64)
	if err != nil || n >= 1<<60 {
		return 0
	}
	return n
}
