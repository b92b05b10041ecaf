package progress

import (
	"io"
	"sync"

	"github.com/flatcar/oem-sysext/oem/host/size"
)

// Downloads shows all downloads of a run as one step.
type Downloads struct {
	display *Display
	mu      sync.Mutex
	step    *Step // nil until the first download
}

// NewDownloads shows downloads on d.
func NewDownloads(d *Display) *Downloads { return &Downloads{display: d} }

// Start adds a download of total bytes; 0 when not known. Bytes written to the result count as received.
func (d *Downloads) Start(name string, total size.Bytes) io.WriteCloser {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.step == nil {
		d.step = d.display.Bytes("downloads", 0)
	}
	d.step.Grow(int64(total))
	d.step.wake()
	return &download{d.step, d.step.On(name)}
}

// End closes the step, if there was any download.
func (d *Downloads) End() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.step != nil {
		d.step.End()
		d.step = nil
	}
}

type download struct {
	*Step
	end func()
}

func (d *download) Close() error {
	d.end()
	d.sleep()
	return nil
}
