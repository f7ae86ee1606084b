package broker

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestTheMachinesMemoryIsTheLeastThatAnythingAllows(t *testing.T) {
	const meminfo = "MemTotal:        4194304 kB\nMemFree:         1000 kB\n"
	tests := map[string]struct {
		files map[string]string
		want  uint64
	}{
		"nothing known":  {nil, 0},
		"no group":       {map[string]string{"proc/meminfo": meminfo}, 4 << 30},
		"damaged":        {map[string]string{"proc/meminfo": "MemTotal: x kB\n", "proc/self/cgroup": "x\n\n0::\n"}, 0},
		"without limits": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 4 << 30},
		"limited": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1073741824\n",
		}, 1 << 30},
		"limited further out": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n",
			"sys/fs/cgroup/a/memory.max": "1073741824\n",
		}, 1 << 30},
		"a container that cannot see its path": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/system.slice/x\n", "sys/fs/cgroup/memory.max": "1073741824\n",
		}, 1 << 30},
		"more than there is": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "8589934592\n",
		}, 4 << 30},
		"version 1": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "5:cpu,cpuacct:/c\n4:memory:/a\n0::/\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "536870912\n",
		}, 512 << 20},
		"version 1 without a limit": {map[string]string{
			"proc/meminfo": meminfo, "proc/self/cgroup": "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 4 << 30},
		"no meminfo": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1073741824\n"}, 1 << 30},
		"a path upwards": {map[string]string{
			"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/x/memory.max": "1073741824\n",
		}, 1 << 30},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, content := range tt.files {
				file = filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := machineMemory(root); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestTheMemoryOfThisMachineIsKnownOnLinux(t *testing.T) {
	if got := machineMemory("/"); (got > 0) != (runtime.GOOS == "linux") {
		t.Errorf("got %d", got)
	}
}

func TestCeilings(t *testing.T) {
	for _, tt := range []struct {
		ceiling       Ceiling
		machine, want uint64
	}{
		{Ceiling{}, 1 << 30, 0},
		{Ceiling{Size: gibibyte}, 0, 1 << 30},
		{Ceiling{Size: gibibyte}, 1 << 20, 1 << 30},
		{Ceiling{Percent: 75}, 1000 << 20, 750 << 20},
		{Ceiling{Percent: 75}, 10 << 20, 64 << 20},
		{Ceiling{Percent: 75}, 0, 0},
	} {
		if got := tt.ceiling.of(tt.machine); got != tt.want {
			t.Errorf("%s of %d gives %d, want %d", tt.ceiling, tt.machine, got, tt.want)
		}
	}
}
