package testrelease

import (
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/flatcar/oem-sysext/oem/check"
	"github.com/flatcar/oem-sysext/oem/host/store"
)

// BenchmarkCheck checks all platforms: their trees against the base, and that their recipes are not in each other's way. Nothing
// is known from earlier checks.
//
//	go test -run '^$' -bench 'Check$' -benchtime 5x -timeout 1h ./release/testrelease
func BenchmarkCheck(b *testing.B) {
	made := Made(b)
	for b.Loop() {
		results, err := store.OpenResults(b.TempDir(), made.Bench.Blobs, nil)
		if err != nil {
			b.Fatal(err)
		}
		checker, err := check.New(made.Base.Target, made.Bench.Blobs, results, made.Bench.Scratch)
		if err != nil {
			b.Fatal(err)
		}
		group, ctx := errgroup.WithContext(b.Context())
		group.SetLimit(made.Bench.Jobs)
		for _, s := range made.Planned.Staged {
			group.Go(func() error {
				problems, err := checker.Tree(ctx, s.Tree)
				var recipes []check.Named
				for _, r := range s.Recipes {
					recipes = append(recipes, check.Named{Name: r.Recipe.File, Tree: r.Tree})
				}
				if problems = append(problems, check.Together(recipes)...); err == nil && len(problems) > 0 {
					err = fmt.Errorf("%s: %v", s.Platform.ID, problems)
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}
