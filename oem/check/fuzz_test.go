package check

import (
	"path"
	"strings"
	"testing"
)

// FuzzUnits reads anything as a unit, a D-Bus service and device rules.
func FuzzUnits(f *testing.F) {
	f.Add("[Service]\nUser=a b\nExecStart=-@/usr/bin/a a\nExecStop=/usr/bin/b \\\n c\n# x\nExecReload=\"/usr/bin/c\"\n")
	f.Add("[D-BUS Service]\nName=a\nExec=/bin/false\n")
	f.Add("ACTION==\"add\", RUN+=\"b c\", IMPORT{program}=\"/usr/bin/d %k\", \\\n PROGRAM=\"\"\n")
	f.Fuzz(func(t *testing.T, content string) {
		for _, programs := range [][]string{unitPrograms(content), busPrograms(content), rulePrograms(content)} {
			for _, program := range programs {
				if strings.ContainsAny(program, " \t\n") {
					t.Fatalf("%q is a program", program)
				}
			}
		}
		settings(content, func(key, value string) {
			if strings.Contains(key, "=") || strings.Contains(key+value, "\n") {
				t.Fatalf("%q = %q", key, value)
			}
		})
	})
}

// FuzzTmpfiles reads anything as lines of tmpfiles.d.
func FuzzTmpfiles(f *testing.F) {
	f.Add("d /run/a 0755 root root -\nL+ \"/etc/b\" - - - - c\n!x\n#f /x\n")
	f.Fuzz(func(t *testing.T, content string) {
		made := runtimePaths{}
		made.add(content)
		for name := range made {
			if strings.ContainsAny(name, " \n\"") && !strings.Contains(content, name) {
				t.Fatalf("%q", name)
			}
		}
	})
}

// FuzzLdConf reads anything as ld.so.conf.
func FuzzLdConf(f *testing.F) {
	f.Add("include ld.so.conf.d/*.conf\n/usr/lib64 # x\nhwcap 0 nosegneg\ninclude /a/[\n")
	f.Fuzz(func(t *testing.T, content string) {
		absolute := func(name string) {
			if !path.IsAbs(name) {
				t.Fatalf("%q", name)
			}
		}
		parseLdConf(content, "/etc", absolute, absolute)
	})
}
