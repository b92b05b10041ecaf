package check

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/flatcar/oem-sysext/oem/check/accounts"
	"github.com/flatcar/oem-sysext/oem/tree"
)

// units checks that programs started by the image's units, D-Bus services and device rules exist, and the users and groups,
// files and directories of units.
func (c *check) units() error {
	known, err := c.view.accounts()
	if err != nil {
		return err
	}
	made, err := c.runtimePaths()
	if err != nil {
		return err
	}
	for _, e := range c.view.image {
		programs := startedBy(e)
		if programs == nil {
			continue
		}
		file, err := c.view.resolve(e.Path)
		if err != nil || file.Type != tree.File {
			continue // the check of links reports it
		}
		content, err := c.view.read(file)
		if err != nil {
			return err
		}
		for _, program := range programs(content) {
			if !c.view.find(program) {
				c.add(e.Path, "starts %s, which does not exist; add a recipe or package with it, or prune or replace the file", program)
			}
		}
		if strings.HasPrefix(e.Path, unitDir+"/") {
			c.unitAccounts(e.Path, content, known)
			c.unitFiles(e.Path, content, made)
			c.arguments(e.Path, content, made)
			c.upheld(e.Path, content)
		}
	}
	return nil
}

// startedBy returns a function that finds the programs that a file of this kind starts; nil for other files.
func startedBy(e tree.Entry) func(content string) []string {
	if e.Type == tree.Dir {
		return nil
	}
	dir, suffix := path.Dir(e.Path), path.Ext(e.Path)
	isDropIn := strings.HasSuffix(dir, ".d") && suffix == ".conf"
	switch {
	case strings.HasPrefix(dir, "/usr/lib/systemd/system"), strings.HasPrefix(dir, "/usr/lib/systemd/user"):
		if isDropIn || slices.Contains([]string{".service", ".socket", ".mount", ".swap"}, suffix) {
			return unitPrograms
		}
	case strings.HasPrefix(dir, "/usr/share/dbus-1/") && suffix == ".service":
		return busPrograms
	case dir == "/usr/lib/udev/rules.d" && suffix == ".rules":
		return rulePrograms
	}
	return nil
}

// settings calls each for the settings of a unit file (systemd.syntax(7)).
func settings(content string, each func(key, value string)) {
	for line := range strings.Lines(strings.ReplaceAll(content, "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.ContainsAny(line[:1], "#;[") {
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		each(strings.TrimSpace(key), strings.TrimSpace(value))
	}
}

// unitAccounts checks that the base or sysusers.d has the users and groups that a unit runs programs as (systemd.exec(5)).
// Names with specifiers are skipped, as are those that systemd allocates (DynamicUser=).
func (c *check) unitAccounts(name, content string, known *accounts.Database) {
	has := map[string]func(string) bool{
		"User": known.HasUser, "Group": known.HasGroup, "SupplementaryGroups": known.HasGroup,
		"SocketUser": known.HasUser, "SocketGroup": known.HasGroup,
	}
	dynamic := false
	settings(content, func(key, value string) {
		dynamic = dynamic || key == "DynamicUser" && slices.Contains([]string{"1", "yes", "y", "true", "t", "on"}, strings.ToLower(value))
	})
	if dynamic {
		return
	}
	settings(content, func(key, value string) {
		if has[key] == nil {
			return
		}
		for _, account := range strings.Fields(value) {
			if !strings.Contains(account, "%") && !has[key](account) {
				c.add(name, "has %s=%s, which neither the base nor sysusers.d has; add it to a file in /usr/lib/sysusers.d", key, account)
			}
		}
	})
}

// unitPrograms finds the programs of all Exec settings (systemd.service(5), COMMAND LINES).
// Programs whose failure is ignored are skipped, as are names with variables or specifiers.
func unitPrograms(content string) []string {
	var programs []string
	settings(content, func(key, value string) {
		isCommand := strings.HasPrefix(key, "ExecStart") || strings.HasPrefix(key, "ExecStop") || key == "ExecReload" || key == "ExecCondition"
		command := strings.TrimLeft(value, "@-:+!|")
		prefix := value[:len(value)-len(command)]
		words := strings.Fields(command)
		if !isCommand || len(words) == 0 || strings.Contains(prefix, "-") {
			return
		}
		if program := strings.Trim(words[0], `"'`); !strings.ContainsAny(program, "%$") {
			programs = append(programs, program)
		}
	})
	return programs
}

// busPrograms finds the program of a D-Bus service. Services that systemd starts have /bin/false.
func busPrograms(content string) []string {
	var programs []string
	settings(content, func(key, value string) {
		if words := strings.Fields(value); key == "Exec" && len(words) > 0 {
			programs = append(programs, words[0])
		}
	})
	return programs
}

// ruleProgram is a program in a device rule (udev(7)): a name without a slash is one in /usr/lib/udev.
var ruleProgram = regexp.MustCompile(`(?:RUN|PROGRAM|RUN\{program\}|IMPORT\{program\})\s*(?:\+|:|=)?=\s*"([^"]*)"`)

func rulePrograms(content string) []string {
	var programs []string
	for line := range strings.Lines(strings.ReplaceAll(content, "\\\n", " ")) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, match := range ruleProgram.FindAllStringSubmatch(line, -1) {
			words := strings.Fields(match[1])
			if len(words) == 0 || strings.ContainsAny(words[0], "%$") {
				continue
			}
			if !strings.Contains(words[0], "/") {
				words[0] = "/usr/lib/udev/" + words[0]
			}
			programs = append(programs, words[0])
		}
	}
	return programs
}
