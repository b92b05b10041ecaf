package testrelease

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// watchMemory notes the most memory that this process's children and theirs have at a time.
func watchMemory(ctx context.Context, most *atomic.Int64) {
	for ctx.Err() == nil {
		most.Store(max(most.Load(), memoryBelow(os.Getpid())))
		time.Sleep(100 * time.Millisecond)
	}
}

func memoryBelow(pid int) (sum int64) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		children, _ := os.ReadFile(list) // none where it is gone
		for child := range strings.FieldsSeq(string(children)) {
			statm, _ := os.ReadFile("/proc/" + child + "/statm")
			fields := append(strings.Fields(string(statm)), "0", "0")
			pages, _ := strconv.ParseInt(fields[1], 10, 64) // resident (proc_pid_statm(5))
			id, _ := strconv.Atoi(child)
			sum += pages*int64(os.Getpagesize()) + memoryBelow(id)
		}
	}
	return sum
}
