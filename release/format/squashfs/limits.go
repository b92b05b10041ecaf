package squashfs

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// Limits are how much an image of others may hold.
type Limits struct {
	Entries int
	Bytes   size.Bytes // of all files, holes included
}

// Limits of the programs that read images.
const (
	maxMemory  = 2 * size.GiB // of addresses
	maxSeconds = 300          // of a processor
)

// Bounded returns a run of a program with limits of memory, time, and the size of a file.
func Bounded(largest size.Bytes, program ...string) toolroot.Cmd {
	return toolroot.Cmd{Program: "prlimit", Args: append([]string{
		fmt.Sprintf("--fsize=%d", largest), fmt.Sprintf("--as=%d", maxMemory), fmt.Sprintf("--cpu=%d", maxSeconds), "--core=1", "--",
	}, program...)}
}

// Check refuses an image that says that it holds more. Nothing is unpacked.
func (l Limits) Check(ctx context.Context, tools *toolroot.Root, image string) error {
	list := &tally{most: l}
	c := Bounded(l.Bytes, "unsquashfs", "-lln", "-quiet", image)
	c.Read, c.Stdout = []string{image}, list
	err := tools.Run(ctx, c)
	if list.err != nil {
		return list.err
	}
	return err
}

// tally adds up a list of entries as unsquashfs writes it: type and mode, owner, size, date, time, name.
type tally struct {
	most    Limits
	entries int
	bytes   int64
	line    []byte
	err     error
}

func (t *tally) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && t.err == nil; {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			t.line = append(t.line, rest...)
			break
		}
		t.add(string(append(t.line, rest[:end]...)))
		t.line, rest = t.line[:0], rest[end+1:]
	}
	if len(t.line) > 64<<10 {
		t.err = fmt.Errorf("an entry of the squashfs image has a name of more than %d bytes", 64<<10)
	}
	return len(p), t.err
}

func (t *tally) add(line string) {
	t.entries++
	if fields := strings.Fields(line); len(fields) > 2 && strings.HasPrefix(line, "-") {
		n, err := strconv.ParseInt(fields[2], 10, 63)
		if err != nil || n > int64(t.most.Bytes)-t.bytes {
			t.err = fmt.Errorf("the squashfs image unpacks to more than %v", t.most.Bytes)
			return
		}
		t.bytes += n
	}
	if t.entries > t.most.Entries {
		t.err = fmt.Errorf("the squashfs image unpacks to more than %d entries", t.most.Entries)
	}
}
