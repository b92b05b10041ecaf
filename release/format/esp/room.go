package esp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/oem/tools/toolroot"
)

// FullError says that a file does not fit into the partition.
type FullError struct {
	Name       string
	Need, Free size.Bytes // Free is with what the file replaces
	Files      []Taken    // what is there, the largest first
}

// Taken is a file, and the room that it takes.
type Taken struct {
	Name string
	Size size.Bytes
}

func (e *FullError) Error() string {
	const most = 5
	var list []string
	for _, f := range e.Files[:min(most, len(e.Files))] {
		list = append(list, fmt.Sprintf("%s takes %v", f.Name, f.Size))
	}
	if len(list) == 0 {
		list = []string{"nothing is in it, so it is too small"}
	}
	return fmt.Sprintf("EFI system partition: %s needs %v, %v is free (%v short); %s; remove what is not needed",
		e.Name, e.Need, e.Free, e.Need-e.Free, strings.Join(list, ", "))
}

// makeRoom refuses a file that does not fit, before anything is written.
func (p Partition) makeRoom(ctx context.Context, name string, length int64) error {
	cluster, free, err := p.capacity(ctx)
	if err != nil {
		return err
	}
	full := &FullError{Name: name, Need: roundUp(length, cluster), Free: free}
	if full.Need <= free {
		return nil
	}
	files, err := p.files(ctx, cluster)
	if err != nil && ctx.Err() != nil {
		return err // otherwise it is mdu's way to say that there are none
	}
	for _, f := range files {
		if strings.EqualFold(f.Name, name) { // FAT disregards case
			full.Free += f.Size
		} else {
			full.Files = append(full.Files, f)
		}
	}
	if full.Need <= full.Free {
		return nil
	}
	return full
}

func roundUp(length int64, cluster size.Bytes) size.Bytes {
	return (size.Bytes(length) + cluster - 1) / cluster * cluster
}

// Lines of mtools: minfo(1) and mdir(1) group digits by spaces.
var (
	sectorLine  = regexp.MustCompile(`(?m)^sector size: (\d+) bytes$`)
	clusterLine = regexp.MustCompile(`(?m)^cluster size: (\d+) sectors$`)
	freeLine    = regexp.MustCompile(`(?m)^ *(\d[\d ]*) bytes free$`)
)

// capacity returns the size of a cluster, and what is free.
func (p Partition) capacity(ctx context.Context) (cluster, free size.Bytes, err error) {
	info, err := p.output(ctx, "minfo", "::")
	if err != nil {
		return 0, 0, err
	}
	list, err := p.output(ctx, "mdir", "::/")
	if err != nil {
		return 0, 0, err
	}
	numbers := make([]size.Bytes, 3)
	for i, found := range [][]string{sectorLine.FindStringSubmatch(info), clusterLine.FindStringSubmatch(info), freeLine.FindStringSubmatch(list)} {
		if found == nil {
			return 0, 0, errors.New("EFI system partition: mtools does not say how large its clusters are, or what is free")
		}
		n, err := strconv.ParseInt(strings.ReplaceAll(found[1], " ", ""), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("EFI system partition: %w", err)
		}
		numbers[i] = size.Bytes(n)
	}
	if cluster = numbers[0] * numbers[1]; cluster == 0 {
		return 0, 0, errors.New("EFI system partition: its clusters have no size")
	}
	return cluster, numbers[2], nil
}

// files returns all files, the largest first.
func (p Partition) files(ctx context.Context, cluster size.Bytes) ([]Taken, error) {
	said, err := p.output(ctx, "mdu", "-a", "::/")
	if err != nil {
		return nil, err
	}
	var all []Taken
	for line := range strings.Lines(said) { // ::/NAME CLUSTERS; directories come after what is in them
		name, clusters, found := cutLast(strings.TrimSpace(line))
		n, err := strconv.ParseInt(clusters, 10, 64)
		if !found || err != nil {
			return nil, fmt.Errorf("EFI system partition: mdu says %q", line)
		}
		name = strings.TrimPrefix(name, "::")
		inIt := func(f Taken) bool { return strings.HasPrefix(f.Name, strings.TrimSuffix(name, "/")+"/") }
		if name != "/" && !slices.ContainsFunc(all, inIt) {
			all = append(all, Taken{name, size.Bytes(n) * cluster})
		}
	}
	slices.SortStableFunc(all, func(a, b Taken) int { return int(b.Size - a.Size) })
	return all, nil
}

func cutLast(line string) (before, after string, found bool) {
	at := strings.LastIndex(line, " ")
	if at < 0 {
		return "", "", false
	}
	return line[:at], line[at+1:], true
}

// output runs a program of mtools and returns what it prints.
func (p Partition) output(ctx context.Context, program string, args ...string) (string, error) {
	var out bytes.Buffer
	err := p.run(ctx, toolroot.Cmd{Program: program, Args: args, Stdout: &out})
	return out.String(), err
}
