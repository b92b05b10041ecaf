// Package accounts reads the users and groups of a base, with their numeric ids.
//
// They come from the default /etc and from sysusers.d. An account whose id is chosen at boot cannot own files in an image,
// which is made before.
package accounts

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/flatcar/oem-sysext/oem/target"
)

// Database is the accounts of a base.
type Database struct {
	users, groups map[string]int
}

// chosenAtBoot is the id of accounts that get theirs at boot.
const chosenAtBoot = -1

// validName is the most permissive syntax of account names (https://systemd.io/USER_NAMES, relaxed mode).
var validName = regexp.MustCompile(`^[^\x00-\x20\x7f:/]+$`)

// Read reads the accounts of a base.
func Read(base *target.Base) (*Database, error) {
	d := &Database{users: map[string]int{"root": 0}, groups: map[string]int{"root": 0}}
	for name, accounts := range map[string]map[string]int{"passwd": d.users, "group": d.groups} {
		for _, dir := range []string{"share/flatcar/etc", "share/baselayout"} { // the second is what Flatcar's nss-usrfiles reads
			content, err := os.ReadFile(filepath.Join(base.Dir, dir, name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			addLines(accounts, string(content))
		}
	}
	files, err := filepath.Glob(filepath.Join(base.Dir, "lib/sysusers.d/*.conf"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		d.AddSysusers(string(content))
	}
	return d, nil
}

// addLines reads lines of passwd(5) or group(5): both have the name first and the number third.
func addLines(accounts map[string]int, content string) {
	for line := range strings.Lines(content) {
		fields := strings.Split(line, ":")
		if len(fields) < 3 {
			continue
		}
		if number, err := strconv.ParseUint(fields[2], 10, 31); err == nil && validName.MatchString(fields[0]) {
			accounts[fields[0]] = int(number)
		}
	}
}

// AddSysusers reads lines of sysusers.d(5). Existing accounts stay.
func (d *Database) AddSysusers(content string) {
	add := func(accounts map[string]int, name, number string) {
		if _, known := accounts[name]; known || !validName.MatchString(name) {
			return
		}
		accounts[name] = chosenAtBoot
		if fixed, err := strconv.ParseUint(number, 10, 31); err == nil {
			accounts[name] = int(fixed)
		}
	}
	for line := range strings.Lines(content) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		number := "-"
		if len(words) > 2 {
			number = words[2]
		}
		user, group, both := strings.Cut(number, ":")
		switch words[0] {
		case "u", "u!":
			add(d.users, words[1], user)
			if !both { // a group of the same name and number comes with it
				add(d.groups, words[1], user)
			} else if _, err := strconv.ParseUint(group, 10, 31); err == nil {
				add(d.groups, words[1], group)
			}
		case "g":
			add(d.groups, words[1], number)
		}
	}
}

// HasUser tells whether there is a user, by name or by number.
func (d *Database) HasUser(name string) bool { return has(d.users, name) }

// HasGroup tells whether there is a group, by name or by number.
func (d *Database) HasGroup(name string) bool { return has(d.groups, name) }

func has(accounts map[string]int, name string) bool {
	_, known := accounts[name]
	_, err := strconv.ParseUint(name, 10, 31)
	return known || err == nil
}

// User returns a user's number.
func (d *Database) User(name string) (int, error) { return number(d.users, "user", name) }

// Group returns a group's number.
func (d *Database) Group(name string) (int, error) { return number(d.groups, "group", name) }

func number(accounts map[string]int, kind, name string) (int, error) {
	number, known := accounts[name]
	if !known {
		return 0, fmt.Errorf("the base has no %s %q; use one of the base, or root", kind, name)
	}
	if number == chosenAtBoot {
		return 0, fmt.Errorf("the id of the %s %q is chosen at boot; use one with a fixed id", kind, name)
	}
	return number, nil
}

// PasswdFile returns the users as passwd(5) after a boot: those without an id get one.
func (d *Database) PasswdFile() string {
	return lines(d.users, func(name string, number int) string {
		group, known := d.groups[name]
		if !known || group == chosenAtBoot {
			group = number
		}
		return fmt.Sprintf("%s:x:%d:%d::/:/usr/sbin/nologin\n", name, number, group)
	})
}

// GroupFile returns the groups as group(5), like PasswdFile.
func (d *Database) GroupFile() string {
	return lines(d.groups, func(name string, number int) string { return fmt.Sprintf("%s:x:%d:\n", name, number) })
}

// firstChosen is the first id chosen at boot; systemd counts down from 999 (https://systemd.io/UIDS-GIDS).
const firstChosen = 999

func lines(accounts map[string]int, line func(name string, number int) string) string {
	taken := map[int]bool{}
	for _, number := range accounts {
		taken[number] = true
	}
	var all strings.Builder
	next := firstChosen
	for _, name := range slices.Sorted(maps.Keys(accounts)) {
		number := accounts[name]
		for ; number == chosenAtBoot; next-- {
			if !taken[next] {
				number = next
			}
		}
		all.WriteString(line(name, number))
	}
	return all.String()
}
