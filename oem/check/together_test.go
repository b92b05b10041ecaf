package check

import (
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/tree"
)

// stack is what overlayfs shows of trees that lie over each other, the first one on top (overlayfs.rst, "Upper and Lower"):
// a directory is merged with those below, anything else hides what is below, and so does an opaque directory.
func stack(trees []tree.Tree) map[string]string {
	shown := map[string]string{}
	closed := map[string]bool{} // paths below which nothing of the lower trees shows
	for _, t := range trees {
		hidden := map[string]bool{}
		closing := map[string]bool{}
		for _, e := range t {
			hidden[e.Path] = hidden[path.Dir(e.Path)] || closed[path.Dir(e.Path)]
			if hidden[e.Path] {
				continue
			}
			if _, above := shown[e.Path]; !above {
				shown[e.Path] = e.String()
			}
			if e.Type != tree.Dir || len(e.Xattrs) > 0 {
				closing[e.Path] = true
			}
		}
		maps.Copy(closed, closing)
	}
	return shown
}

// random makes a tree of few paths with few kinds of content, so that trees often meet.
func random(r *rand.Rand) tree.Tree {
	t := tree.Tree{{Path: "/usr", Type: tree.Dir, Mode: 0o755}}
	for _, dir := range []string{"/usr/a", "/usr/b"} {
		e := tree.Entry{Path: dir, Type: tree.Dir, Mode: 0o755}
		switch r.IntN(12) {
		case 0, 1, 2, 3:
			continue
		case 4:
			e.Type = tree.File
		case 5:
			e.Mode = 0o700
		case 6:
			e.Xattrs = map[string][]byte{"trusted.overlay.opaque": []byte("y")}
		}
		t = append(t, e)
		for _, name := range []string{"/x", "/y", "/z"} {
			if e.Type == tree.Dir && r.IntN(3) == 0 {
				t = append(t, tree.Entry{Path: dir + name, Type: tree.Symlink, Mode: 0o777, Target: string(rune('0' + r.IntN(6)/5))})
			}
		}
	}
	return t
}

// When nothing is found, any order of merging shows the same. And that says something: often nothing is found.
func TestOrderNeverMatters(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	sound, unsound := 0, 0
	for range 20000 {
		trees := []tree.Tree{random(r), random(r), random(r)}
		var named []Named
		for i, content := range trees {
			named = append(named, Named{string(rune('A' + i)), content})
		}
		problems := Together(named)
		first := stack(trees)
		same := true
		for _, order := range [][]int{{0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
			same = same && maps.Equal(first, stack([]tree.Tree{trees[order[0]], trees[order[1]], trees[order[2]]}))
		}
		if len(problems) > 0 {
			unsound++
			continue
		}
		sound++
		if !same {
			t.Fatalf("nothing found, but the order matters:\n%v", named)
		}
		merged := tree.Tree{}
		for _, content := range trees {
			merged, _ = tree.Merge(merged, content)
		}
		for _, e := range merged {
			if first[e.Path] != e.String() {
				t.Fatalf("%v is hidden in\n%v", e, named)
			}
		}
	}
	if sound < 1000 || unsound < 1000 {
		t.Errorf("%d sound and %d unsound ones; wanted many of both", sound, unsound)
	}
}

func TestTogetherFinds(t *testing.T) {
	plain := tree.Entry{Path: "/usr/x", Type: tree.File, Mode: 0o644}
	for what, change := range map[string]func(*tree.Entry){
		"content": func(e *tree.Entry) { e.SHA256[0]++ },
		"type":    func(e *tree.Entry) { e.Type = tree.Dir },
		"mode":    func(e *tree.Entry) { e.Mode = 0o755 },
		"owner":   func(e *tree.Entry) { e.GID = 1 },
		"xattr":   func(e *tree.Entry) { e.Xattrs = map[string][]byte{"user.x": nil} },
		"opaque":  func(e *tree.Entry) { e.Xattrs = map[string][]byte{"trusted.overlay.opaque": nil} },
	} {
		other := plain
		change(&other)
		found := Together([]Named{{"one", tree.Tree{plain}}, {"none", nil}, {"two", tree.Tree{other}}})
		isFound := slices.ContainsFunc(found, func(p Problem) bool {
			return strings.HasPrefix(p.String(), "/usr/x differs between one and two (")
		})
		if !isFound {
			t.Errorf("%s: found %v", what, found)
		}
	}
	whiteout := plain
	whiteout.Xattrs = map[string][]byte{"user.overlay.whiteout": nil}
	if found := Together([]Named{{"one", tree.Tree{whiteout}}}); len(found) != 1 {
		t.Errorf("a whiteout: found %v", found)
	}
	if found := Together([]Named{{"one", tree.Tree{plain}}, {"two", tree.Tree{plain}}}); len(found) != 0 {
		t.Errorf("the same file twice: found %v", found)
	}
}
