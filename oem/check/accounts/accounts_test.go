package accounts

import (
	"strings"
	"testing"
)

func TestWhoIsThere(t *testing.T) {
	d := &Database{users: map[string]int{"root": 0}, groups: map[string]int{"root": 0}}
	addLines(d.users, "core:x:500:500::/home/core:/bin/bash\nbad:x:-7:0::/:\na/b:x:1:1::/:\n")
	d.AddSysusers("u _chrony - \"Time\"\nu! fixed 77:88\ng disk 6\nu core 1\nu a:b 5\nu negative -5\n#u no 1\n")
	for name, want := range map[string]bool{"root": true, "core": true, "_chrony": true, "fixed": true, "bad": false, "a/b": false, "a:b": false, "no": false, "12": true, "-1": false} {
		if got := d.HasUser(name); got != want {
			t.Errorf("user %s: %v", name, got)
		}
	}
	if uid, err := d.User("core"); uid != 500 || err != nil {
		t.Errorf("core is %d, %v", uid, err)
	}
	if gid, err := d.Group("fixed"); gid != 88 || err != nil {
		t.Errorf("the group fixed is %d, %v", gid, err)
	}
	if _, err := d.User("_chrony"); err == nil || !strings.Contains(err.Error(), "chosen at boot") {
		t.Errorf("_chrony: %v", err)
	}
}

// FuzzAccounts reads anything, and writes nothing but lines that can be read.
func FuzzAccounts(f *testing.F) {
	f.Add("root:x:0:0::/root:/bin/bash\n", "u _chrony - \"Time\" /var/lib/chrony\ng disk 6\nm a b\nu! x 1:2\n")
	f.Add(":::\n", "u a:b -1\nu - -\nu x 4294967296\n")
	f.Fuzz(func(t *testing.T, passwd, sysusers string) {
		d := &Database{users: map[string]int{}, groups: map[string]int{}}
		addLines(d.users, passwd)
		d.AddSysusers(sysusers)
		for file, fields := range map[string]int{d.PasswdFile(): 7, d.GroupFile(): 4} {
			for line := range strings.Lines(file) {
				if parts := strings.Split(strings.TrimSuffix(line, "\n"), ":"); len(parts) != fields || parts[0] == "" || strings.HasPrefix(parts[2], "-") {
					t.Fatalf("%q", line)
				}
			}
		}
	})
}
