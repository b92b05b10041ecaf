package progress

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// Logger returns a logger that writes records of at least level as lines of the display.
func (d *Display) Logger(level slog.Level) *slog.Logger {
	return slog.New(&handler{display: d, level: level})
}

type handler struct {
	display *Display
	level   slog.Level
	attrs   string
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h *handler) Handle(_ context.Context, r slog.Record) error {
	var line strings.Builder
	if r.Level >= slog.LevelWarn {
		line.WriteString(strings.ToLower(r.Level.String()) + ": ")
	}
	line.WriteString(r.Message + h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&line, " %v", a)
		return true
	})
	h.display.Say("%s", &line)
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, a := range attrs {
		with.attrs += fmt.Sprintf(" %v", a)
	}
	return &with
}

// WithGroup ignores groups: lines for people have few attributes.
func (h *handler) WithGroup(string) slog.Handler { return h }
