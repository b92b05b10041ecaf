package show

import (
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/host/table"
	"github.com/flatcar/oem-sysext/oem/tree"
	"github.com/flatcar/oem-sysext/release/care"
)

// Try says in ten lines what a user of a recipe wants to know.
func Try(out io.Writer, t *care.Trial) error {
	rows := table.New(out)
	if t.Own == nil {
		rows.Row(t.Recipe.Name, "adds nothing on "+t.Base+": the base has the tool")
		return rows.Flush()
	}
	own := t.Own.Tree
	for _, row := range [][2]string{
		{t.Recipe.Name.Value, t.Recipe.Summary},
		{"base", t.Base},
		{"size", fmt.Sprintf("%v of at most %v packed, %v in %d files", t.Packed, t.Recipe.MaxSize, own.Size(), own.Files())},
		{"with needs", fmt.Sprintf("%v packed: %s", t.Image.Size, needs(t))},
		{"from", inputs(t)},
		{"programs", some(programs(own))},
		{"starts", starts(t)},
		{"rights", rights(t)},
		{"works", works(t)},
		{"platforms", some(t.Platforms)},
	} {
		rows.Row(row[0], row[1])
	}
	return rows.Flush()
}

// most is how many of a kind are listed.
const most = 6

func some(list []string) string {
	switch {
	case len(list) == 0:
		return "-"
	case len(list) > most:
		return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", len(list)-most)
	}
	return strings.Join(list, ", ")
}

func needs(t *care.Trial) string {
	var names []string
	for _, made := range t.Image.Recipes {
		names = append(names, made.Recipe.Name.Value)
	}
	return some(names)
}

func inputs(t *care.Trial) string {
	var names []string
	for _, i := range t.Own.Inputs {
		if i.Version != "" {
			names = append(names, i.Name+" "+i.Version)
		}
	}
	return some(names)
}

// programs are what of a tree operators call by name.
func programs(t tree.Tree) []string {
	var names []string
	for _, e := range t {
		if dir := path.Dir(e.Path); e.Type != tree.Dir && (dir == "/usr/bin" || dir == "/usr/sbin") {
			names = append(names, path.Base(e.Path))
		}
	}
	return names
}

func starts(t *care.Trial) string {
	var units []string
	for _, upholder := range slices.Sorted(maps.Keys(t.Recipe.Units.Upholds)) {
		for _, unit := range t.Recipe.Units.Upholds[upholder] {
			units = append(units, unit+" by "+upholder)
		}
	}
	return some(units)
}

func rights(t *care.Trial) string {
	return some(slices.Sorted(maps.Keys(t.Recipe.Special)))
}

// short cuts a long command.
func short(command string) string {
	const longest = 60
	if runes := []rune(command); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return command
}

func works(t *care.Trial) string {
	switch {
	case len(t.Works) == 0:
		return "no command is in works:, so nothing was run; add what operators call"
	case !t.Ran:
		return fmt.Sprintf("%d commands were not run: this host does not run programs of the base", len(t.Works))
	}
	var commands []string
	for _, work := range t.Works {
		commands = append(commands, short(string(work.Run)))
	}
	return some(commands)
}
