package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// sent sends a signal to a run at a random moment.
func sent(signal syscall.Signal) fault {
	return func(ctx context.Context, d *disturber, in place) (string, error, error) {
		after := d.moment()
		what := fmt.Sprintf("%s after %.1f s", unix.SignalName(signal), after.Seconds())
		start := time.Now()
		said := d.during(ctx, in, func(p *os.Process) func() {
			timer := time.AfterFunc(after, func() { _ = p.Signal(signal) })
			return func() { timer.Stop() }
		})
		if said == nil { // it was faster than the one that was measured
			d.whole = min(d.whole, time.Since(start))
		}
		return what, said, nil
	}
}

// fullOutput runs with an output directory that has room for a part of the release.
func fullOutput(ctx context.Context, d *disturber, in place) (string, error, error) {
	room := 1 + d.random.Int64N(d.size)
	what := fmt.Sprintf("room for %v of %v in OUTPUT", size.Bytes(room), size.Bytes(d.size))
	return d.full(ctx, in, in.output, room, what)
}

// fullCache runs with a cache that has room for a part of the partition, of which there are several.
func fullCache(ctx context.Context, d *disturber, in place) (string, error, error) {
	room := 1 + d.random.Int64N(d.size)
	what := fmt.Sprintf("room for %v in CACHE", size.Bytes(room))
	return d.full(ctx, in, in.cache, room, what)
}

// full runs with a file system of a size at a directory, which is empty again afterwards.
func (d *disturber) full(ctx context.Context, in place, dir string, room int64, what string) (_ string, said, wrong error) {
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = unix.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", room))
	}
	if err != nil {
		return what, err, err
	}
	if dir == in.cache {
		err = d.fill(dir)
	}
	if err == nil {
		said = d.run(ctx, in)
		err = d.wholeOrNone(said, in)
	}
	wrong = errors.Join(err, unix.Unmount(dir, 0))
	if dir == in.output && said == nil {
		wrong = errors.Join(wrong, d.run(ctx, in)) // where its release was is nothing now
	}
	return what, said, wrong
}

// flippedBlob changes one bit of something that a run left in its cache.
func flippedBlob(ctx context.Context, d *disturber, in place) (string, error, error) {
	return d.flipped(ctx, in, "blobs")
}

// flippedResult changes one bit of a result.
func flippedResult(ctx context.Context, d *disturber, in place) (string, error, error) {
	return d.flipped(ctx, in, "results")
}

func (d *disturber) flipped(ctx context.Context, in place, kind string) (string, error, error) {
	if err := d.run(ctx, in); err != nil {
		return kind, err, err
	}
	files, err := filesBelow(filepath.Join(in.cache, kind))
	if err != nil || len(files) == 0 {
		err = errors.Join(err, fmt.Errorf("nothing is in %s", kind))
		return kind, err, err
	}
	file := files[d.random.IntN(len(files))]
	at, err := flip(file, d.random.Int64())
	what := fmt.Sprintf("bit %d of %s/%.12s", at, kind, filepath.Base(file))
	if err == nil {
		err = os.RemoveAll(in.output)
	}
	if err != nil {
		return what, err, err
	}
	return what, d.run(ctx, in), nil
}

// flip changes the bit of a file that a number leads to, and keeps the file's times.
func flip(file string, number int64) (bit int64, err error) {
	info, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	bit = number % (max(1, info.Size()) * 8)
	one := make([]byte, 1)
	if _, err = f.ReadAt(one, bit/8); err == nil {
		one[0] ^= 1 << (bit % 8)
		_, err = f.WriteAt(one, bit/8)
	}
	return bit, errors.Join(err, f.Close(), os.Chtimes(file, info.ModTime(), info.ModTime()))
}

// twoAtOnce has two runs with one cache, the second one a random moment after the first.
func twoAtOnce(ctx context.Context, d *disturber, in place) (string, error, error) {
	after := d.moment()
	what := fmt.Sprintf("a second run with the same cache %.1f s after the first", after.Seconds())
	other := in
	other.output = filepath.Join(in.dir, "other")
	first := make(chan error, 1)
	go func() { first <- d.run(ctx, in) }()
	select {
	case <-time.After(after):
	case <-ctx.Done():
	}
	second := d.run(ctx, other)
	said := errors.Join(<-first, second)
	return what, said, errors.Join(said, d.wholeOrNone(second, other)) // two at once are nothing wrong
}
